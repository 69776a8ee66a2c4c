"""Searches for objects that are cut off, shared or changed under way: the layer has the same bytes or is refused."""

import os
from pathlib import Path

import numpy as np
import pytest
from interrupted import kill_when, tiles_done
from rectangles import draw, make_scene, on_ground, write_shapes
from skysense.errors import Cancelled, InputError
from skysense.finetune.objects import fit
from skysense.inference.lock import RunLock
from skysense.jobs.control import JobControl
from skysense.jobs.recipe import parse_recipe
from skysense.jobs.runner import run
from skysense.model.modelfile import load_model, save_model
from stopping import StopsAt

STEP = "Looking for objects"


def job(task, scene, output, control=None, **more):
    data = {"skysense": 1, "task": task, "scene": str(scene), "output": str(output), **more}
    data["options"] = {"device": "cpu", **data.get("options", {})}
    return run(parse_recipe(data, scene.parent), control or JobControl(lambda event: None))


@pytest.fixture(scope="module", autouse=True)
def _at_one_time():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OGR_CURRENT_DATE", "2026-01-01T00:00:00.000Z")  # a GeoPackage says when it was written
        yield


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two that have hardly learned and show many peaks; the second one's boxes are larger."""
    folder = tmp_path_factory.mktemp("m")
    boxes = draw(np.random.default_rng(1), 384, 64, ((28, 14),))
    scene = make_scene(folder / "learned", boxes, 384)
    labels = {"path": str(write_shapes(folder / "roofs.gpkg", on_ground(boxes))), "field": "class"}
    one, other = folder / "a.safetensors", folder / "b.safetensors"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "_STEPS", 2)
        patch.setattr(fit, "_ROUNDS", 1)
        job("finetune", scene, one, labels=labels, options={"target": "objects"})
    trained = load_model(one)
    trained.header["head"]["threshold"] = 0.0103  # heat maps begin at 1 %
    save_model(one, trained.header, trained.tensors)
    trained.header["head"]["usual"] *= 1.5
    save_model(other, trained.header, trained.tensors)
    return str(one), str(other)


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    boxes = draw(np.random.default_rng(2), 1_900, 64, ((28, 14),))
    return make_scene(tmp_path_factory.mktemp("s") / "other", boxes, 1_900, seed=5)


@pytest.fixture(scope="module")
def whole(scene, models, tmp_path_factory):
    """The layer of a run that nothing disturbed, and the number of its tiles."""
    out, control = tmp_path_factory.mktemp("o") / "found.gpkg", StopsAt(STEP, None)
    assert job("predict", scene, out, control, model=models[0])["count"] > 100
    assert not Path(f"{out}.parts").exists() and len(control.seen) > 8
    return out, len(control.seen)


@pytest.mark.parametrize("count", [1, 4])
def test_a_killed_run_goes_on_and_gives_the_same_bytes(scene, models, whole, tmp_path, count):
    out = tmp_path / "found.gpkg"
    out.write_bytes(b"the old layer")
    kill_when(
        lambda: tiles_done(out) >= count,
        "predict", scene, "--model", models[0], "--out", out,
    )  # fmt: skip
    done = tiles_done(out)
    assert out.read_bytes() == b"the old layer" and count <= done < whole[1]
    control = StopsAt(STEP, None)
    job("predict", scene, out, control, model=models[0])
    assert len(control.seen) == whole[1] - done  # the others are not looked at again
    assert out.read_bytes() == whole[0].read_bytes() and not Path(f"{out}.parts").exists()


def test_a_cancelled_run_goes_on(scene, models, whole, tmp_path):
    out, found = tmp_path / "found.gpkg", []
    for _ in range(3):
        with pytest.raises(Cancelled):
            job("predict", scene, out, StopsAt(STEP, 3), model=models[0])
        found.append(tiles_done(out))
    assert 0 < found[0] < found[1] < found[2] and not out.exists()
    job("predict", scene, out, model=models[0])
    assert out.read_bytes() == whole[0].read_bytes()


def test_what_another_model_found_is_not_used(scene, models, whole, tmp_path):
    out = tmp_path / "found.gpkg"
    with pytest.raises(Cancelled):
        job("predict", scene, out, StopsAt(STEP, 4), model=models[1])
    assert tiles_done(out)
    control = StopsAt(STEP, None)
    job("predict", scene, out, control, model=models[0])
    assert len(control.seen) == whole[1] and out.read_bytes() == whole[0].read_bytes()
    job("predict", scene, tmp_path / "other.gpkg", model=models[1])
    assert (tmp_path / "other.gpkg").read_bytes() != whole[0].read_bytes()


def test_a_second_run_to_the_same_place_is_refused(scene, models, tmp_path):
    out = tmp_path / "found.gpkg"
    with RunLock(Path(f"{out}.parts"), out, "roofs.safetensors"):
        with pytest.raises(InputError, match=r"another run \(process .*roofs"):
            job("predict", scene, out, model=models[0])
    assert not out.exists()


def test_imagery_that_changes_under_way(models, tmp_path):
    boxes = draw(np.random.default_rng(3), 256, 64, ((28, 14),))
    scene = make_scene(tmp_path / "s", boxes, 256)

    class Touches(StopsAt):
        def progress(self, fraction, text):
            if text == STEP:
                os.utime(tmp_path / "s" / "hr.tif")
            super().progress(fraction, text)

    out = tmp_path / "found.gpkg"
    with pytest.raises(InputError, match=r"hr\.tif: has changed while it was mapped"):
        job("predict", scene, out, Touches(STEP, None), model=models[0])
    assert not out.exists() and not Path(f"{out}.parts").exists()
