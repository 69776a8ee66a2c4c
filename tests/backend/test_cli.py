import json
import subprocess
import sys
import warnings

import numpy as np
import pytest
import rasterio
from skysense.cli import EXIT_INPUT, _parser, main
from skysense.cli.doing import showing
from skysense.errors import InputError


def _told_then_refused(control):
    control.note("something was left out")
    raise InputError("holds nothing of use", "labels", "Draw polygons")


def test_notes_stand_at_the_end_of_what_was_done(capsys):
    assert showing(lambda control: control.note("one polygon was left out") or {"a": 1}) == {"a": 1}
    assert capsys.readouterr().err == "Note: one polygon was left out\n"


def test_wrong_input_is_one_sentence_alone(capsys):
    with pytest.raises(InputError):
        showing(_told_then_refused)
    assert capsys.readouterr().err == ""
    assert main(["describe-nothing"]) == EXIT_INPUT
    assert capsys.readouterr().err.count("\n") == 1


def test_notes_of_a_job_that_breaks_are_not_lost(capsys):
    def breaks(control):
        control.note("the newest file is damaged")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        showing(breaks)
    assert "the newest file is damaged" in capsys.readouterr().err


COMMANDS = next(action for action in _parser()._actions if action.dest == "command").choices


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_every_command_tells_what_it_wants(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*command.split(), "--help"])
    out, err = capsys.readouterr()
    assert ended.value.code == 0 and out.startswith("usage: skysense") and not err


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "worker"])
def test_common_options_may_be_given_to_every_command(command):
    known = COMMANDS[command]._option_string_actions
    assert {"--device", "--resume", "--json"} <= known.keys()


def test_a_recipe_runs_where_the_command_says(tmp_path, monkeypatch):
    recipe = {"skysense": 1, "task": "predict", "scene": "s", "model": "m", "output": "o.tif"}
    (tmp_path / "r.json").write_text(json.dumps({**recipe, "options": {"seed": 3}}))
    ran = []
    monkeypatch.setattr("skysense.cli.run", lambda recipe: ran.append(recipe) or {})
    assert main(["run", str(tmp_path / "r.json"), "--device", "cpu", "--resume"]) == 0
    assert main(["run", str(tmp_path / "r.json")]) == 0
    assert [(r.options.device, r.options.resume, r.options.seed) for r in ran] == [
        ("cpu", True, 3),
        ("auto", False, 3),
    ]


@pytest.mark.parametrize(
    "numbers", [("4.4", "50.1", "4.5", "50.0"), ("4.5", "50.0", "4.4", "50.1"), ("0", "0", "nan", "1")]
)
def test_an_area_that_is_none_is_refused(numbers, tmp_path, capsys):
    area = ["--area", *numbers, "--area-crs", "EPSG:4326"]
    assert main(["predict", "s", "--model", "m", "--out", str(tmp_path / "o.tif"), *area]) == EXIT_INPUT
    assert '"area" is empty' in capsys.readouterr().err


def test_folders_above_tell_the_date_of_a_relative_path_too(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "2020-06-01"
    folder.mkdir()
    (folder / "image.tif").write_bytes(b"")
    monkeypatch.chdir(folder)
    assert main(["date", "image.tif", "elsewhere.tif"]) == 0
    assert capsys.readouterr().out == "2020-06-01\n\n"
    assert main(["describe", "image.tif", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["descriptions"][0]["path"] == "image.tif"


def test_images_without_a_place_give_one_sentence(tmp_path):
    path = tmp_path / "plain.tif"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(path, "w", driver="GTiff", width=3, height=3, count=1, dtype="uint8") as out:
            out.write(np.ones((1, 3, 3), np.uint8))
    done = subprocess.run(
        [sys.executable, "-m", "skysense", "areas", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == EXIT_INPUT and done.stderr.count("\n") == 1


def test_a_seed_below_zero_is_refused(tmp_path, capsys):
    assert main(["probe", str(tmp_path), "--seed", "-1"]) == EXIT_INPUT
    assert "--seed is -1" in capsys.readouterr().err
