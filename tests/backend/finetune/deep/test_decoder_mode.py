"""The mode "decoder" from recipe to map: it learns what lies around a pixel, is kept where it helps only, and goes on after a kill."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import deep_scene
import framed_scene
import numpy as np
import pytest
import rasterio
import torch
from deep_scene import train
from framed_scene import EVERY, PLOT, PLOTS, STEPS
from skysense.finetune.deep.decoder import PREFIX
from skysense.finetune.deep.decoder_steps import Material, pixel_losses
from skysense.finetune.deep.pixels import Pixels
from skysense.finetune.features import Block
from skysense.finetune.report import facts
from skysense.jobs.control import JobControl
from skysense.jobs.recipe import parse_recipe
from skysense.jobs.runner import run
from skysense.model.info import describe_model
from skysense.model.modelfile import load_model

HERE = Path(__file__).parent


@pytest.fixture(scope="module", autouse=True)
def short():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    before = deep_scene.shorten(STEPS, EVERY)
    yield
    deep_scene.plan.PLANS.update(before)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    return framed_scene.make_scene(tmp_path_factory.mktemp("frames"))


@pytest.fixture(scope="module")
def decoder(frames, tmp_path_factory):
    out = tmp_path_factory.mktemp("decoder") / "m.safetensors"
    return out, train(frames[0], out, "decoder")


def mapped(scene, model, out):
    data = {"skysense": 1, "task": "predict", "scene": str(scene), "model": str(model), "output": str(out)}
    run(parse_recipe({**data, "options": {"device": "cpu"}}, Path.cwd()), JobControl(lambda e: None))
    with rasterio.open(out) as file:
        return file.read(1)


def losses(out):
    path = out.with_name(out.name + ".losses.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def right(shown, classes, ids):
    """Share of the plots whose middle is shown as what they are."""
    middle = shown[PLOT // 2 :: PLOT, PLOT // 2 :: PLOT]
    assert middle.shape == (PLOTS, PLOTS)
    return float((middle == np.where(classes, ids["framed"], ids["bare"])).mean())


def test_it_sees_what_lies_around_a_pixel_and_the_head_does_not(frames, decoder, tmp_path):
    scene, classes = frames
    out, result = decoder
    alone = train(scene, tmp_path / "head.safetensors", "head")
    ids = {item["name"]: item["id"] for item in result["classes"]}
    assert right(mapped(scene, out, tmp_path / "map.tif"), classes, ids) > 0.95
    # Plots that it has not seen say so beforehand.
    assert result["report"]["oa"] > 0.85 > 0.7 > alone["report"]["oa"]
    assert result["report"]["repeats"] == 1


def test_the_file_holds_head_and_decoder(decoder):
    out, result = decoder
    file = load_model(out)
    entry = file.header["decoder"]
    assert entry["steps"] in range(EVERY, STEPS + 1, EVERY) and entry["gain"] > 0
    assert [item["name"] for item in entry["entries"]] == ["fused", "s2.series"]
    assert {"head.weight", PREFIX + "out.weight", PREFIX + "mean"} <= set(file.tensors)
    assert "adaptation" not in file.header
    assert describe_model(str(out))["decoder"]["steps"] == entry["steps"]
    assert "spatial decoder" in facts(file.header, "labels")["Base model"]
    assert not out.with_name(out.name + ".parts").exists()
    told = [e for e in result["events"] if e["event"] == "metrics"]
    assert told and "held out" in told[0]["terms"]
    done = {}
    for record in losses(out):
        done[record["training"]] = done.get(record["training"], 0) + 1
    assert done.pop("part-1") >= entry["steps"]
    assert done == {"part-2": entry["steps"], "part-3": entry["steps"], "model": entry["steps"]}


def test_where_it_does_not_help_the_model_is_the_heads(frames, tmp_path):
    """The same plots under other classes: there is nothing to learn, and nothing is added."""
    scene, _ = frames
    labels = tmp_path / "labels.gpkg"
    names = np.where(np.random.default_rng(5).permutation(np.arange(PLOTS**2) % 2), "one", "other")
    framed_scene.draw(labels, names.tolist())
    layer = {"path": str(labels), "field": "class"}
    alone = train(scene, tmp_path / "head.safetensors", "head", labels=layer)
    result = train(scene, tmp_path / "m.safetensors", "decoder", labels=layer)
    one, other = load_model(tmp_path / "head.safetensors"), load_model(tmp_path / "m.safetensors")
    assert other.header["decoder"] == {"steps": 0} and other.header["head"] == one.header["head"]
    assert one.tensors.keys() == other.tensors.keys()
    assert all(torch.equal(one.tensors[name], other.tensors[name]) for name in one.tensors)
    assert result["report"] == alone["report"]
    assert any("did not help" in e["text"] for e in result["events"] if e["event"] == "note")
    assert "decoder" not in facts(other.header, "labels")["Base model"]


def test_after_a_kill_it_goes_on_to_the_bit(frames, decoder, tmp_path):
    out, log = tmp_path / "m.safetensors", tmp_path / "m.safetensors.losses.jsonl"
    command = [sys.executable, str(HERE / "framed_scene.py"), str(frames[0]), str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment)
    end = time.monotonic() + 240
    while time.monotonic() < end and process.poll() is None:
        if log.is_file() and len(log.read_text().splitlines()) >= EVERY + 3:
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL and not out.exists()
    done = len(losses(out))
    assert subprocess.run([*command, "resume"], env=environment, timeout=400).returncode == 0
    first, second = losses(decoder[0]), losses(out)
    assert len(second) > done >= EVERY + 3
    assert [(r["loss"], r["terms"]) for r in second] == [(r["loss"], r["terms"]) for r in first]
    one, other = load_model(decoder[0]), load_model(out)
    assert one.tensors.keys() == other.tensors.keys() and one.header["decoder"] == other.header["decoder"]
    assert all(torch.equal(one.tensors[name], other.tensors[name]) for name in one.tensors)


def test_scores_to_learn_from_are_of_heads_that_have_not_seen_the_polygon():
    """Labels at random, one for each polygon: a head that has seen a polygon knows its label, another one guesses."""
    random = np.random.default_rng(0)
    polygons = np.repeat(np.arange(40), 5)
    target = (np.arange(40) % 2)[polygons]
    x = (random.normal(size=(40, 60))[polygons] + 0.01 * random.normal(size=(200, 60))).astype(np.float32)
    nothing = np.zeros(200, np.int64)
    pixels = Pixels((), nothing, nothing, nothing, target, polygons, np.array([1, 2]))
    shapes = framed_scene.middles()[:40]
    blocks = (Block("fused", 60),)
    material = Material(pixels, None, x, blocks, x, (), shapes, 10.0, torch.device("cpu"), 0)
    places = np.flatnonzero(polygons < 30)
    given = material.head_scores(places)
    assert given.shape == (200, 2)
    torch.testing.assert_close(given.exp().sum(1), torch.ones(200), rtol=0, atol=1e-4)
    taught = (given.argmax(1).numpy() == target)[places].mean()
    assert 0.2 < taught < 0.8
    # Of pixels that it does not learn from the head of all places judges: other labels of theirs change nothing.
    flipped = Pixels(
        (), nothing, nothing, nothing, np.where(polygons < 30, target, 1 - target), polygons, pixels.classes
    )
    other = Material(flipped, None, x, blocks, x, (), shapes, 10.0, torch.device("cpu"), 0)
    assert torch.equal(other.head_scores(places), given)


def test_what_is_right_but_too_sure_is_no_worse():
    scores, target = torch.tensor([[2.0, 0.0], [0.0, 2.0], [1.0, 0.0]]), torch.tensor([0, 1, 1])
    calm, loud = (pixel_losses(factor * scores, target).mean() for factor in (5, 20))
    assert float(calm) == pytest.approx(float(loud), rel=1e-2)
