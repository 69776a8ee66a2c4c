"""Labels that are true on one date: land and water that change places, learned on two dates and mapped on three."""

import datetime
import json
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from scene_files import job
from skysense import cli
from skysense.errors import InputError
from skysense.finetune.store import cache_folder, kept_files
from skysense.inference.session import open_session
from skysense.jobs.control import JobControl
from skysense.jobs.recipe import parse_recipe
from skysense.model.modelfile import load_model
from skysense.synthetic.landscape import make_landscape

SIZE, WEST, NORTH, CRS = 64, 500_000.0, 5_600_000.0, "EPSG:32631"
BANDS = ("B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B11", "B12")
WATER, LAND = np.linspace(700, 150, 10), np.linspace(600, 3000, 10)
FIRST, SECOND, THIRD = "2023-05-01", "2023-08-01", "2023-11-05"


def truth_of(date):
    """(64, 64): 1 = land, 2 = water."""
    wet = np.zeros((SIZE, SIZE), bool)
    wet[{FIRST: np.s_[:, :32], SECOND: np.s_[:, 32:], THIRD: np.s_[:24]}[date]] = True
    return np.where(wet, 2, 1)


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """Three Sentinel-2 dates; squares of both classes, of the first two dates and of one without images, at the same places."""
    folder = tmp_path_factory.mktemp("moment")
    random = np.random.default_rng(0)
    rows = []
    for date in (FIRST, SECOND, THIRD):
        values = np.where(truth_of(date)[None] == 2, WATER[:, None, None], LAND[:, None, None])
        values = values * random.normal(1, 0.05, values.shape) + random.normal(0, 20, values.shape)
        path = folder / f"{date}.tif"
        with rasterio.open(
            path, "w", driver="GTiff", width=SIZE, height=SIZE, count=10, dtype="uint16", crs=CRS,
            transform=rasterio.Affine(10, 0, WEST, 0, -10, NORTH),
        ) as out:  # fmt: skip
            out.write(values.clip(1, 9999).astype(np.uint16))
        bands = {name: number for number, name in enumerate(BANDS, 1)}
        rows.append({"modality": "s2", "path": path.name, "date": date, "bands": bands})
    shapes, names, when = [], [], []
    for date, drawn in ((FIRST, "2023-05-03"), (SECOND, SECOND)):
        for row in (4, 24, 44):
            for col in (4, 16, 40, 52):
                west, north = WEST + 10 * col, NORTH - 10 * row
                shapes.append(shapely.box(west, north - 60, west + 60, north))
                names.append({1: "land", 2: "water"}[truth_of(date)[row, col]])
                when.append(drawn)
    shapes.append(shapely.box(WEST + 300, NORTH - 600, WEST + 340, NORTH - 560))
    columns = [np.array([*names, "water"], object), np.array([*when, "2019-01-01"], "datetime64[D]")]
    pyogrio.raw.write(
        folder / "labels.gpkg", shapely.to_wkb(np.array(shapes, object)), columns, ["class", "when"],
        crs=CRS, geometry_type="Polygon", driver="GPKG",
    )  # fmt: skip
    out = folder / "scene.json"
    out.write_text(json.dumps({"version": 1, "name": "moment", "acquisitions": rows}))
    return out


@pytest.fixture(scope="module")
def labels(scene):
    return {"path": str(scene.parent / "labels.gpkg"), "field": "class", "date_field": "when"}


@pytest.fixture(scope="module")
def trained(scene, labels, tmp_path_factory):
    out = tmp_path_factory.mktemp("model") / "m.safetensors"
    return str(out), job("finetune", scene, out, labels=labels)


@pytest.fixture
def mapped(scene, trained, tmp_path):
    """mapped(at, further options): the map, its tags, the notes."""

    def mapped(at=None, **options):
        out = tmp_path / f"map_{at}.tif"
        options |= {} if at is None else {"at": at}
        result = job("predict", scene, out, model=trained[0], options=options)
        with rasterio.open(out) as source:
            notes = [event["text"] for event in result["events"] if event["event"] == "note"]
            return source.read(1), source.tags(), notes

    return mapped


def test_without_dates_the_polygons_contradict_each_other(scene, labels, tmp_path):
    plain = {key: value for key, value in labels.items() if key != "date_field"}
    with pytest.raises(InputError, match="only one class has polygons on valid pixels"):
        job("finetune", scene, tmp_path / "m.safetensors", labels=plain)


def test_the_model_has_columns_of_one_day_and_its_polygons_are_told_apart(trained):
    header = load_model(Path(trained[0])).header
    assert header["inputs"]["moment"] is True
    assert header["inputs"]["series"] == {"s2": {"bands": list(BANDS), "days": []}}
    assert {block["name"]: block["dim"] for block in header["head"]["blocks"]}["s2.series"] == 30
    report, notes = trained[1]["report"], [e["text"] for e in trained[1]["events"] if e["event"] == "note"]
    assert report["n_polygons"] == 24 and report["n_pixels"] == 24 * 16 and report["miou"] > 0.95
    assert any("2019-01-01: the polygons of these dates were left out" in note for note in notes)
    assert not any("outside the imagery" in note or "two classes" in note for note in notes)


def test_each_date_has_its_map(mapped):
    for at, date in ((FIRST, FIRST), ("2023-07-20", SECOND), (None, THIRD)):
        found, tags, notes = mapped(at)
        assert (found == truth_of(date)).mean() > 0.95
        assert tags["SKYSENSE_AT"] == date
        assert f"The map shows one moment: Sentinel-2 of {date}." in notes


def test_moments_share_no_kept_features(mapped, monkeypatch, tmp_path):
    monkeypatch.setenv("SKYSENSE_CACHE", str(tmp_path / "kept"))
    one = mapped(FIRST)[0]
    count = len(kept_files(cache_folder()))
    two = mapped(SECOND)[0]
    assert count > 0 and len(kept_files(cache_folder())) == 2 * count
    assert (mapped(FIRST)[0] == one).all() and len(kept_files(cache_folder())) == 2 * count
    assert (one != two).mean() > 0.9


def test_chunks_are_of_one_moment(scene, trained, tmp_path):
    def manifest(at):
        data = {
            "skysense": 1, "task": "predict", "scene": str(scene), "model": trained[0], "output": "m.tif",
            "options": {"device": "cpu", "at": at},
        }  # fmt: skip
        return open_session(parse_recipe(data, tmp_path), JobControl(lambda event: None)).manifest()

    # The same images are the same map, whatever date has led to them.
    assert manifest(FIRST) == manifest("2023-05-20") != manifest(SECOND)
    assert manifest(None) == manifest(THIRD)


def test_a_moment_too_far_off_is_a_sentence(scene, trained, tmp_path):
    with pytest.raises(
        InputError,
        match=r"no Sentinel-2 image at most 30 days off 2021-01-01 \(they are of 2023-05-01 to 2023-11-05",
    ):
        job("predict", scene, tmp_path / "o.tif", model=trained[0], options={"at": "2021-01-01"})
    with pytest.raises(InputError, match="at is 'May'"):
        job("predict", scene, tmp_path / "o.tif", model=trained[0], options={"at": "May"})


def test_a_date_is_for_models_of_dates_alone(scene, labels, tmp_path):
    plain = tmp_path / "plain.gpkg"
    shapes = [shapely.box(WEST + 10 * col, NORTH - 200, WEST + 10 * col + 60, NORTH - 140) for col in (4, 40)]
    pyogrio.raw.write(
        plain, shapely.to_wkb(np.array(shapes, object)), [np.array(["a", "b"], object)], ["class"],
        crs=CRS, geometry_type="Polygon", driver="GPKG",
    )  # fmt: skip
    model = tmp_path / "m.safetensors"
    job("finetune", scene, model, labels={"path": str(plain), "field": "class"})
    with pytest.raises(InputError, match="looks at all dates together, and a date to map is given"):
        job("predict", scene, tmp_path / "o.tif", model=str(model), options={"at": FIRST})
    with pytest.raises(InputError, match="nothing is mapped"):
        job("finetune", scene, model, labels=labels, options={"at": FIRST})


def test_sensors_that_pass_on_other_days_make_one_moment_and_the_others_are_left_out(tmp_path):
    scene = make_landscape(tmp_path, size_m=320, n_s2=2, n_s1=2)
    data = json.loads(scene.read_text())
    meta, _, wkb, columns = pyogrio.raw.read(tmp_path / data["labels"]["path"])
    dates = [row["date"] for row in data["acquisitions"] if row["modality"] == "s2"]
    when = np.array([dates[n % 2] for n in range(len(wkb))], object)
    pyogrio.raw.write(
        tmp_path / "dated.gpkg", wkb, [*columns, when], [*meta["fields"], "when"],
        crs=meta["crs"], geometry_type=meta["geometry_type"], driver="GPKG",
    )  # fmt: skip
    labels = {
        "path": str(tmp_path / "dated.gpkg"),
        "field": data["labels"]["field"],
        "date_field": "when",
    }
    model, out = tmp_path / "m.safetensors", tmp_path / "o.tif"
    told = [e.get("text", "") for e in job("finetune", scene, model, labels=labels)["events"]]
    assert any(text.startswith("High resolution has no dated image") for text in told)
    inputs = load_model(model).header["inputs"]
    assert inputs["modalities"] == ["s2", "s1"] and inputs["hr_bands"] == []
    assert {modality: item["days"] for modality, item in inputs["series"].items()} == {"s2": [], "s1": []}
    made = job("predict", scene, out, model=str(model))
    days = sorted(max(r["date"] for r in data["acquisitions"] if r["modality"] == m) for m in ("s2", "s1"))
    with rasterio.open(out) as source:
        assert source.tags()["SKYSENSE_AT"] == "/".join(days) and source.res == (10, 10)
        assert made["dates"] == days
        assert (source.read(1) > 0).all()


@pytest.mark.parametrize(
    "options", [{"target": "values"}, {"target": "polygons"}, {"mode": "decoder"}, {"mode": "lora"}]
)
def test_other_targets_and_modes_learn_from_no_dates(scene, labels, tmp_path, options):
    with pytest.raises(
        InputError, match="only classes of pixels are learned date by date, and only by a head"
    ):
        job("finetune", scene, tmp_path / "m.safetensors", labels=labels, options=options)


def test_the_commands(scene, labels, tmp_path, capsys):
    model, out = str(tmp_path / "m.safetensors"), tmp_path / "o.tif"
    train = ["finetune", str(scene), "--labels", labels["path"], "--field", "class", "--out", model]
    assert (
        cli.main([*train, "--date-field", "when", "--device", "cpu", "--report", str(tmp_path / "report")])
        == 0
    )
    assert "of each polygon's date" in (tmp_path / "report" / "report.html").read_text().replace(
        "&#x27;", "'"
    )
    recipe = json.loads((tmp_path / "m.safetensors.recipe.json").read_text())
    assert recipe["labels"]["date_field"] == "when"
    predict = ["predict", str(scene), "--model", model, "--out", str(out), "--device", "cpu"]
    assert cli.main([*predict, "--at", SECOND]) == 0
    with rasterio.open(out) as source:
        assert (source.read(1) == truth_of(SECOND)).mean() > 0.95
    assert cli.main([*predict, "--at", "August"]) == 2
    assert "at is 'August'" in capsys.readouterr().err
    assert datetime.date.fromisoformat(
        json.loads((tmp_path / "o.tif.recipe.json").read_text())["options"]["at"]
    )


def test_single_days_are_looked_for_among_all_dates(mapped):
    found, tags, notes = mapped("2023-07-20", dates="even:1")
    assert tags["SKYSENSE_AT"] == SECOND and (found == truth_of(SECOND)).mean() > 0.95
    assert any(note.startswith("The choice of dates was left aside") for note in notes)
