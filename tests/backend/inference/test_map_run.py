"""Runs that are cut off, shared, changed under way or crowded out: the map has the same bytes or is refused."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyogrio.raw
import pytest
import rasterio
import rasterio.features
import shapely
import torch
from scene_files import job, part
from skysense.errors import Cancelled, InputError
from skysense.finetune.features import FeatureMap, TileFeatures, over_core
from skysense.finetune.lanes import Lanes, usual_choice
from skysense.inference import crew
from skysense.inference.canvas import TileCanvas
from skysense.inference.journal import begin, digest_of
from skysense.inference.lock import NAME, RunLock
from skysense.inference.session import open_session
from skysense.jobs.control import JobControl
from skysense.jobs.recipe import parse_recipe
from skysense.raster.grid import Lattice, Window
from skysense.raster.layout import Layout, plan_layout
from skysense.raster.tiles import plan_tiles
from skysense.scene.scenefile import load_scene
from skysense.synthetic.landscape import make_landscape

SIDE = 1_500  # metres: 150 pixels, nine chunks or more


@pytest.fixture(scope="module", autouse=True)
def _nothing_kept():
    with pytest.MonkeyPatch.context() as patch:  # with kept features a run is over before it can be killed
        patch.setenv("SKYSENSE_CACHE_GB", "0")
        yield


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    whole = make_landscape(tmp_path_factory.mktemp("whole"), size_m=SIDE, n_s2=4, n_s1=2)
    return part(whole, tmp_path_factory.mktemp("s") / "sentinel", lambda row: row["modality"] != "hr")


@pytest.fixture(scope="module")
def model(scene, tmp_path_factory):
    out = tmp_path_factory.mktemp("model") / "m.safetensors"
    job("finetune", scene, out, options={"judged": False})
    return str(out)


@pytest.fixture(scope="module")
def map_path(scene, model, tmp_path_factory):
    out = tmp_path_factory.mktemp("map") / "map.tif"
    job("predict", scene, out, model=model)
    return out


def same(one: Path, two: Path) -> bool:
    def beside(path: Path) -> Path:
        return path.with_name(f"{path.stem}_confidence.tif")

    return one.read_bytes() == two.read_bytes() and beside(one).read_bytes() == beside(two).read_bytes()


def start(scene, model, out, *more):
    return subprocess.Popen(
        [sys.executable, "-m", "skysense", "predict", str(scene), "--model", model, "--out", str(out), *more,
         "--device", "cpu"],
        stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip


def chunks(out: Path) -> dict[str, int]:
    """Whole chunks on disk and when they were written."""
    return {path.name: path.stat().st_mtime_ns for path in Path(f"{out}.parts").glob("*_class.tif")}


def wait_for_chunks(process, out: Path, count: int) -> None:
    until = time.monotonic() + 120
    while len(chunks(out)) < count:
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.parametrize("count", [1, 4])
def test_a_killed_run_goes_on_and_gives_the_same_bytes(scene, model, map_path, tmp_path, count):
    out = tmp_path / "map.tif"
    out.write_bytes(b"the old map")
    process = start(scene, model, out)
    wait_for_chunks(process, out, count)
    process.send_signal(signal.SIGKILL)
    process.wait()
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


def test_several_processes_give_the_same_bytes_even_if_one_dies(scene, model, map_path, tmp_path):
    out = tmp_path / "map.tif"
    killed = []

    def look(event):
        if event["event"] == "chunk" and not killed:
            worker = next(p for p in multiprocessing.active_children() if "Spawn" in type(p).__name__)
            os.kill(worker.pid, signal.SIGKILL)
            killed.append(worker.pid)

    job("predict", scene, out, control=JobControl(look), model=model, options={"workers": 2})
    assert killed and same(out, map_path)


@pytest.mark.parametrize("end", ["resume", "cancel"])
def test_paused_no_process_computes_and_the_map_is_the_same(scene, model, map_path, tmp_path, end):
    out, total, left = tmp_path / "map.tif", [], []

    def look(event):
        if event["event"] == "chunk" and not total:
            total.append(event["total"])
            control.pause()
        if event["event"] == "paused":
            threading.Thread(target=rest).start()

    def rest():
        begun = time.monotonic()
        while time.monotonic() - begun < 4:  # as long as several chunks take
            if (now := len(chunks(out))) != (left[-1] if left else 0):
                left.append(now)
                begun = time.monotonic()
        getattr(control, end)()

    control = JobControl(look)
    if end == "resume":
        job("predict", scene, out, control=control, model=model, options={"workers": 2})
        assert same(out, map_path)
    else:
        with pytest.raises(Cancelled):
            job("predict", scene, out, control=control, model=model, options={"workers": 2})
        assert not list(Path(f"{out}.parts").glob("paused*")) and chunks(out)
    assert left[-1] < total[0]
    begun = time.monotonic()  # a busy machine takes its time to bury them
    while [p for p in multiprocessing.active_children() if "Spawn" in type(p).__name__]:
        assert time.monotonic() - begun < 60
        time.sleep(0.1)


def test_a_dask_cluster_gives_the_same_bytes_even_if_a_worker_dies(scene, model, map_path, tmp_path):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
    ) as cluster:
        killed = []

        def look(event):
            if event["event"] == "chunk" and not killed:
                pids = [worker.pid for worker in cluster.workers.values()]
                os.kill(pids[0], signal.SIGKILL)
                killed.extend(pids)

        out = tmp_path / "map.tif"
        options = {"scheduler": cluster.scheduler_address}
        job("predict", scene, out, control=JobControl(look), model=model, options=options)
    assert len(killed) == 2 and same(out, map_path)


def test_a_cluster_that_is_not_there(scene, model, tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(crew, "_PATIENCE", "1s")
    with pytest.raises(InputError, match=r"tcp://127\.0\.0\.1:1: cannot be reached"):
        job("predict", scene, tmp_path / "m.tif", model=model, options={"scheduler": "tcp://127.0.0.1:1"})


def test_a_cluster_without_workers_says_so_and_works_when_one_joins(
    scene, model, map_path, tmp_path, monkeypatch
):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(crew, "_STAFF_S", 0.2)
    monkeypatch.setattr(crew, "_VACANT_S", 1.0)
    with distributed.LocalCluster(
        n_workers=0, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
    ) as cluster:
        address, out = cluster.scheduler_address, tmp_path / "map.tif"
        told = f"The cluster at {address} has no workers yet: the map is made as soon as one joins."
        notes = []

        def asked(then):
            def look(event):
                if event["event"] == "note" and event["text"] == told:
                    notes.append(event)
                    then()

            return JobControl(look)

        with pytest.raises(Cancelled):
            control = asked(lambda: control.cancel())
            job("predict", scene, out, control=control, model=model, options={"scheduler": address})
        assert not chunks(out) and len(notes) == 1
        control = asked(lambda: cluster.scale(1))
        job("predict", scene, out, control=control, model=model, options={"scheduler": address})
    assert len(notes) == 2 and same(out, map_path)


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


def test_a_worker_of_a_run_that_has_ended_writes_nothing(scene, model, tmp_path):
    folder = tmp_path / "map.tif.parts"
    data = {
        "skysense": 1,
        "task": "predict",
        "scene": str(scene),
        "model": model,
        "output": str(tmp_path / "map.tif"),
    }
    recipe = parse_recipe({**data, "options": {"device": "cpu"}}, tmp_path)
    content = open_session(recipe, JobControl(lambda event: None)).manifest()
    chosen = usual_choice(torch.device("cpu"))
    with RunLock(folder, recipe.output, "m") as lock:
        begin(folder, content, chosen)
        order = crew.Order(recipe, folder, digest_of(content), chosen, lock.run)
        crew.compute_share(order, [0])
        assert len(chunks(recipe.output)) == 1
        for other in (
            replace(order, run="of before"),
            replace(order, digest="of another recipe"),
            replace(order, chosen=chosen | {"locations": 256}),
        ):
            with pytest.raises(InputError if other.digest != order.digest else Cancelled):
                crew.compute_share(other, [1])
        with pytest.raises(InputError, match="cannot compile"):
            crew.compute_share(replace(order, chosen=chosen | {"compiled": 1}), [1])
        assert len(chunks(recipe.output)) == 1
    with pytest.raises(Cancelled):
        crew.compute_share(order, [1])
    assert len(chunks(recipe.output)) == 1
