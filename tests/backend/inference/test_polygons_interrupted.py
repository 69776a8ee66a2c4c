"""Classifications of whole polygons that are cut off, shared or changed under way: the layer has the same bytes or is refused."""

import json
import os
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import shapely
from interrupted import kill_when, tiles_done
from scene_files import job, part
from skysense.errors import Cancelled, InputError
from skysense.inference.lock import RunLock
from skysense.raster.layout import plan_layout
from skysense.scene.scenefile import load_scene
from skysense.synthetic.landscape import make_landscape
from stopping import StopsAt

STEP = "Computing features"


@pytest.fixture(scope="module", autouse=True)
def _as_it_is():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SKYSENSE_CACHE_GB", "0")  # with kept features a run is over before it can be killed
        patch.setenv("OGR_CURRENT_DATE", "2026-01-01T00:00:00.000Z")  # a GeoPackage says when it was written
        yield


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    whole = make_landscape(tmp_path_factory.mktemp("whole"), size_m=1_500, n_s2=4, n_s1=2)
    return part(whole, tmp_path_factory.mktemp("s") / "sentinel", lambda row: row["modality"] != "hr")


@pytest.fixture(scope="module")
def models(scene, tmp_path_factory):
    """Two that differ in what they learned from."""
    out = tmp_path_factory.mktemp("model")
    job("finetune", scene, out / "a.safetensors", options={"target": "polygons"})
    job("finetune", scene, out / "b.safetensors", options={"target": "polygons", "fusion_stride": 4})
    return str(out / "a.safetensors"), str(out / "b.safetensors")


def write_parcels(path, scene, size, shift):
    """Squares of `size` metres, one in each of 10 x 10 fields: the large ones overlap, and reach into several tiles."""
    layout = plan_layout(load_scene(scene))
    west, south, east, north = layout.output.bounds
    shapes = [
        shapely.box(x, y, x + size, y + size)
        for x in np.linspace(west, east, 10, endpoint=False) + shift
        for y in np.linspace(south, north, 10, endpoint=False) + shift
    ]
    pyogrio.raw.write(
        path, shapely.to_wkb(np.array(shapes, object)), [np.arange(len(shapes))], ["number"],
        crs=layout.output.crs, geometry_type="Polygon", driver="GPKG",
    )  # fmt: skip
    return str(path)


@pytest.fixture(scope="module")
def parcels(scene, tmp_path_factory):
    return write_parcels(tmp_path_factory.mktemp("p") / "parcels.gpkg", scene, 400, 5)


def classify(scene, model, parcels, out, control=None):
    return job("predict", scene, out, control=control, model=model, options={"polygons": parcels})


@pytest.fixture(scope="module")
def whole(scene, models, parcels, tmp_path_factory):
    """The layer of a run that nothing disturbed, and the number of its tiles."""
    out, control = tmp_path_factory.mktemp("o") / "classes.gpkg", StopsAt(STEP, None)
    classify(scene, models[0], parcels, out, control)
    assert not Path(f"{out}.parts").exists()
    return out, len(control.seen)


@pytest.mark.parametrize("count", [1, 4])
def test_a_killed_run_goes_on_and_gives_the_same_bytes(scene, models, parcels, whole, tmp_path, count):
    out = tmp_path / "classes.gpkg"
    out.write_bytes(b"the old layer")
    kill_when(
        lambda: tiles_done(out) >= count,
        "predict", scene, "--model", models[0], "--polygons", parcels, "--out", out,
    )  # fmt: skip
    done = tiles_done(out)
    assert out.read_bytes() == b"the old layer" and count <= done < whole[1]
    control = StopsAt(STEP, None)
    classify(scene, models[0], parcels, out, control)
    assert len(control.seen) == whole[1] - done  # the others are not computed again
    assert out.read_bytes() == whole[0].read_bytes() and not Path(f"{out}.parts").exists()


def test_a_cancelled_run_goes_on(scene, models, parcels, whole, tmp_path):
    out, found = tmp_path / "classes.gpkg", []
    for _ in range(3):
        with pytest.raises(Cancelled):
            classify(scene, models[0], parcels, out, StopsAt(STEP, 3))
        found.append(tiles_done(out))
    assert 0 < found[0] < found[1] < found[2] and not out.exists()
    classify(scene, models[0], parcels, out)
    assert out.read_bytes() == whole[0].read_bytes()


def test_what_another_model_or_other_polygons_gave_is_not_used(scene, models, parcels, whole, tmp_path):
    out = tmp_path / "classes.gpkg"
    others = write_parcels(tmp_path / "others.gpkg", scene, 400, 15)
    for model, layer in ((models[1], parcels), (models[0], others)):
        with pytest.raises(Cancelled):
            classify(scene, model, layer, out, StopsAt(STEP, 4))
        assert tiles_done(out)
        control = StopsAt(STEP, None)
        classify(scene, models[0], parcels, out, control)
        assert len(control.seen) == whole[1] and out.read_bytes() == whole[0].read_bytes()


def test_fields_that_changed_meanwhile_are_those_of_now(scene, models, parcels, whole, tmp_path):
    """They have no part in what is kept."""
    out, now = tmp_path / "classes.gpkg", tmp_path / "parcels.gpkg"
    with pytest.raises(Cancelled):
        classify(scene, models[0], parcels, out, StopsAt(STEP, 4))
    meta, _, geometry, (numbers,) = pyogrio.raw.read(parcels)
    pyogrio.raw.write(
        now, geometry, [numbers + 7], ["number"], crs=meta["crs"], geometry_type="Polygon", driver="GPKG"
    )
    control = StopsAt(STEP, None)
    classify(scene, models[0], str(now), out, control)
    assert len(control.seen) < whole[1]
    one, two = (pyogrio.raw.read(path)[3] for path in (out, whole[0]))
    assert (one[0] == two[0] + 7).all() and all((a == b).all() for a, b in zip(one[1:], two[1:]))


def test_a_second_run_to_the_same_place_is_refused(scene, models, parcels, tmp_path):
    out = tmp_path / "classes.gpkg"
    with RunLock(Path(f"{out}.parts"), out, "roofs.safetensors"):
        with pytest.raises(InputError, match=r"another run \(process .*roofs"):
            classify(scene, models[0], parcels, out)
    assert not out.exists()


def test_imagery_that_changes_under_way(scene, models, parcels, tmp_path):
    copy = tmp_path / "scene"
    copy.mkdir()
    data = json.loads(scene.read_text())
    for row in data["acquisitions"]:
        moved = copy / Path(row["path"]).name
        moved.write_bytes(Path(row["path"]).read_bytes())
        row["path"] = str(moved)
    (copy / "scene.json").write_text(json.dumps(data))
    changed = Path(data["acquisitions"][0]["path"])

    class Touches(StopsAt):
        def progress(self, fraction, text):
            if text == STEP:
                os.utime(changed)
            super().progress(fraction, text)

    out = tmp_path / "classes.gpkg"
    with pytest.raises(InputError, match=rf"{changed.name}: has changed while it was mapped"):
        classify(copy / "scene.json", models[0], parcels, out, Touches(STEP, None))
    assert not out.exists() and not Path(f"{out}.parts").exists()
