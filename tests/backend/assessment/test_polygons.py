"""From a class map to polygons: each pixel covered once, whatever the tiles, borders shared, and what is wrong told."""

import json

import numpy as np
import pyogrio
import pytest
import rasterio
import rasterio.features
import shapely
from affine import Affine
from map_files import NAMES, write_map
from skysense.assessment import components
from skysense.assessment.areas import measure_map
from skysense.assessment.polygons import vectorize
from skysense.cli import main
from skysense.errors import Cancelled, InputError, StorageError
from skysense.jobs.worker import _ASIDE
from stopping import StopsAt


def parcels(seed=0, side=4, noise=0.05):
    """160 x 180 pixels: blocks of classes with single pixels of others, and what is not mapped."""
    chance = np.random.default_rng(seed)
    ids = np.kron(
        chance.choice([0, 1, 2, 7], (160 // side, 180 // side), p=(0.1, 0.4, 0.3, 0.2)),
        np.ones((side, side), int),
    )
    spots = chance.random(ids.shape) < noise
    ids[spots] = chance.choice([0, 1, 2, 7], spots.sum())
    return ids


def read(path):
    """Polygons (N,), and the fields by name."""
    meta, _, geometry, values = pyogrio.raw.read(path, layer="polygons")
    assert meta["geometry_type"] == "Polygon"
    return shapely.from_wkb(geometry), dict(zip(meta["fields"], values)), meta["crs"]


def burnt(polygons, ids, shape, transform):
    """The class map that polygons make, and how often each pixel is covered."""
    classes = rasterio.features.rasterize(zip(polygons, ids), shape, transform=transform, dtype="uint8")
    count = rasterio.features.rasterize(
        ((p, 1) for p in polygons),
        shape,
        transform=transform,
        merge_alg=rasterio.enums.MergeAlg.add,
        dtype="int16",
    )
    return classes, count


@pytest.fixture
def small_tiles(monkeypatch):
    monkeypatch.setattr(components, "TILE", 32)


@pytest.mark.parametrize("tile", [1024, 32, 30])
def test_every_pixel_is_covered_once_by_a_polygon_of_its_class(tmp_path, heard, monkeypatch, tile):
    monkeypatch.setattr(components, "TILE", tile)
    ids = parcels()
    path = write_map(tmp_path / "m.tif", ids)
    result = vectorize(path, tmp_path / "p.gpkg", heard)
    polygons, fields, crs = read(tmp_path / "p.gpkg")
    with rasterio.open(path) as dataset:
        transform = dataset.transform
    classes, count = burnt(polygons, fields["class_id"], ids.shape, transform)
    assert np.array_equal(classes, ids) and np.array_equal(count, (ids > 0).astype(int))
    assert shapely.is_valid(polygons).all() and shapely.coverage_is_valid(polygons)
    assert shapely.area(polygons).sum() == 100 * (ids > 0).sum() and crs == "EPSG:32631"
    # One for each connected area: what a plain trace of the whole map gives.
    whole = rasterio.features.shapes(ids.astype(np.uint8), mask=ids > 0, connectivity=4)
    assert len(polygons) == sum(1 for _ in whole) == result["count"]
    assert [NAMES[i] for i in fields["class_id"]] == list(fields["class"])


@pytest.mark.parametrize("transform", [
    Affine(0.05, 0, 10, 0, -0.05, 60), Affine(8, 3, 500_000, 2, -7, 5_600_000)
])  # fmt: skip
def test_areas_are_those_on_the_ground_in_degrees_and_turned(tmp_path, heard, small_tiles, transform):
    ids = parcels()
    crs = "EPSG:4326" if transform.a < 1 else "EPSG:32631"
    path = write_map(tmp_path / "m.tif", ids, crs=crs)
    with rasterio.open(path, "r+") as dataset:
        dataset.transform = transform
    result = vectorize(path, tmp_path / "p.gpkg", heard)
    polygons, fields, _ = read(tmp_path / "p.gpkg")
    assert np.array_equal(burnt(polygons, fields["class_id"], ids.shape, transform)[0], ids)
    measured = {item["id"]: item["m2"] for item in measure_map(path, None, heard)["classes"]}
    for class_id, m2 in measured.items():
        assert fields["m2"][fields["class_id"] == class_id].sum() == pytest.approx(m2, rel=1e-8)
    assert {item["id"]: item["m2"] for item in result["classes"]} == pytest.approx(measured, rel=1e-8)


@pytest.mark.parametrize("tile", [1024, 32])
def test_simplified_outlines_keep_their_common_borders(tmp_path, heard, monkeypatch, tile):
    monkeypatch.setattr(components, "TILE", tile)
    y, x = np.mgrid[:160, :180]
    ids = 1 + ((x + 0.7 * y) // 45 % 2).astype(int)  # slanting stripes: every border is a stair
    ids[np.hypot(x - 90, y - 80) < 30] = 7
    ids[:, 170:] = 0
    path = write_map(tmp_path / "m.tif", ids)
    exact = vectorize(path, tmp_path / "exact.gpkg", heard)
    smooth = vectorize(path, tmp_path / "smooth.gpkg", heard, simplify_m=20)
    before, _, _ = read(tmp_path / "exact.gpkg")
    after, fields, _ = read(tmp_path / "smooth.gpkg")
    assert exact["count"] == smooth["count"] and exact["classes"] == smooth["classes"]
    assert shapely.is_valid(after).all() and shapely.coverage_is_valid(after)
    assert shapely.get_num_coordinates(after).sum() < shapely.get_num_coordinates(before).sum() / 3
    assert shapely.area(after).sum() == pytest.approx(100 * (ids > 0).sum(), rel=1e-9)  # no gap, no overlap
    classes = burnt(after, fields["class_id"], ids.shape, Affine(10, 0, 500_000, 0, -10, 5_600_000))[0]
    assert (classes != ids).mean() < 0.02
    centre = shapely.Point(500_900, 5_599_200)
    disc = after[np.flatnonzero(fields["class_id"] == 7)[0]]
    assert (
        shapely.contains_properly(disc, centre)
        and disc.boundary.hausdorff_distance(centre.buffer(300).exterior) < 20
    )


def test_small_areas_join_their_neighbours_and_leave_no_holes(tmp_path, heard, small_tiles):
    ids = parcels()
    path = write_map(tmp_path / "m.tif", ids)
    result = vectorize(path, tmp_path / "p.gpkg", heard, min_m2=1500, simplify_m=15)
    polygons, fields, _ = read(tmp_path / "p.gpkg")
    assert shapely.is_valid(polygons).all() and shapely.coverage_is_valid(polygons)
    assert fields["m2"].sum() == pytest.approx(100 * (ids > 0).sum() / 0.9996**2, rel=1e-5)
    alone = fields["m2"] < 1500
    assert alone.sum() == result["small"] > 0
    tree = shapely.STRtree(polygons)
    for number in np.flatnonzero(alone):
        for other in tree.query(polygons[number], "intersects"):
            if other != number:  # at most a corner in common
                assert shapely.get_dimensions(polygons[number].intersection(polygons[other])) == 0
    assert heard.notes == [f"{result['small']} areas below the least area touch no other class and are kept."]
    assert sorted(item.name for item in tmp_path.iterdir()) == ["m.tif", "p.gpkg"]


def test_wrong_input_is_told_and_an_old_file_is_kept(tmp_path, heard):
    path, out = write_map(tmp_path / "m.tif", parcels()), tmp_path / "p.gpkg"
    vectorize(path, out, heard)
    old = out.read_bytes()
    empty = write_map(tmp_path / "empty.tif", np.zeros((20, 20)))
    for given, options, told in (
        ((path, tmp_path / "p.shp"), {}, ".gpkg"),
        ((path, out), {"simplify_m": -1}, "tolerance is -1"),
        ((path, out), {"min_m2": float("nan")}, "least area is nan"),
        ((tmp_path / "none.tif", out), {}, "does not exist"),
        ((empty, out), {}, "no mapped pixels"),
    ):
        with pytest.raises(InputError, match=told):
            vectorize(*given, heard, **options)
    with pytest.raises(StorageError, match="written"):
        vectorize(path, tmp_path / "none" / "p.gpkg", heard)
    heard.cancel()
    with pytest.raises(Cancelled):
        vectorize(path, out, heard, min_m2=1500)
    assert out.read_bytes() == old
    assert sorted(item.name for item in tmp_path.iterdir()) == ["empty.tif", "m.tif", "p.gpkg"]


def test_a_job_that_stops_half_way_leaves_the_old_file(tmp_path, heard, monkeypatch):
    monkeypatch.setattr(components, "TILE", 64)
    path, out = write_map(tmp_path / "m.tif", parcels()), tmp_path / "p.gpkg"
    vectorize(path, out, heard)
    old = out.read_bytes()
    with pytest.raises(Cancelled):
        vectorize(path, out, StopsAt("Tracing polygons"))
    assert out.read_bytes() == old and sorted(item.name for item in tmp_path.iterdir()) == ["m.tif", "p.gpkg"]


def test_the_command_and_the_worker_do_the_same(tmp_path, heard, capsys):
    path, out = write_map(tmp_path / "m.tif", parcels()), tmp_path / "p.gpkg"
    command = ["vectorize", str(path), "--out", str(out), "--simplify", "15", "--min-area", "1000"]
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["count"] == len(read(out)[0]) and found["layer"] == "polygons"
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert f"{found['count']:,} polygons" in shown and "Wälder" in shown and " ha" in shown
    params = {"map": str(path), "out": str(out), "simplify_m": 15.0, "min_m2": 1000.0}
    assert _ASIDE["vectorize"](params, heard) == found
    assert main(["vectorize", str(path), "--out", str(tmp_path / "p.json")]) == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err.count("\n") == 1
