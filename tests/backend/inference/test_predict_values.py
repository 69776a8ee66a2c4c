"""From polygons with a number to a map of numbers, through the runner, on a small synthetic scene."""

import json

import numpy as np
import pyogrio
import pytest
import rasterio
from scene_files import job, part
from skysense import cli
from skysense.errors import Cancelled, InputError, StorageError
from skysense.jobs.control import JobControl
from skysense.model.modelfile import load_model
from skysense.synthetic.landscape import make_landscape
from stopping import StopsAt

#: Height in metres by class id of the synthetic landscape.
HEIGHT = {1: 0.0, 2: 24.0, 3: 9.0, 4: 0.75, 5: 2.5, 6: 0.25}
VALUES = {"target": "values"}


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return make_landscape(tmp_path_factory.mktemp("scene"), size_m=640, hr_gsd_m=10, n_s2=5, n_s1=0)


@pytest.fixture(scope="module")
def sentinel(scene, tmp_path_factory):
    """Sentinel-2 alone, with polygons of heights, one of them empty."""
    out = part(scene, tmp_path_factory.mktemp("s") / "sentinel", lambda row: row["modality"] == "s2")
    meta, _, geometry, columns = pyogrio.raw.read(scene.parent / "train.gpkg")
    ids = dict(zip(meta["fields"], columns))["class_id"]
    heights = np.array([HEIGHT[int(k)] for k in ids])
    heights[-1] = np.nan
    pyogrio.raw.write(
        out.parent / "heights.gpkg", geometry, [heights, np.array(["x"] * len(ids), object)], ["height_m", "note"],
        crs=meta["crs"], geometry_type=meta["geometry_type"], driver="GPKG",
    )  # fmt: skip
    return out


def labels(sentinel, field="height_m"):
    return {"path": str(sentinel.parent / "heights.gpkg"), "field": field}


@pytest.fixture(scope="module")
def trained(sentinel, tmp_path_factory):
    out = tmp_path_factory.mktemp("model") / "m.safetensors"
    options = {**VALUES, "report": str(out.parent / "report")}
    return out, job("finetune", sentinel, out, labels=labels(sentinel), options=options)


@pytest.fixture(scope="module")
def map_path(sentinel, trained, tmp_path_factory):
    out = tmp_path_factory.mktemp("map") / "height.tif"
    found = job("predict", sentinel, out, model=str(trained[0]))
    assert found["map"] == str(out) and found["field"] == "height_m" and found["range"][::2] == [0.0, 24.0]
    return out


def test_the_training_says_how_good_it_is(trained):
    path, result = trained
    header = load_model(path).header
    assert header["target"] == "values" and header["field"] == "height_m" and "classes" not in header
    report = result["report"]
    assert 0 < report["mae"] <= report["rmse"] < 8 and report["r2"] > 0.3 and report["forest"]["rmse"] > 0
    assert any("1 without a number" in e["text"] for e in result["events"] if e["event"] == "note")


def test_a_first_look_is_not_judged_and_still_tells_its_uncertainty(sentinel, monkeypatch, tmp_path):
    monkeypatch.setattr("skysense.finetune.train_values.forest_values", None)
    out = tmp_path / "m.safetensors"
    found = job("finetune", sentinel, out, labels=labels(sentinel), options={**VALUES, "judged": False})
    assert found["report"]["rmse"] is None and found["report"]["scored_on"] == "not scored: a first look"
    assert not any("judged" in e["text"] for e in found["events"] if e["event"] == "note")
    assert load_model(out).header["head"]["factor"] > 0


def test_the_report_is_a_page_a_table_and_json(trained):
    folder = trained[0].parent / "report"
    page = (folder / "report.html").read_text()
    assert "height_m" in page and page.count("<circle") == 2 * len(trained[1]["report"]["polygons"])
    rows = (folder / "polygons.csv").read_text("utf-8-sig").splitlines()
    assert rows[0] == "polygon,true,model,forest,pixels"
    assert len(rows) == 1 + len(trained[1]["report"]["polygons"])
    assert json.loads((folder / "report.json").read_text())["report"] == trained[1]["report"]


def test_the_map_is_right(scene, map_path):
    with rasterio.open(scene.parent / "truth.tif") as source:
        truth = source.read(1)
    with rasterio.open(map_path) as source:
        assert source.dtypes == ("float32",) and np.isnan(source.nodata)
        assert source.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert source.tags()["SKYSENSE_FIELD"] == "height_m" == source.descriptions[0]
        height = source.read(1)
    assert np.isfinite(height).all() and height.min() >= 0 and height.max() <= 24
    means = {k: height[truth == k].mean() for k in HEIGHT}
    assert means[2] > 15 > means[3] and means[4] < 5 and means[6] < 5
    with rasterio.open(map_path.with_name("height_uncertainty.tif")) as source:
        width = source.read(1)
        assert "height_m" in source.descriptions[0]
    assert np.isfinite(width).all() and width.min() > 0


def test_nothing_of_this_machine_is_in_the_map(map_path):
    assert str(map_path.parent).encode() not in map_path.read_bytes()
    assert not (map_path.parent / "height.tif.parts").exists()
    assert json.loads((map_path.parent / "height.tif.run.json").read_text())["device"] == "cpu"


def test_the_map_of_a_part_equals_the_cut_out_of_the_whole(sentinel, trained, map_path, tmp_path):
    with rasterio.open(map_path) as source:
        west, north, whole, crs = source.transform.c, source.transform.f, source.read(1), source.crs
    area = [west + 133, north - 512, west + 415, north - 97]
    out = tmp_path / "part.tif"
    options = {"area": area, "area_crs": crs.to_string()}
    job("predict", sentinel, out, model=str(trained[0]), options=options)
    with rasterio.open(out) as source:
        assert np.array_equal(source.read(1), whole[9:52, 13:42])


def test_a_run_that_failed_goes_on_with_its_chunks(sentinel, trained, map_path, tmp_path):
    out = tmp_path / "height.tif"
    out.mkdir()  # no map can be written in its place
    with pytest.raises(StorageError):
        job("predict", sentinel, out, model=str(trained[0]))
    chunks = {path: path.stat().st_mtime_ns for path in (tmp_path / "height.tif.parts").glob("*.tif")}
    assert sum("_value" in path.name for path in chunks) == sum("_spread" in path.name for path in chunks) > 0
    out.rmdir()
    events = []

    def look(event):
        events.append(event.get("text"))
        if event.get("fraction") == 1.0:
            return
        assert {path: path.stat().st_mtime_ns for path in chunks} == chunks

    job("predict", sentinel, out, control=JobControl(look), model=str(trained[0]), options={"resume": True})
    assert "Mapping" not in events and out.read_bytes() == map_path.read_bytes()


def test_classes_have_probabilities_and_numbers_have_none(sentinel, trained, tmp_path):
    options = {"products": ["probabilities"]}
    with pytest.raises(InputError, match="gives no probabilities"):
        job("predict", sentinel, tmp_path / "h.tif", model=str(trained[0]), options=options)


def test_cancel_leaves_the_old_map(sentinel, trained, tmp_path, monkeypatch):
    monkeypatch.setenv("SKYSENSE_CACHE_GB", "0")  # with kept features it is over before it can be cancelled
    out = tmp_path / "height.tif"
    out.write_bytes(b"the old map")
    with pytest.raises(Cancelled):
        job("predict", sentinel, out, control=StopsAt("Mapping"), model=str(trained[0]))
    assert out.read_bytes() == b"the old map"


def test_a_field_of_text_is_refused(sentinel, tmp_path):
    with pytest.raises(InputError, match=r"the field 'note' holds no number but 'x' in row 1"):
        job("finetune", sentinel, tmp_path / "m.safetensors", labels=labels(sentinel, "note"), options=VALUES)
    assert not list(tmp_path.iterdir())


def test_the_commands(sentinel, trained, map_path, tmp_path, capsys):
    model, out = tmp_path / "m.safetensors", tmp_path / "v.tif"
    given = ["--labels", labels(sentinel)["path"], "--field", "height_m", "--target", "values"]
    assert cli.main(["finetune", str(sentinel), *given, "--out", str(model), "--device", "cpu"]) == 0
    text = capsys.readouterr().out
    assert "height_m: " in text and "RMSE" in text and "a random forest" in text
    assert cli.main(["predict", str(sentinel), "--model", str(model), "--out", str(out)]) == 0
    assert str(out.with_name("v_uncertainty.tif")) in capsys.readouterr().out
    assert out.read_bytes() != b"" and model.read_bytes() == trained[0].read_bytes()
