"""`skysense embed` on a small synthetic scene: values, place, nothing where nothing was seen."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from scene_files import job, part
from skysense.cli import main
from skysense.errors import Cancelled, InputError
from skysense.finetune.collect import gather
from skysense.finetune.features import FeatureExtractor
from skysense.inference.lock import RunLock
from skysense.jobs.control import JobControl
from skysense.model.backbone import default_backbone
from skysense.raster.layout import plan_layout
from skysense.raster.reader import SceneReader
from skysense.raster.tiles import plan_tiles
from skysense.scene.scenefile import load_scene
from skysense.synthetic.landscape import make_landscape
from stopping import StopsAt


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return make_landscape(tmp_path_factory.mktemp("scene"), size_m=640, n_s2=2, n_s1=1)


@pytest.fixture(scope="module")
def sentinel(scene, tmp_path_factory):
    return part(scene, tmp_path_factory.mktemp("s") / "sentinel", lambda row: row["modality"] != "hr")


@pytest.fixture(scope="module")
def hr(scene, tmp_path_factory):
    return part(scene, tmp_path_factory.mktemp("h") / "hr", lambda row: row["modality"] == "hr")


def embed(*arguments):
    return main(["embed", *map(str, arguments), "--device", "cpu"])


@pytest.fixture(scope="module")
def embedded(sentinel, tmp_path_factory):
    out = tmp_path_factory.mktemp("e") / "e.tif"
    assert embed(sentinel, "--out", out) == 0
    return out


@pytest.fixture(scope="module")
def embedded_hr(hr, tmp_path_factory):
    out = tmp_path_factory.mktemp("e") / "e.tif"
    assert embed(hr, "--out", out) == 0
    return out


def expected(path, x, y):
    """Features of the built-in model at places in the map's CRS, as the probe and the heads gather them: (N, F)."""
    scene = load_scene(path)
    layout = plan_layout(scene)
    tiling, lattice = plan_tiles(layout), layout.compute
    rows = np.floor((lattice.y0 - y) / lattice.gsd).astype(np.int64)
    cols = np.floor((x - lattice.x0) / lattice.gsd).astype(np.int64)
    found = None
    with SceneReader(scene) as reader:
        extractor = FeatureExtractor(
            default_backbone(torch.device("cpu")).model, reader, layout, tiling, {}, (), spectral=False
        )  # fmt: skip
        for tile in tiling.over(layout.area):
            at = rows - tile.core.row, cols - tile.core.col
            inside = np.flatnonzero(
                (at[0] >= 0) & (at[0] < tile.core.height) & (at[1] >= 0) & (at[1] < tile.core.width)
            )
            if len(inside):
                features = extractor.features(extractor.read(tile))
                values = gather(features, extractor.blocks, at[0][inside], at[1][inside])
                found = np.full((len(x), values.shape[1]), np.nan, np.float32) if found is None else found
                found[inside] = values
    return found


def test_series_become_the_fused_features_on_10_m(embedded, sentinel):
    with rasterio.open(embedded) as source:
        values, place = source.read(), source.transform
        assert source.res == (10, 10) and source.shape == (64, 64) and source.dtypes == ("float32",) * 96
        assert json.loads(source.tags()["SKYSENSE_FEATURES"]) == {"fused": 96}
        assert source.descriptions[:2] == ("fused 1", "fused 2")
        assert source.tags()["SKYSENSE_BACKBONE"].startswith("tiny")
    rows, cols = np.random.default_rng(0).integers(0, 64, (2, 200))
    x, y = rasterio.transform.xy(place, rows, cols)
    np.testing.assert_array_equal(values[:, rows, cols].T, expected(sentinel, x, y))


def test_hr_alone_becomes_all_stages_on_the_finest_ones_pixels(embedded_hr, hr):
    with rasterio.open(embedded_hr) as source:
        values, place = source.read(), source.transform
        assert source.res == (5, 5)  # 4 pixels of 1.25 m
        assert json.loads(source.tags()["SKYSENSE_FEATURES"]) == {
            "hr.1": 32, "hr.2": 64, "hr.3": 128, "hr.4": 256,
        }  # fmt: skip
    with rasterio.open(hr.parent / json.loads(hr.read_text())["acquisitions"][0]["path"]) as source:
        bounds = source.bounds
    assert 0 <= bounds.left - place.c < 5 and 0 <= place.f - bounds.top < 5
    rows, cols = np.random.default_rng(0).integers(1, 127, (2, 100))
    x, y = rasterio.transform.xy(place, rows, cols)
    # A cell's centre lies between four HR pixels, and interpolation is linear in between.
    around = [expected(hr, x + dx, y + dy) for dx in (-0.625, 0.625) for dy in (-0.625, 0.625)]
    np.testing.assert_allclose(values[32:, rows, cols].T, np.mean(around, axis=0)[:, 32:], atol=1e-4)
    # The finest stage has a value of its own there.
    own = np.mean(around, axis=0)[:, :32]
    assert np.corrcoef(values[:32, rows, cols].T.ravel(), own.ravel())[0, 1] > 0.9


def test_all_three_are_embedded_on_10_m(scene, tmp_path):
    assert embed(scene, "--out", tmp_path / "e.tif") == 0
    with rasterio.open(tmp_path / "e.tif") as source:
        values = source.read()
        place = source.transform
        assert source.res == (10, 10) and source.shape == (64, 64) and source.count == 96
    rows, cols = np.random.default_rng(0).integers(1, 63, (2, 60))
    x, y = rasterio.transform.xy(place, rows, cols)
    # The centre of a 10 m pixel lies between four HR pixels, whose features lean by 1/16 towards its neighbours.
    around = [expected(scene, x + dx, y + dy)[:, :96] for dx in (-0.6, 0.6) for dy in (-0.6, 0.6)]
    lean = np.array([1 / 32, 15 / 16, 1 / 32])
    blend = sum(
        lean[1 + dr] * lean[1 + dc] * values[:, rows + dr, cols + dc].T
        for dr in (-1, 0, 1)
        for dc in (-1, 0, 1)
    )
    same = np.isclose(blend, np.mean(around, axis=0), atol=1e-4).all(axis=1)
    assert same.mean() > 0.85  # but for pixels whose neighbours lie in another tile


def test_a_part_equals_the_cut_out_of_the_whole(sentinel, embedded, tmp_path):
    with rasterio.open(embedded) as source:
        west, north, whole, crs = source.transform.c, source.transform.f, source.read(), source.crs
    area = [west + 133, north - 512, west + 415, north - 97]
    assert embed(sentinel, "--out", tmp_path / "e.tif", "--area", *area, "--area-crs", crs.to_string()) == 0
    with rasterio.open(tmp_path / "e.tif") as source:
        col, row = round((source.transform.c - west) / 10), round((north - source.transform.f) / 10)
        assert (row, col, source.height, source.width) == (9, 13, 43, 29)
        np.testing.assert_array_equal(source.read(), whole[:, row : row + 43, col : col + 29])


def test_a_cell_is_empty_where_less_than_half_of_it_was_seen(hr, tmp_path):
    item = json.loads(hr.read_text())["acquisitions"][0]
    with rasterio.open(item["path"]) as source:
        values, profile, place = source.read(), source.profile, source.transform
    values = values.clip(1)
    values[:, :, :102] = 0
    with rasterio.open(tmp_path / "hole.tif", "w", **{**profile, "nodata": 0}) as out:
        out.write(values)
    (tmp_path / "scene.json").write_text(
        json.dumps({"version": 1, "name": "hole", "acquisitions": [{**item, "path": "hole.tif"}]})
    )
    assert embed(tmp_path, "--out", tmp_path / "e.tif") == 0
    with rasterio.open(tmp_path / "e.tif") as source:
        found, corner = source.read(), source.transform.c
        assert np.isnan(source.nodata)
    before = round((place.c - corner) / 1.25)  # HR pixels that the first cell begins further west
    seen = np.zeros(found.shape[2] * 4)
    seen[before + 102 : before + 512] = 1
    filled = seen.reshape(-1, 4).mean(1) >= 0.5
    assert 0 < filled.sum() < len(filled)
    middle = found[:, 5:-5]
    assert np.isnan(middle[:, :, ~filled]).all() and np.isfinite(middle[:, :, filled]).all()


def test_stopped_it_goes_on_and_gives_the_same_bytes(sentinel, embedded, tmp_path):
    out = tmp_path / "e.tif"
    out.write_bytes(b"the old one")
    with pytest.raises(Cancelled):
        job("embed", sentinel, out, control=StopsAt("Writing the raster"))
    chunks = list((tmp_path / "e.tif.parts").glob("*.npy"))
    assert out.read_bytes() == b"the old one" and chunks
    times = {path: path.stat().st_mtime_ns for path in chunks}
    with pytest.raises(Cancelled):
        job("embed", sentinel, out, control=StopsAt("Writing the raster"))
    assert {path: path.stat().st_mtime_ns for path in chunks} == times
    assert embed(sentinel, "--out", out) == 0
    assert out.read_bytes() == embedded.read_bytes() and not (tmp_path / "e.tif.parts").exists()


def test_a_second_run_to_the_same_place_is_refused(sentinel, tmp_path):
    out = tmp_path / "e.tif"
    with RunLock(Path(f"{out}.parts"), out, "other weights"):
        with pytest.raises(InputError, match=r"another run \(process .*other weights"):
            job("embed", sentinel, out)
    assert not list(tmp_path.iterdir())


def test_imagery_that_changes_under_way(sentinel, tmp_path):
    class Changes(JobControl):
        def progress(self, fraction, text):
            if text == "Computing features":
                os.utime(changed)

    data = json.loads(sentinel.read_text())
    changed = tmp_path / "changed.tif"
    changed.write_bytes((sentinel.parent / data["acquisitions"][0]["path"]).read_bytes())
    for row in data["acquisitions"]:
        row["path"] = str(sentinel.parent / row["path"])
    data["acquisitions"][0]["path"] = str(changed)
    (tmp_path / "scene.json").write_text(json.dumps(data))
    with pytest.raises(InputError, match=r"changed\.tif: has changed while it was mapped"):
        job("embed", tmp_path / "scene.json", tmp_path / "e.tif", control=Changes(print))
    assert not (tmp_path / "e.tif").exists() and not (tmp_path / "e.tif.parts").exists()


def test_its_recipe_gives_it_again(embedded, tmp_path):
    recipe = json.loads((embedded.parent / "e.tif.recipe.json").read_text())
    recipe["output"] = str(tmp_path / "again.tif")
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    assert main(["run", str(tmp_path / "recipe.json")]) == 0
    assert (tmp_path / "again.tif").read_bytes() == embedded.read_bytes()


def test_another_backbone_gives_other_features_and_is_named(sentinel, embedded, tmp_path, capsys):
    trained = tmp_path / "m.safetensors"
    job("finetune", sentinel, trained)
    capsys.readouterr()
    assert embed(sentinel, "--model", trained, "--out", tmp_path / "e.tif", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["features"] == {"fused": 96} and (told["width"], told["height"], told["gsd"]) == (64, 64, 10)
    # A fine-tuned model is embedded with its backbone, here the built-in one.
    assert (tmp_path / "e.tif").read_bytes() == embedded.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "none.safetensors"], "none.safetensors"),
        (["--area", "0", "0", "1", "1"], "--area-crs"),
        (["--area", "0", "0", "1", "1", "--area-crs", "EPSG:4326"], "outside the imagery"),
        (["--device", "tpu"], "unknown device 'tpu'"),
    ],
)
def test_wrong_input_is_one_sentence(sentinel, tmp_path, capsys, arguments, message):
    assert main(["embed", str(sentinel), "--out", str(tmp_path / "e.tif"), *arguments]) == 2
    told = capsys.readouterr()
    assert told.out == "" and message in told.err and told.err.count("\n") == 1
    assert not (tmp_path / "e.tif").exists()


def test_a_scene_that_is_not_there(tmp_path, capsys):
    assert embed(tmp_path / "none", "--out", tmp_path / "e.tif") == 2
    assert "none" in capsys.readouterr().err
