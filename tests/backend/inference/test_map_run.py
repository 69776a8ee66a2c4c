"""Runs that are cut off, shared, changed under way or crowded out: the map has the same bytes or is refused."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyogrio.raw
import pytest
import rasterio
import rasterio.features
import shapely
import torch
from interrupted import kill_when
from map_runs import chunks, same
from scene_files import job
from skysense.errors import Cancelled, InputError
from skysense.finetune.features import FeatureMap, TileFeatures, over_core
from skysense.finetune.lanes import Lanes
from skysense.inference.canvas import TileCanvas
from skysense.inference.lock import NAME, RunLock
from skysense.jobs.control import JobControl
from skysense.raster.grid import Lattice, Window
from skysense.raster.layout import Layout, plan_layout
from skysense.raster.tiles import plan_tiles
from skysense.scene.scenefile import load_scene


@pytest.fixture(scope="module", autouse=True)
def _nothing_kept():
    with pytest.MonkeyPatch.context() as patch:  # with kept features a run is over before it can be killed
        patch.setenv("SKYSENSE_CACHE_GB", "0")
        yield


@pytest.mark.parametrize("count", [1, 4])
def test_a_killed_run_goes_on_and_gives_the_same_bytes(scene, model, map_path, tmp_path, count):
    out = tmp_path / "map.tif"
    out.write_bytes(b"the old map")
    kill_when(lambda: len(chunks(out)) >= count, "predict", scene, "--model", model, "--out", out)
    left = chunks(out)
    assert (
        out.read_bytes() == b"the old map" and len(left) >= count and (Path(f"{out}.parts") / NAME).exists()
    )
    events = []

    def look(event):
        if event["event"] == "chunk":
            events.append(event)
            now = chunks(out)
            assert {name: now[name] for name in left} == left  # not computed again

    job("predict", scene, out, control=JobControl(look), model=model)
    assert events[0]["done"] == len(left) + 1 and len(events) == events[0]["total"] - len(left)
    assert same(out, map_path) and not Path(f"{out}.parts").exists()


def test_chunks_of_another_recipe_or_other_imagery_are_not_used(scene, model, map_path, tmp_path):
    out = tmp_path / "map.tif"
    control = JobControl(lambda event: control.cancel() if event["event"] == "chunk" else None)
    with pytest.raises(Exception, match="ancel"):
        job("predict", scene, out, control=control, model=model, options={"fusion_stride": 4})
    assert chunks(out)
    for path in Path(f"{out}.parts").glob("*_class.tif"):
        path.write_bytes(b"must not be merged")
    job("predict", scene, out, model=model)
    assert same(out, map_path)


def test_a_run_begun_with_compiled_blocks_goes_on_where_nothing_compiles(
    scene, model, map_path, tmp_path, monkeypatch
):
    def refused(*arguments):
        raise RuntimeError("InductorError: no C compiler")

    out = tmp_path / "map.tif"
    control = JobControl(lambda event: control.cancel() if event["event"] == "chunk" else None)
    with pytest.raises(Cancelled):
        job("predict", scene, out, control=control, model=model)
    log = Path(f"{out}.parts") / "manifest.json"
    begun = json.loads(log.read_text())
    begun["chosen"]["compiled"] = 1
    log.write_text(json.dumps(begun))
    for path in Path(f"{out}.parts").glob("*_class.tif"):
        path.write_bytes(b"must not be merged with others")
    monkeypatch.setattr("skysense.finetune.features.compile_blocks", refused)
    done = job("predict", scene, out, model=model)
    assert same(out, map_path)
    assert any("begins again" in e["text"] for e in done["events"] if e["event"] == "note")


def test_a_second_run_to_the_same_place_is_refused(scene, model, tmp_path):
    out = tmp_path / "map.tif"
    with RunLock(Path(f"{out}.parts"), out, "roofs.safetensors"):
        with pytest.raises(InputError, match=r"another run \(process .*roofs"):
            job("predict", scene, out, model=model)
    assert not out.exists()


def test_imagery_that_changes_under_way(scene, model, tmp_path):
    copy = tmp_path / "scene"
    copy.mkdir()
    data = json.loads(scene.read_text())
    for row in data["acquisitions"]:
        moved = copy / Path(row["path"]).name
        moved.write_bytes(Path(row["path"]).read_bytes())
        row["path"] = str(moved)
    (copy / "scene.json").write_text(json.dumps(data))
    changed = Path(data["acquisitions"][0]["path"])
    control = JobControl(lambda event: os.utime(changed) if event["event"] == "chunk" else None)
    out = tmp_path / "map.tif"
    with pytest.raises(InputError, match=rf"{changed.name}: has changed while it was mapped"):
        job("predict", copy / "scene.json", out, control=control, model=model)
    assert not out.exists() and not chunks(out)


def test_the_map_begins_at_the_start_and_is_the_same(scene, model, map_path, tmp_path):
    with rasterio.open(map_path) as source:
        crs, (x, y) = source.crs.to_string(), source.xy(140, 20)
    begun = []

    def look(event):
        if event["event"] == "chunk":
            with rasterio.open(event["class"]) as chunk:
                begun.append(chunk.bounds)

    out = tmp_path / "map.tif"
    job(
        "predict",
        scene,
        out,
        control=JobControl(look),
        model=model,
        options={"start": [x, y], "area_crs": crs},
    )
    assert begun[0].left <= x <= begun[0].right and begun[0].bottom <= y <= begun[0].top
    assert same(out, map_path)


def test_a_full_gpu_memory_halves_the_batch_and_goes_on(scene, model, map_path, tmp_path, monkeypatch):
    from skysense.model import skysense

    fuse_tile, asked = skysense.fuse_tile, []

    def cramped(*arguments):
        asked.append(arguments[-1])
        if arguments[-1] > 200:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return fuse_tile(*arguments)

    monkeypatch.setattr(skysense, "fuse_tile", cramped)
    out = tmp_path / "map.tif"
    done = job("predict", scene, out, model=model)
    assert sorted(set(asked)) == [128, 256, 512]
    assert [e["text"] for e in done["events"] if e["event"] == "note"][-1].endswith("batches of 128 pixels.")
    with rasterio.open(out) as one, rasterio.open(map_path) as two:
        assert (one.read(1) == two.read(1)).mean() > 0.999
    monkeypatch.setattr(
        skysense, "fuse_tile", lambda *a: (_ for _ in ()).throw(torch.OutOfMemoryError("full"))
    )
    with pytest.raises(InputError, match="does not fit into the GPU's memory"):
        job("predict", scene, tmp_path / "again.tif", model=model)


def test_products_say_what_the_classes_were_chosen_by(scene, model, map_path, tmp_path):
    out = tmp_path / "map.tif"
    done = job("predict", scene, out, model=model, options={"products": ["probabilities", "entropy"]})
    assert same(out, map_path)
    with rasterio.open(out) as source:
        classes, names = source.read(1), json.loads(source.tags()["SKYSENSE_CLASSES"])
    with rasterio.open(done["probabilities"]) as source:
        shares = source.read()
        assert source.descriptions == tuple(names[str(item)] for item in sorted(map(int, names)))
        assert source.nodata == 255 and source.dtypes[0] == "uint8"
        assert source.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    with rasterio.open(map_path.with_name("map_confidence.tif")) as source:
        confidence = source.read(1)
    mapped = classes > 0
    assert mapped.any() and ((shares == 255) == ~mapped).all()
    assert (shares.max(0)[mapped] == confidence[mapped]).all()
    assert abs(shares[:, mapped].astype(int).sum(0) - 100).max() <= len(shares) / 2
    with rasterio.open(done["entropy"]) as source:
        entropy = source.read(1)
    p = shares[:, mapped] / 100
    expected = -(p * np.log(np.where(p > 0, p, 1))).sum(0) / np.log(len(p)) * 100
    assert abs(entropy[mapped] - expected).max() < 8 and ((entropy == 255) == ~mapped).all()


def test_a_map_within_polygons_is_the_whole_map_inside_of_them(scene, model, map_path, tmp_path):
    with rasterio.open(map_path) as source:
        whole, transform, crs = source.read(1), source.transform, source.crs
    corner = [transform * place for place in ((20, 15), (70, 20), (45, 80), (100, 100), (108, 96))]
    shapes = [shapely.Polygon(corner[:3]), shapely.Polygon([corner[3], corner[4], transform * (104, 90)])]
    pyogrio.raw.write(
        tmp_path / "farm.gpkg", shapely.to_wkb(np.array(shapes, object)), [], [], crs=crs.to_string(),
        geometry_type="Polygon", layer="farm", driver="GPKG",
    )  # fmt: skip
    out = tmp_path / "map.tif"
    job("predict", scene, out, model=model, options={"within": str(tmp_path / "farm.gpkg")})
    inside = rasterio.features.geometry_mask(shapes, whole.shape, transform, invert=True)
    with rasterio.open(out) as source:
        found, col, row = (
            source.read(1),
            *(round(v) for v in ~transform * (source.transform.c, source.transform.f)),
        )
    expected = np.where(inside, whole, 0)[row : row + found.shape[0], col : col + found.shape[1]]
    assert found.shape == (85, 88) and np.array_equal(found, expected) and (found > 0).sum() == inside.sum()
    far = shapely.to_wkb(np.array([shapely.box(0, 0, 10, 10)], object))
    pyogrio.raw.write(
        tmp_path / "far.gpkg",
        far,
        [],
        [],
        crs=crs.to_string(),
        geometry_type="Polygon",
        layer="far",
        driver="GPKG",
    )
    with pytest.raises(InputError, match=r"far\.gpkg: lies outside the imagery"):
        job("predict", scene, out, model=model, options={"within": str(tmp_path / "far.gpkg")})


def test_blended_tiles_differ_near_borders_only_and_depend_on_no_part(scene, model, map_path, tmp_path):
    out, cut = tmp_path / "map.tif", tmp_path / "part.tif"
    job("predict", scene, out, model=model, options={"blend": True, "products": ["probabilities"]})
    layout = plan_layout(load_scene(scene))
    west, _, _, north = layout.output.bounds
    area = [west + 300, north - 1_100, west + 1_200, north - 100]
    options = {"blend": True, "area": area, "area_crs": layout.output.crs, "start": [west + 900, north - 900]}
    job("predict", scene, cut, model=model, options=options)
    with rasterio.open(out) as one, rasterio.open(cut) as two, rasterio.open(map_path) as three:
        blended, part_of_it, plain = one.read(1), two.read(1), three.read(1)
    assert np.array_equal(part_of_it, blended[10:110, 30:120])
    tiles = plan_tiles(layout)
    rows, cols = (
        np.arange(start, start + size) % tiles.core
        for start, size in ((layout.area.row, layout.area.height), (layout.area.col, layout.area.width))
    )
    away = [np.minimum(place, tiles.core - 1 - place) for place in (rows, cols)]
    far = np.minimum(away[0][:, None], away[1]) >= 4  # blended over two pixels, averaged over two
    assert np.array_equal(blended[far], plain[far]) and (blended == plain).mean() > 0.99
    job("predict", scene, tmp_path / "plain.tif", model=model, options={"products": ["probabilities"]})
    shares = []
    for name in ("map", "plain"):
        with rasterio.open(tmp_path / f"{name}_probabilities.tif") as source:
            shares.append(source.read().astype(int))
    differ = (shares[0] != shares[1]).any(0)
    assert not differ[far].any() and differ[~far].any()


def test_hr_alone_is_blended_from_what_its_tiles_hold_already(tmp_path):
    """Values that are a plane in every tile, each tile with its own offset: between two tiles they pass evenly."""
    lattice = Lattice("EPSG:32632", 1.0)
    area = Window(0, 0, 300, 300)
    layout = Layout(("hr",), lattice, 1, area, lattice.grid(area), True)
    tiling = replace(plan_tiles(layout, blend=True), side=160, margin=30, blend=20)

    class Offsets:
        device = torch.device("cpu")

        def read(self, tile):
            return tile

        def features(self, tile):
            values = torch.full((1, 160, 160), float(tile.row))
            return TileFeatures(tile, {"a": FeatureMap(values, 1, 30)}, np.ones((100, 100), bool))

    with Lanes(Offsets()) as lanes:
        canvas = TileCanvas(lanes, lambda f, side: over_core(f.maps["a"], side), tiling, area, 1)
        values, valid = canvas.window(area, JobControl(lambda event: None))
    column = values[0, :, 150].numpy()
    assert valid.all() and torch.allclose(values[0], values[0, :, 150:151], atol=1e-6)
    np.testing.assert_allclose(column[20:80], 0, atol=1e-6)
    np.testing.assert_allclose(column[120:180], 1, atol=1e-6)
    np.testing.assert_allclose(column[80:120], (np.arange(40) + 0.5) / 40, atol=1e-6)


def test_blended_tiles_within_polygons_are_those_of_the_whole(scene, model, tmp_path):
    """The polygon ends three pixels before a border of tiles: the neighbour still takes part."""
    layout = plan_layout(load_scene(scene))
    tiles = plan_tiles(layout)
    edge = layout.area.row + 60 - (layout.area.row + 60) % tiles.core - layout.area.row  # row of the map
    west, _, _, north = layout.output.bounds
    shape = shapely.box(west + 200, north - 10 * (edge - 1), west + 1_100, north - 10 * (edge - 9))
    pyogrio.raw.write(
        tmp_path / "strip.gpkg", shapely.to_wkb(np.array([shape], object)), [], [], crs=layout.output.crs,
        geometry_type="Polygon", layer="strip", driver="GPKG",
    )  # fmt: skip
    options = {"blend": True, "products": ["probabilities"]}
    whole = job("predict", scene, tmp_path / "whole.tif", model=model, options=options)
    part_options = options | {"within": str(tmp_path / "strip.gpkg")}
    strip = job("predict", scene, tmp_path / "strip.tif", model=model, options=part_options)
    with rasterio.open(whole["probabilities"]) as one, rasterio.open(strip["probabilities"]) as two:
        expected = one.read(window=rasterio.windows.from_bounds(*two.bounds, one.transform))
        assert np.array_equal(two.read(), expected) and two.shape == (8, 90)
