"""The three commands from end to end, and the worker's methods for them."""

import json

import numpy as np
import pytest
from map_files import fill_in, read_sample, write_map
from skysense.cli import main
from skysense.errors import InputError
from skysense.jobs.worker import _ASIDE


@pytest.fixture
def path(tmp_path):
    ids = np.ones((60, 60), np.uint8)
    ids[:, 20:] = 2
    return write_map(tmp_path / "m.tif", ids)


def test_from_the_map_to_the_estimate(tmp_path, path, capsys):
    assert main(["areas", str(path), "--csv", str(tmp_path / "a.csv"), "--json"]) == 0
    areas = json.loads(capsys.readouterr().out)
    assert areas["classes"][0]["ha"] == pytest.approx(12.0, rel=1e-3) and (tmp_path / "a.csv").is_file()
    assert main(["areas", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "Wälder" in shown and "33.33%" in shown and "36.03" in shown

    sample = tmp_path / "s.gpkg"
    assert main(["sample", str(path), "--out", str(sample), "--points", "60", "--minimum", "15"]) == 0
    assert "60 points: water 20, Wälder 40" in capsys.readouterr().out
    fields, _ = read_sample(sample)
    reference = list(fields["map_class"])
    reference[reference.index("Wälder")] = "water"
    filled = fill_in(sample, reference)
    assert main(["estimate", str(path), "--sample", str(filled), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["classes"][0]["ha"] / found["ha"] == pytest.approx(1 / 3 + 2 / 3 / 40)
    assert main(["estimate", str(path), "--sample", str(filled), "--csv", str(tmp_path / "e.csv")]) == 0
    shown = capsys.readouterr().out
    assert "60 points; overall accuracy 0.983 ± 0.033" in shown and "12.61 ±" in shown
    assert (tmp_path / "e.csv").is_file()


def test_wrong_input_is_one_line_and_exit_2(tmp_path, path, capsys):
    for command in (
        ["areas", str(tmp_path / "none.tif")],
        ["sample", str(path), "--out", str(tmp_path / "s.gpkg"), "--points", "5"],
        ["sample", str(path), "--out", str(tmp_path / "s.gpkg"), "--points", "50", "--per-class", "5"],
        ["estimate", str(path), "--sample", str(tmp_path / "none.gpkg")],
    ):
        assert main(command) == 2
        told = capsys.readouterr()
        assert told.out == "" and told.err.count("\n") == 1


def test_the_worker_does_the_same(tmp_path, path, heard):
    sample = tmp_path / "s.gpkg"
    areas = _ASIDE["areas"]({"map": str(path)}, heard)
    assert [item["pixels"] for item in areas["classes"]] == [1200, 2400, 0] and areas["csv"] is None
    drawn = _ASIDE["draw_sample"]({"map": str(path), "out": str(sample), "per_class": 5, "seed": 1}, heard)
    assert [item["points"] for item in drawn["classes"]] == [5, 5, 0]
    fields, _ = read_sample(sample)
    filled = fill_in(sample, fields["map_class"])
    params = {"map": str(path), "sample": str(filled), "field": "reference", "csv": str(tmp_path / "e.csv")}
    assert _ASIDE["estimate"](params, heard)["overall"] == 1.0 and (tmp_path / "e.csv").is_file()
    with pytest.raises(InputError, match="truth"):
        _ASIDE["estimate"]({**params, "field": "truth"}, heard)
