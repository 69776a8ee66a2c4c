"""From scene and polygons to a map, through the runner, on a small synthetic scene."""

import json

import numpy as np
import pyogrio
import pyproj
import pytest
import rasterio
import shapely
from scene_files import job, part
from skysense.errors import Cancelled, InputError, StorageError
from skysense.finetune.scores import score_map
from skysense.inference import session
from skysense.model.modelfile import load_model
from skysense.synthetic.landscape import make_landscape
from stopping import StopsAt


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return make_landscape(tmp_path_factory.mktemp("scene"), size_m=640, n_s2=5, n_s1=3)


@pytest.fixture(scope="module")
def sentinel(scene, tmp_path_factory):
    """The scene without HR: quick to compute."""
    return part(scene, tmp_path_factory.mktemp("s") / "sentinel", lambda row: row["modality"] != "hr")


@pytest.fixture(scope="module")
def model(sentinel, tmp_path_factory):
    out = tmp_path_factory.mktemp("model") / "m.safetensors"
    job("finetune", sentinel, out)
    return out


@pytest.fixture(scope="module")
def map_path(sentinel, model, tmp_path_factory):
    out = tmp_path_factory.mktemp("map") / "map.tif"
    job("predict", sentinel, out, model=str(model))
    return out


def test_the_model_file_says_what_it_is(sentinel, model):
    header = load_model(model).header
    assert header["backbone"]["preset"] == "tiny"
    assert header["backbone"]["weights"].startswith("pretrained for ")
    assert header["classes"][0]["name"] == "water" and header["classes"][0]["id"] == 1
    assert (
        header["inputs"]["modalities"] == ["s2", "s1"] and len(header["inputs"]["series"]["s2"]["days"]) == 5
    )
    assert json.loads(model.with_name(model.name + ".recipe.json").read_text())["task"] == "finetune"


def test_the_user_is_told_nothing_of_weights_that_are_trained(sentinel, tmp_path):
    notes = [
        e["text"]
        for e in job("finetune", sentinel, tmp_path / "m.safetensors")["events"]
        if e["event"] == "note"
    ]
    assert not any("random" in note or "not trained" in note for note in notes)


def test_the_map_is_right_and_says_its_classes(scene, map_path):
    found = score_map(scene.parent, map_path)
    assert found["n_missing"] == 0 and found["oa"] > 0.8
    with rasterio.open(map_path) as source:
        assert source.dtypes == ("uint8",) and source.nodata == 0 and source.profile["tiled"]
        assert source.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert json.loads(source.tags()["SKYSENSE_CLASSES"])["1"] == "water"
        assert source.colormap(1)[1][3] == 255 and source.colormap(1)[0][3] == 0
        classes = source.read(1)
    with rasterio.open(map_path.with_name("map_confidence.tif")) as source:
        confidence = source.read(1)
    assert ((confidence > 0) == (classes > 0)).all() and confidence.max() <= 100


def test_nothing_of_this_machine_is_in_the_map(map_path):
    data = map_path.read_bytes()
    assert str(map_path.parent).encode() not in data
    run = json.loads((map_path.parent / "map.tif.run.json").read_text())
    assert run["seconds"] > 0 and run["device"] == "cpu"
    assert not (map_path.parent / "map.tif.parts").exists()


def test_the_same_recipe_gives_the_same_bytes(sentinel, model, map_path, tmp_path):
    out = tmp_path / "again.tif"
    job("predict", sentinel, out, model=str(model))
    assert out.read_bytes() == map_path.read_bytes()
    assert (tmp_path / "again_confidence.tif").read_bytes() == map_path.with_name(
        "map_confidence.tif"
    ).read_bytes()


def test_the_map_of_a_part_equals_the_cut_out_of_the_whole(sentinel, model, map_path, tmp_path):
    with rasterio.open(map_path) as source:
        west, north, whole, crs = source.transform.c, source.transform.f, source.read(1), source.crs
    area = [west + 133, north - 512, west + 415, north - 97]
    out = tmp_path / "part.tif"
    job("predict", sentinel, out, model=str(model), options={"area": area, "area_crs": crs.to_string()})
    with rasterio.open(out) as source:
        col, row = round((source.transform.c - west) / 10), round((north - source.transform.f) / 10)
        assert (row, col, source.height, source.width) == (9, 13, 43, 29)
        assert np.array_equal(source.read(1), whole[row : row + source.height, col : col + source.width])


def test_a_cancelled_run_goes_on_where_it_stopped(sentinel, model, map_path, tmp_path, monkeypatch):
    monkeypatch.setenv("SKYSENSE_CACHE_GB", "0")  # with kept features it is over before it can be cancelled
    out = tmp_path / "map.tif"
    out.write_bytes(b"the old map")
    with pytest.raises(Cancelled):
        job("predict", sentinel, out, control=StopsAt("Mapping"), model=str(model))
    assert out.read_bytes() == b"the old map" and (tmp_path / "map.tif.parts").is_dir()
    job("predict", sentinel, out, model=str(model), options={"resume": True})
    assert out.read_bytes() == map_path.read_bytes()


@pytest.mark.parametrize("modality", ["hr", "s2", "s1"])
def test_one_modality_alone(scene, tmp_path, modality):
    alone = part(scene, tmp_path / modality, lambda row: row["modality"] == modality)
    job("finetune", alone, tmp_path / "m.safetensors")
    job("predict", alone, tmp_path / "map.tif", model=str(tmp_path / "m.safetensors"))
    found = score_map(scene.parent, tmp_path / "map.tif")
    assert found["n_missing"] == 0 and found["oa"] > (0.35 if modality == "s1" else 0.55)


def test_all_three_on_hrs_pixels(scene, tmp_path):
    job("finetune", scene, tmp_path / "m.safetensors")
    job("predict", scene, tmp_path / "map.tif", model=str(tmp_path / "m.safetensors"))
    with rasterio.open(tmp_path / "map.tif") as source:
        assert source.res == (1.25, 1.25) and source.shape == (512, 512)
    assert score_map(scene.parent, tmp_path / "map.tif")["oa"] > 0.8


def test_fusion_stride_changes_cost_and_not_the_grid(sentinel, model, map_path, tmp_path):
    job("predict", sentinel, tmp_path / "m.tif", model=str(model), options={"fusion_stride": 4})
    with rasterio.open(tmp_path / "m.tif") as one, rasterio.open(map_path) as two:
        assert one.transform == two.transform and (one.read(1) == two.read(1)).mean() > 0.9


def test_labels_in_another_crs_give_the_same_model(sentinel, tmp_path):
    source = sentinel.parent
    labels = json.loads(sentinel.read_text())["labels"]
    meta, _, geometry, fields = pyogrio.raw.read(labels["path"])
    move = pyproj.Transformer.from_crs(meta["crs"], "EPSG:4326", always_xy=True)
    moved = shapely.transform(
        shapely.from_wkb(geometry), lambda xy: np.column_stack(move.transform(xy[:, 0], xy[:, 1]))
    )
    pyogrio.raw.write(
        tmp_path / "wgs84.gpkg", shapely.to_wkb(moved), fields, meta["fields"], crs="EPSG:4326",
        geometry_type=meta["geometry_type"], driver="GPKG",
    )  # fmt: skip
    one = job("finetune", source, tmp_path / "a.safetensors")
    two = job(
        "finetune",
        source,
        tmp_path / "b.safetensors",
        labels={"path": str(tmp_path / "wgs84.gpkg"), "field": "class"},
    )
    assert abs(one["report"]["n_pixels"] - two["report"]["n_pixels"]) <= 2
    assert [c["id"] for c in one["classes"]] == [c["id"] for c in two["classes"]]


def _labels(path, boxes, values, crs="EPSG:32632", field="class"):
    pyogrio.raw.write(
        path, shapely.to_wkb(np.array([shapely.box(*box) for box in boxes])), [np.array(values, object)], [field],
        crs=crs, geometry_type="Polygon", driver="GPKG",
    )  # fmt: skip
    return {"path": str(path), "field": "class"}


INSIDE = [(500100, 5399800, 500150, 5399850), (500300, 5399600, 500350, 5399650)]
OUTSIDE = [(600000, 5399800, 600050, 5399850), (600300, 5399600, 600350, 5399650)]


@pytest.mark.parametrize(
    ("boxes", "values", "options", "message"),
    [
        (INSIDE, ["a", "a"], {}, "only one class"),
        (INSIDE, ["a", "b"], {"field": "kind"}, "no field 'class'"),
        (OUTSIDE, ["a", "b"], {}, "no polygon lies inside"),
        (INSIDE, [None, None], {}, "empty in every feature"),
    ],
)
def test_labels_that_cannot_be_used(sentinel, tmp_path, boxes, values, options, message):
    (sentinel.parent / "classes.json").unlink(missing_ok=True)
    labels = _labels(tmp_path / "l.gpkg", boxes, values, field=options.get("field", "class"))
    with pytest.raises(InputError, match=message):
        job("finetune", sentinel, tmp_path / "m.safetensors", labels=labels)
    assert not (tmp_path / "m.safetensors").exists()


def test_a_model_that_is_none(sentinel, tmp_path):
    (tmp_path / "m.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"m\.safetensors"):
        job("predict", sentinel, tmp_path / "map.tif", model=str(tmp_path / "m.safetensors"))


def test_a_folder_that_cannot_be_written(sentinel, model, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="file"):
        job("predict", sentinel, tmp_path / "file" / "map.tif", model=str(model))


def test_bfloat16_gives_nearly_the_same_map(sentinel, map_path, tmp_path, monkeypatch):
    monkeypatch.setattr(session, "has_bfloat16", lambda device: True)
    options = {"precision": "bfloat16"}
    model, out = tmp_path / "m.safetensors", tmp_path / "map.tif"
    job("finetune", sentinel, model, options=options)
    job("predict", sentinel, out, model=str(model))
    assert load_model(model).header["inputs"]["precision"] == "bfloat16"
    job("predict", sentinel, tmp_path / "said.tif", model=str(model), options=options)
    assert (tmp_path / "said.tif").read_bytes() == out.read_bytes()
    with rasterio.open(out) as coarse, rasterio.open(map_path) as fine:
        same = coarse.read(1) == fine.read(1)
    assert 0.98 < same.mean() <= 1
    # Where it would only be imitated, a model of another machine is mapped in float32; who asks for it gets it.
    monkeypatch.setattr(session, "has_bfloat16", lambda device: False)
    events = job("predict", sentinel, tmp_path / "elsewhere.tif", model=str(model))["events"]
    assert any("maps in float32" in event.get("text", "") for event in events)
    with rasterio.open(tmp_path / "elsewhere.tif") as other, rasterio.open(out) as coarse:
        assert 0.98 < (other.read(1) == coarse.read(1)).mean() <= 1
    job("predict", sentinel, tmp_path / "said.tif", model=str(model), options=options)
    assert (tmp_path / "said.tif").read_bytes() == out.read_bytes()
    with pytest.raises(InputError, match="precision is 'int4'"):
        job("predict", sentinel, out, model=str(model), options={"precision": "int4"})
