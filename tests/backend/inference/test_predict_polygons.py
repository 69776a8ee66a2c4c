"""From parcels with a class to classes of other parcels, through the runner, on a small synthetic scene."""

import json

import numpy as np
import pyogrio
import pyproj
import pytest
import shapely
from scene_files import job, part
from skysense import cli
from skysense.errors import InputError
from skysense.model.modelfile import load_model
from skysense.synthetic.landscape import make_landscape

TARGET = {"target": "polygons"}


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    whole = make_landscape(tmp_path_factory.mktemp("scene"), size_m=640, hr_gsd_m=10, n_s2=5, n_s1=0)
    return part(whole, tmp_path_factory.mktemp("s") / "sentinel", lambda row: row["modality"] == "s2")


@pytest.fixture(scope="module")
def drawn(scene):
    """Geometries and class names of the scene's polygons, and their CRS."""
    labels = json.loads(scene.read_text())["labels"]
    meta, _, geometry, columns = pyogrio.raw.read(labels["path"])
    return shapely.from_wkb(geometry), dict(zip(meta["fields"], columns))["class"], meta["crs"]


@pytest.fixture(scope="module")
def trained(scene, tmp_path_factory):
    out = tmp_path_factory.mktemp("model") / "m.safetensors"
    options = {**TARGET, "report": str(out.parent / "report")}
    return out, job("finetune", scene, out, options=options)


@pytest.fixture(scope="module")
def parcels(drawn, tmp_path_factory):
    """In degrees: the drawn polygons as multipolygons, one beside the imagery and one empty, with fields of their own."""
    shapes, names, crs = drawn
    move = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    moved = shapely.transform(shapes, lambda xy: np.column_stack(move.transform(xy[:, 0], xy[:, 1])))
    away = shapely.transform(moved[:1], lambda xy: xy + 1)
    geometry = [shapely.multipolygons([shape]) for shape in [*moved, *away]]
    wkb = np.array([*shapely.to_wkb(np.array(geometry, object)), None], object)
    path = tmp_path_factory.mktemp("parcels") / "parcels.gpkg"
    n = len(wkb)
    pyogrio.raw.write(
        path, wkb,
        [np.array([*names, "x", None], object), np.arange(n), np.linspace(0, 1, n), np.arange(n) + 10],
        ["class", "number", "share", "Confidence"],
        field_mask=[None, np.arange(n) == 2, None, None],
        crs="EPSG:4326", geometry_type="MultiPolygon", driver="GPKG",
    )  # fmt: skip
    return path


@pytest.fixture(scope="module")
def classified(scene, trained, parcels, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "classes.gpkg"
    result = job("predict", scene, out, model=str(trained[0]), options={"polygons": str(parcels)})
    return out, result


def test_the_training_counts_polygons(trained, drawn):
    path, result = trained
    header = load_model(path).header
    assert header["target"] == "polygons" and header["head"]["kind"] == "linear"
    report = result["report"]
    assert report["n_polygons"] == len(drawn[0]) < report["n_pixels"]
    assert report["scored_on"] == "polygons held out in turn" and report["macro_f1"] > 0.5
    assert report["forest"]["macro_f1"] > 0
    assert "water" in (path.parent / "report" / "report.html").read_text()


def test_the_layer_keeps_its_geometry_its_crs_and_its_fields(classified, parcels):
    meta, _, geometry, columns = pyogrio.raw.read(classified[0], layer="classes")
    before, _, drawn, fields = pyogrio.raw.read(parcels)
    assert pyproj.CRS(meta["crs"]) == pyproj.CRS("EPSG:4326") and meta["geometry_type"] == "MultiPolygon"
    assert list(geometry) == list(drawn)
    table, old = dict(zip(meta["fields"], columns)), dict(zip(before["fields"], fields))
    assert list(table) == [
        "class_before", "number", "share", "Confidence_before", "class", "class_id", "confidence",
    ]  # fmt: skip
    assert list(table["class_before"]) == list(old["class"])
    assert meta["dtypes"][1].startswith("int") and np.isnan(table["number"][2]) and table["number"][3] == 3
    assert (table["share"] == old["share"]).all() and (table["Confidence_before"] == old["Confidence"]).all()
    notes = [event["text"] for event in classified[1]["events"] if event["event"] == "note"]
    assert any("'class' to 'class_before'" in note for note in notes)
    assert any(note.startswith(f"2 of {len(geometry)} polygons lie beside the imagery") for note in notes)


def test_polygons_get_their_class_and_those_beside_the_imagery_none(classified, trained):
    _, _, _, columns = pyogrio.raw.read(classified[0])
    truth, _, _, _, names, ids, confidence = columns
    assert list(names[-2:]) == [None, None] and np.isnan(ids[-2:]).all() and np.isnan(confidence[-2:]).all()
    assert (names[:-2] == truth[:-2]).mean() > 0.9  # they are those that it was trained on
    legend = {item["name"]: item["id"] for item in trained[1]["classes"]}
    assert [legend[name] for name in names[:-2]] == ids[:-2].tolist()
    assert confidence[:-2].min() >= 1 and confidence[:-2].max() <= 100
    assert classified[1]["classified"] == len(names) - 2 and classified[1]["empty"] == 2
    assert json.loads((classified[0].parent / "classes.gpkg.run.json").read_text())["device"] == "cpu"


@pytest.mark.parametrize(
    ("out", "options", "message"),
    [
        ("o.gpkg", {}, "no layer of them is given.*--polygons"),
        ("o.tif", {"polygons": "parcels"}, "no name of a GeoPackage"),
        ("o.gpkg", {"polygons": "nowhere.gpkg"}, "does not exist"),
    ],
)
def test_what_cannot_be_classified(scene, trained, parcels, tmp_path, out, options, message):
    if options.get("polygons") == "parcels":
        options = {"polygons": str(parcels)}
    with pytest.raises(InputError, match=message):
        job("predict", scene, tmp_path / out, model=str(trained[0]), options=options)
    assert not (tmp_path / out).exists()


def test_points_are_no_polygons(scene, trained, drawn, tmp_path):
    shapes, names, crs = drawn
    path = tmp_path / "points.gpkg"
    pyogrio.raw.write(
        path, shapely.to_wkb(shapely.centroid(shapes)), [names], ["class"], crs=crs, geometry_type="Point", driver="GPKG"
    )  # fmt: skip
    with pytest.raises(InputError, match="holds points"):
        job("predict", scene, tmp_path / "o.gpkg", model=str(trained[0]), options={"polygons": str(path)})
    with pytest.raises(InputError, match="holds points"):
        job(
            "finetune",
            scene,
            tmp_path / "m.safetensors",
            labels={"path": str(path), "field": "class"},
            options=TARGET,
        )


def test_a_model_of_pixels_classifies_no_polygons(scene, parcels, tmp_path):
    job("finetune", scene, tmp_path / "m.safetensors")
    with pytest.raises(InputError, match=r"maps every pixel.*--target polygons"):
        job(
            "predict", scene, tmp_path / "o.gpkg", model=str(tmp_path / "m.safetensors"),
            options={"polygons": str(parcels)},
        )  # fmt: skip


def test_the_command(scene, trained, parcels, classified, tmp_path, capsys):
    out = tmp_path / "o.gpkg"
    given = ["--model", str(trained[0]), "--polygons", str(parcels), "--out", str(out), "--device", "cpu"]
    assert cli.main(["predict", str(scene), *given]) == 0
    assert str(out) in capsys.readouterr().out
    one, two = (pyogrio.raw.read(path)[3] for path in (out, classified[0]))
    assert all(list(map(str, a)) == list(map(str, b)) for a, b in zip(one, two))
