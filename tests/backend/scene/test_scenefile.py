import datetime
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from skysense.errors import InputError
from skysense.scene.acquisition import Acquisition, BandRef, Scene
from skysense.scene.scenefile import load_scene, parse_scene, scene_to_json

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data"
Writer = Callable[..., Path]


def save(tmp_path: Path, *rows: Any, **more: Any) -> Path:
    file = tmp_path / "scene.json"
    file.write_text(json.dumps({"version": 1, "acquisitions": list(rows), **more}))
    return file


def test_what_is_left_out_is_found_out(s2: Writer, s1: Writer, tmp_path: Path) -> None:
    s2("s2/S2_x_20200101.tif", nodata=0)
    s1("s1/S1_x_20200102.tif", tags={"ORBIT_DIRECTION": "DESCENDING"})
    save(
        tmp_path,
        {"modality": "s2", "path": "s2/S2_x_20200101.tif"},
        {"modality": "s1", "path": "s1/S1_x_20200102.tif"},
    )
    scene = load_scene(tmp_path)
    optical, radar = scene.acquisitions
    assert optical.date == datetime.date(2020, 1, 1)
    assert optical.bands["B8A"] == BandRef(tmp_path / "s2/S2_x_20200101.tif", 8)
    assert (optical.units, optical.nodata, optical.scale) == ("dn", 0.0, None)
    assert (radar.units, radar.orbit, list(radar.bands)) == ("db", "des", ["VV", "VH"])
    assert scene.name == tmp_path.name


def test_what_is_stated_counts(s2: Writer, tmp_path: Path) -> None:
    s2("S2_x_20200101.tif", nodata=0)
    row = {
        "modality": "s2",
        "path": "S2_x_20200101.tif",
        "date": None,
        "bands": {"B04": 1},
        "scale": 0.5,
        "nodata": "nan",
    }
    item = load_scene(save(tmp_path, row)).acquisitions[0]
    assert item.date is None
    assert item.bands == {"B4": BandRef(tmp_path / "S2_x_20200101.tif", 1)}
    assert (item.scale, item.offset) == (0.5, None)
    assert item.nodata is not None and math.isnan(item.nodata)


def test_round_trip_keeps_unknown_keys(s2: Writer, tmp_path: Path) -> None:
    s2("in/S2_x_20200101.tif")
    file = save(
        tmp_path,
        {"modality": "s2", "path": "in/S2_x_20200101.tif", "cloud_pct": 1.5, "nodata": "nan"},
        labels={"path": "l.gpkg", "field": "class", "note": "mine"},
        info={"a": 1},
    )
    scene = load_scene(file)
    data = scene_to_json(scene, tmp_path)
    assert data["info"] == {"a": 1}
    assert data["labels"] == {"path": "l.gpkg", "field": "class", "note": "mine"}
    assert data["acquisitions"][0]["path"] == "in/S2_x_20200101.tif"
    assert data["acquisitions"][0]["cloud_pct"] == 1.5
    json.dumps(data, allow_nan=False)
    assert parse_scene(data, tmp_path) == scene
    assert scene_to_json(scene, None)["acquisitions"][0]["path"] == str(tmp_path / "in/S2_x_20200101.tif")
    assert (
        scene_to_json(scene, tmp_path / "elsewhere")["acquisitions"][0]["path"] == "../in/S2_x_20200101.tif"
    )


def test_one_file_per_band(write: Writer, tmp_path: Path) -> None:
    write("p/B02.tif", 1)
    write("p/more.tif", 3)
    row = {
        "modality": "s2",
        "path": "p",
        "date": "2020-01-01",
        "bands": {"B2": "B02.tif", "B3": "more.tif:3"},
    }
    scene = load_scene(save(tmp_path, row))
    bands = scene.acquisitions[0].bands
    assert bands == {"B2": BandRef(tmp_path / "p/B02.tif", 1), "B3": BandRef(tmp_path / "p/more.tif", 3)}
    assert scene_to_json(scene, tmp_path)["acquisitions"][0]["bands"] == {"B2": "B02.tif", "B3": "more.tif:3"}


def test_modality_sorts_by_date_unknown_first() -> None:
    days = (datetime.date(2020, 2, 1), None, datetime.date(2020, 1, 1))
    scene = Scene("x", tuple(Acquisition("s2", Path("x"), day, {}) for day in days), None, Path())
    assert [item.date for item in scene.modality("s2")] == [None, days[2], days[0]]
    assert scene.modality("s1") == ()


@pytest.mark.parametrize(
    ("row", "parts"),
    [
        ("text", ["row 2", "'text'"]),
        ({"modality": "s2"}, ["row 2", '"path"']),
        ({"path": "S2_x.tif"}, ["row 2 (S2_x.tif)", "modality", "hr, s2, s1"]),
        ({"modality": "sentinel", "path": "S2_x.tif"}, ["row 2 (S2_x.tif)", "'sentinel'", "hr, s2, s1"]),
        ({"modality": ["s2"], "path": "S2_x.tif"}, ["row 2 (S2_x.tif)", "hr, s2, s1"]),
        (
            {"modality": "s2", "path": "S2_x.tif", "date": "12th of May"},
            ["row 2 (S2_x.tif): the date '12th of May'", "YYYY-MM-DD"],
        ),
        ({"modality": "s2", "path": "S2_x.tif", "date": "2020-02-30"}, ["'2020-02-30'", "YYYY-MM-DD"]),
        ({"modality": "s2", "path": "S2_x.tif", "date": 20200101}, ["20200101", "YYYY-MM-DD"]),
        ({"modality": "s2", "path": "S2_x.tif", "bands": {"B2": 0}}, ["band B2 is 0"]),
        ({"modality": "s2", "path": "S2_x.tif", "bands": {"B2": True}}, ["band B2 is true"]),
        ({"modality": "s2", "path": "S2_x.tif", "bands": {"B2": 1, "B02": 2}}, ["B2 is given twice"]),
        ({"modality": "s2", "path": "S2_x.tif", "bands": ["B2"]}, ['"bands"']),
        (
            {"modality": "s2", "path": "S2_x.tif", "bands": {"B2": 11}},
            ["row 2 (S2_x.tif)", "number 11", "10 bands"],
        ),
        ({"modality": "s2", "path": "gone.tif"}, ["row 2 (gone.tif)", "no such file"]),
        ({"modality": "s2", "path": "S2_x.tif", "bands": {"B2": "gone.tif"}}, ["file of band B2 is missing"]),
        ({"modality": "s2", "path": "S2_x.tif", "mask": "gone.tif"}, ["no such mask"]),
        (
            {"modality": "s2", "path": "S2_x.tif", "units": "volts"},
            ["'volts'", "dn, reflectance, db, linear"],
        ),
        ({"modality": "s2", "path": "S2_x.tif", "scale": "big"}, ["scale 'big'"]),
        ({"modality": "s2", "path": "S2_x.tif", "alpha": 0}, ["alpha band 0"]),
        ({"modality": "s2", "path": "S2_x.tif", "orbit": 3}, ["orbit 3"]),
    ],
)
def test_wrong_rows_are_named(s2: Writer, tmp_path: Path, row: Any, parts: list[str]) -> None:
    s2("S2_x.tif")
    file = save(tmp_path, {"modality": "s2", "path": "S2_x.tif"}, row)
    with pytest.raises(InputError) as caught:
        load_scene(file)
    for part in parts:
        assert part in caught.value.sentence
    assert "\n" not in caught.value.sentence


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("{oops", "not valid JSON"),
        pytest.param("[" * 100_000, "not valid JSON", id="nested"),
        ("[1, 2]", "a scene is an object"),
        ('{"version": 2, "acquisitions": []}', "Update SkySense"),
        ('{"version": "1", "acquisitions": []}', "\"version\" '1'"),
        ('{"version": true, "acquisitions": []}', '"version" true'),
        ('{"version": 1}', '"acquisitions"'),
        ('{"version": 1, "acquisitions": [], "labels": {"field": "class"}}', '"path"'),
        ('{"version": 1, "acquisitions": [], "labels": {"path": "l.gpkg"}}', '"field"'),
    ],
)
def test_wrong_files(tmp_path: Path, text: str, part: str) -> None:
    (tmp_path / "scene.json").write_text(text)
    with pytest.raises(InputError, match=r".") as caught:
        load_scene(tmp_path)
    assert part in caught.value.sentence


def test_no_such_file(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "scene.json"):
        with pytest.raises(InputError, match="no such scene file"):
            load_scene(path)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "scene.json").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(InputError, match="not valid JSON"):
        load_scene(tmp_path)


def test_parsing_forgives_missing_files(tmp_path: Path) -> None:
    scene = parse_scene({"acquisitions": [{"modality": "s2", "path": "gone_20200101.tif"}]}, tmp_path)
    assert scene.acquisitions[0].bands == {}


def test_import_needs_no_rasterio() -> None:
    code = "import sys, skysense.scene.scenefile, skysense.scene.describe, skysense.scene.validate\n"
    code += "print([n for n in ('rasterio', 'numpy', 'torch', 'pyogrio') if n in sys.modules])"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )


@pytest.mark.skipif(not SHARED.exists(), reason="the shared sample data are not here")
def test_every_shared_scene_round_trips() -> None:
    files = sorted([*SHARED.glob("scenes/*/scene.json"), *SHARED.glob("pretrain/*/scene.json")])
    assert len(files) >= 35
    for file in files:
        raw = json.loads(file.read_text())
        scene = load_scene(file)
        written = scene_to_json(scene, file.parent)
        assert written["info"] == raw["info"]
        for before, after in zip(raw["acquisitions"], written["acquisitions"], strict=True):
            assert {key: after[key] for key in before} == before


@pytest.mark.parametrize(
    ("modality", "units", "fix"), [("s1", "reflectance", "db or linear"), ("s2", "db", "dn or reflectance")]
)
def test_units_of_another_sensor_are_refused(modality, units, fix, tmp_path):
    row = {"modality": modality, "path": "x.tif", "units": units}
    with pytest.raises(InputError, match=f"does not come in the units .{units}.*Write {fix}"):
        parse_scene({"version": 1, "acquisitions": [row]}, tmp_path)
