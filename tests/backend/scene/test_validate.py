import datetime
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyogrio
import pytest
from skysense.errors import InputError
from skysense.scene.acquisition import Scene
from skysense.scene.scenefile import load_scene, parse_scene
from skysense.scene.validate import Validation, check, validate

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data"
Writer = Callable[..., Path]


def scene_of(root: Path, *rows: tuple[str, str] | dict[str, Any], **more: Any) -> Scene:
    items = [row if isinstance(row, dict) else {"modality": row[0], "path": row[1]} for row in rows]
    return parse_scene({"version": 1, "acquisitions": items, **more}, root)


def statuses(result: Validation) -> list[str]:
    return [row.status for row in result.rows]


def test_a_good_scene(s2: Writer, s1: Writer, write: Writer, tmp_path: Path) -> None:
    write("hr.tif", 3, dtype="uint8", high=250, gsd=0.5, side=640, colours=("red", "green", "blue"))
    for day in ("20200101", "20200111"):
        s2(f"S2_{day}.tif")
    s1("S1_20200102.tif", gsd=20, side=16)
    scene = scene_of(
        tmp_path,
        ("hr", "hr.tif"),
        ("s2", "S2_20200101.tif"),
        ("s2", "S2_20200111.tif"),
        ("s1", "S1_20200102.tif"),
    )
    result = validate(scene, labels=False)
    assert statuses(result) == ["green"] * 4
    assert (result.errors, result.warnings) == ([], [])
    assert result.summary.startswith("1 HR, 2 Sentinel-2 dates, 1 Sentinel-1 date; 3")
    told: list[str] = []
    check(scene, told.append)
    assert told == []


def test_nothing_to_compute(tmp_path: Path) -> None:
    scene = scene_of(tmp_path)
    assert validate(scene, labels=False).errors == ["The scene has no images. Add at least one."]
    with pytest.raises(InputError, match="has no images"):
        check(scene, pytest.fail)


def test_files_that_cannot_be_used(s2: Writer, write: Writer, tmp_path: Path) -> None:
    s2("S2_20200101.tif")
    s2("S2_20200102.tif", crs=None)
    (tmp_path / "S2_20200103.tif").write_text("no image")
    whole = write("S2_20200104.tif", 10, side=256)
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size * 3 // 4])
    names = ("S2_20200101.tif", "S2_20200102.tif", "S2_20200103.tif", "S2_20200104.tif", "S2_20200105.tif")
    scene = scene_of(tmp_path, *(("s2", name) for name in names))
    result = validate(scene, labels=False)
    assert statuses(result) == ["green", "red", "red", "red", "red"]
    for part, error in zip(
        ("coordinate system", "cannot be read", "damaged", "no such file"), result.errors, strict=True
    ):
        assert part in error
    assert result.errors[0].startswith("row 2 (S2_20200102.tif): ")
    with pytest.raises(InputError, match=r"row 2 \(S2_20200102.tif\)"):
        check(scene, pytest.fail)


def test_truncated_at_the_very_end(write: Writer, tmp_path: Path) -> None:
    path = write("S2_20200101.tif", 10, side=256, tiled=True, blockxsize=64, blockysize=64)
    path.write_bytes(path.read_bytes()[:-4000])
    result = validate(scene_of(tmp_path, ("s2", path.name)), labels=False)
    assert statuses(result) == ["red"]
    assert "damaged" in result.errors[0]


def test_rows_that_do_not_overlap_are_both_named(s2: Writer, s1: Writer, tmp_path: Path) -> None:
    s2("S2_20200101.tif")
    s1("S1_20200102.tif", origin=(700_000.0, 5_600_000.0))
    result = validate(scene_of(tmp_path, ("s2", "S2_20200101.tif"), ("s1", "S1_20200102.tif")), labels=False)
    assert statuses(result) == ["green", "red"]
    assert "row 2 (S1_20200102.tif): does not overlap row 1 (S2_20200101.tif)" in result.errors[0]


def test_rows_of_several_crs_overlap(s2: Writer, s1: Writer, tmp_path: Path) -> None:
    s2("S2_20200101.tif")
    s1("S1_20200102.tif", crs="EPSG:4326", gsd=0.0001, origin=(3.0, 50.551), side=40)
    result = validate(scene_of(tmp_path, ("s2", "S2_20200101.tif"), ("s1", "S1_20200102.tif")), labels=False)
    assert result.errors == []


def test_tiles_that_touch_belong_together(s2: Writer, tmp_path: Path) -> None:
    s2("a_20200101.tif")
    s2("b_20200111.tif", origin=(500_320.0, 5_600_000.0))
    assert (
        validate(scene_of(tmp_path, ("s2", "a_20200101.tif"), ("s2", "b_20200111.tif")), labels=False).errors
        == []
    )


def test_across_the_180_degree_meridian(s2: Writer, tmp_path: Path) -> None:
    s2("a_20200101.tif", crs="EPSG:32660", origin=(832_000.0, 0.0), gsd=60, side=60)
    s2("b_20200111.tif", crs="EPSG:32601", origin=(166_000.0, 0.0), gsd=60, side=60)
    result = validate(scene_of(tmp_path, ("s2", "a_20200101.tif"), ("s2", "b_20200111.tif")), labels=False)
    assert result.errors == []
    assert result.summary.endswith("; 5.6 x 3.6 km")


def test_a_series_needs_dates(s2: Writer, tmp_path: Path) -> None:
    s2("a.tif")
    s2("b_20200101.tif")
    alone = validate(scene_of(tmp_path, ("s2", "a.tif")), labels=False)
    assert (alone.errors, statuses(alone)) == ([], ["amber"])
    result = validate(scene_of(tmp_path, ("s2", "a.tif"), ("s2", "b_20200101.tif")), labels=False)
    assert statuses(result) == ["red", "green"]
    assert "row 1 (a.tif)" in result.errors[0] and "YYYY-MM-DD" in result.errors[0]
    dated = {"modality": "s2", "path": "a.tif", "date": "2020-01-09"}
    assert validate(scene_of(tmp_path, dated, ("s2", "b_20200101.tif")), labels=False).errors == []


def test_cautions(s2: Writer, s1: Writer, tmp_path: Path) -> None:
    for day in (1, 2, 3):
        s1(f"S1_2020010{day}.tif")
    s2("S2_L1C_20200101.tif")
    rows = [
        {"modality": "s1", "path": f"S1_2020010{day}.tif", "orbit": orbit}
        for day, orbit in ((1, "asc"), (2, "ascending"), (3, "D"))
    ]
    scene = scene_of(tmp_path, *rows, ("s2", "S2_L1C_20200101.tif"), ("s2", "S2_L1C_20200101.tif"))
    result = validate(scene, labels=False)
    assert statuses(result) == ["green", "green", "amber", "amber", "amber"]
    assert "orbit" in result.rows[2].reason
    assert "Level-1C" in result.rows[3].reason
    assert "same file as row 4" in result.rows[4].reason
    assert "2 ascending and 1 descending" in result.warnings[0]
    assert result.errors == []
    told: list[str] = []
    check(scene, told.append)
    l1c = "S2_L1C_20200101.tif: Level-1C (top of atmosphere), prefer Level-2A"
    assert told == [
        "Sentinel-1 has 2 ascending and 1 descending images. Better use one.",
        "S1_20200103.tif: is of a descending orbit while most Sentinel-1 images are not, better use one orbit.",
        f"{l1c}.",
        f"{l1c}; is the same file as row 4, remove one of them.",
    ]


def test_a_job_is_told_of_a_caution_once(s2: Writer, tmp_path: Path) -> None:
    s2("S2_L1C_20200101.tif")
    s2("again/S2_L1C_20200101.tif")
    names = ("S2_L1C_20200101.tif", "again/S2_L1C_20200101.tif")
    told: list[str] = []
    check(scene_of(tmp_path, *(("s2", name) for name in names)), told.append)
    assert told == ["S2_L1C_20200101.tif: Level-1C (top of atmosphere), prefer Level-2A."]


def test_assumed_bands_stay_amber_until_stated(write: Writer, tmp_path: Path) -> None:
    write("S2_20200101.tif", 12)
    assumed = scene_of(tmp_path, ("s2", "S2_20200101.tif"))
    assert statuses(validate(assumed, labels=False)) == ["amber"]
    bands = {name: band.index for name, band in assumed.acquisitions[0].bands.items()}
    stated = scene_of(tmp_path, {"modality": "s2", "path": "S2_20200101.tif", "bands": bands})
    assert statuses(validate(stated, labels=False)) == ["green"]


def test_stated_bands_are_checked(s2: Writer, tmp_path: Path) -> None:
    s2("S2_20200101.tif")
    for bands, part in (
        ({"B2": 11}, "number 11"),
        ({"X": 1}, "Sentinel-2 band"),
        ({"B2": "gone.tif"}, "no such file"),
    ):
        result = validate(
            scene_of(tmp_path, {"modality": "s2", "path": "S2_20200101.tif", "bands": bands}), labels=False
        )
        assert part in result.errors[0]


def labels_file(
    tmp_path: Path, west: float = 3.0, north: float = 50.55, *, empty: bool = False, crs: bool = True
) -> Path:
    ring = [[west, north], [west + 0.001, north], [west + 0.001, north - 0.001], [west, north]]
    feature = {
        "type": "Feature",
        "properties": {"class": "a"},
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }
    path = tmp_path / "labels.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [] if empty else [feature]}))
    return path


@pytest.mark.parametrize(
    ("labels", "place", "part"),
    [
        (None, 3.0, "no labels"),
        ({"path": "gone.gpkg", "field": "class"}, 3.0, "no such file"),
        ({"path": "labels.geojson", "field": "kind"}, 3.0, "no field 'kind' (its fields: class)"),
        ({"path": "labels.geojson", "field": "class", "layer": "other"}, 3.0, "no layer 'other'"),
        ({"path": "S2_20200101.tif", "field": "class"}, 3.0, "cannot be read as a vector layer"),
        ({"path": "labels.geojson", "field": "class"}, 9.0, "do not overlap"),
        ({"path": "labels.geojson", "field": "class"}, 230_652.0, "do not overlap"),
        ({"path": "labels.geojson", "field": "class"}, 3.0, None),
    ],
)
def test_labels(s2: Writer, tmp_path: Path, labels: Any, place: float, part: str | None) -> None:
    s2("S2_20200101.tif")
    labels_file(tmp_path, place)
    result = validate(scene_of(tmp_path, ("s2", "S2_20200101.tif"), labels=labels), labels=True)
    assert len(result.errors) == (part is not None)
    assert part is None or part in result.errors[0]


def test_styles_beside_the_labels_are_no_layer(s2: Writer, tmp_path: Path) -> None:
    s2("S2_20200101.tif")
    meta, _, geometry, values = pyogrio.raw.read(labels_file(tmp_path))
    path = tmp_path / "labels.gpkg"
    pyogrio.raw.write(
        path, geometry, values, meta["fields"], layer="mine", crs=meta["crs"], geometry_type=meta["geometry_type"]
    )  # fmt: skip
    with sqlite3.connect(path) as file:
        file.execute("CREATE TABLE layer_styles (id INTEGER PRIMARY KEY, styleQML TEXT)")
        file.execute(
            "INSERT INTO gpkg_contents (table_name, data_type, identifier) VALUES ('layer_styles', 'attributes', 'layer_styles')"
        )
    file.close()
    labels = {"path": path.name, "field": "class"}
    assert validate(scene_of(tmp_path, ("s2", "S2_20200101.tif"), labels=labels), labels=True).errors == []


def test_labels_without_features(s2: Writer, tmp_path: Path) -> None:
    s2("S2_20200101.tif")
    labels_file(tmp_path, empty=True)
    scene = scene_of(tmp_path, ("s2", "S2_20200101.tif"), labels={"path": "labels.geojson", "field": "class"})
    assert len(validate(scene, labels=True).errors) == 1


@pytest.mark.skipif(not SHARED.exists(), reason="the shared sample data are not here")
def test_every_shared_scene_is_valid() -> None:
    for file in sorted(SHARED.glob("*/*/scene.json")):
        scene = load_scene(file)
        assert validate(scene, labels=scene.labels is not None).errors == [], file


@pytest.mark.skipif(not SHARED.exists(), reason="the shared sample data are not here")
def test_labels_with_the_wrong_crs() -> None:
    root = SHARED / "robustness" / "iamap"
    row = {"modality": "s2", "path": "test.tif", "bands": {"B2": 1, "B3": 2, "B4": 3}, "date": "2020-01-01"}
    wrong = scene_of(root, row, labels={"path": "ml.gpkg", "field": "Type"})
    errors = validate(wrong, labels=True).errors
    assert errors and "overlap" in errors[0]
    right = scene_of(root, row, labels={"path": "ml_poly.shp", "field": "Type"})
    result = validate(right, labels=True)
    assert result.errors == []
    assert "8-bit" in result.rows[0].reason


def test_dates_count_once(s2: Writer, tmp_path: Path) -> None:
    s2("a_20200101.tif")
    s2("b_20200101.tif")
    scene = scene_of(tmp_path, ("s2", "a_20200101.tif"), ("s2", "b_20200101.tif"))
    assert {item.date for item in scene.acquisitions} == {datetime.date(2020, 1, 1)}
    assert validate(scene, labels=False).summary.startswith("1 Sentinel-2 date;")


def test_the_same_of_many_images_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    warnings = ["Orbits are mixed.", "a.tif: is doubtful. Look.", "b.tif: is doubtful. Look.", "c.tif: is odd.", "d.tif: is doubtful. Look."]  # fmt: skip
    found = Validation([], [], warnings)
    monkeypatch.setattr("skysense.scene.validate.validate", lambda scene, labels: found)
    told: list[str] = []
    check(scene_of(tmp_path), told.append)
    assert told == ["Orbits are mixed.", "a.tif and 2 others: is doubtful. Look.", "c.tif: is odd."]
