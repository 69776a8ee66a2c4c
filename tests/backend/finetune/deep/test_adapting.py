"""Trainings by gradient from recipe to map: what the file holds, what the report may say, and going on after a kill."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import deep_scene
import numpy as np
import pyogrio
import pytest
import rasterio
import torch
from deep_scene import EVERY, STEPS, train
from skysense.errors import Cancelled, InputError
from skysense.finetune.deep.weights import adapted
from skysense.jobs.control import JobControl
from skysense.jobs.recipe import parse_recipe
from skysense.jobs.runner import run
from skysense.model.backbone import default_backbone
from skysense.model.info import describe_model
from skysense.model.modelfile import load_model
from skysense.model.presets import state_sha256
from skysense.synthetic.landscape import make_landscape

HERE = Path(__file__).parent


@pytest.fixture(scope="module", autouse=True)
def short():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    before = deep_scene.shorten()
    yield
    deep_scene.plan.PLANS.update(before)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """Sentinel-2 only, three dates."""
    whole = make_landscape(tmp_path_factory.mktemp("scene"), size_m=480, n_s2=3, n_s1=0)
    data = json.loads(whole.read_text())
    data["acquisitions"] = [row for row in data["acquisitions"] if row["modality"] == "s2"]
    whole.write_text(json.dumps(data))
    return whole


@pytest.fixture(scope="module")
def lora(scene, tmp_path_factory):
    out = tmp_path_factory.mktemp("lora") / "m.safetensors"
    return out, train(scene, out)


def losses(out):
    path = out.with_name(out.name + ".losses.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def mapped(scene, model, out, **options):
    data = {"skysense": 1, "task": "predict", "scene": str(scene), "model": str(model), "output": str(out)}
    run(
        parse_recipe({**data, "options": {"device": "cpu", **options}}, Path.cwd()),
        JobControl(lambda e: None),
    )
    with rasterio.open(out) as file:
        return file.read(1)


def test_the_file_holds_what_was_trained_and_names_its_backbone(lora):
    out, result = lora
    file = load_model(out)
    base = default_backbone(torch.device("cpu"))
    assert file.header["backbone"]["sha256"] == base.sha256
    assert file.header["adaptation"]["mode"] == "lora" and file.header["adaptation"]["rank"] == 8
    names = [name for name in file.tensors if name.startswith("lora.")]
    assert "lora.fusion.layers.0.attn.attn.in_proj_weight.up" in names
    assert not any(name.startswith(("full.", "backbone.")) for name in file.tensors)
    assert out.stat().st_size < 4e6
    assert not out.with_name(out.name + ".parts").exists()
    assert describe_model(str(out))["adaptation"]["mode"] == "lora"
    assert (
        result["report"]["scored_on"] == "pixels of polygons held out in turn"
        and result["report"]["repeats"] == 1
    )


def test_every_part_is_trained_for_as_many_steps_as_the_first_one_found(lora):
    out, result = lora
    steps = load_model(out).header["adaptation"]["steps"]
    done = {}
    for record in losses(out):
        done[record["training"]] = done.get(record["training"], 0) + 1
    assert steps in range(0, STEPS + 1, EVERY) and done.pop("part-1") >= steps
    expected = {"part-2": steps, "part-3": steps, "model": steps} if steps else {}
    assert done == expected
    assert [r["step"] for r in losses(out)] == list(range(1, len(losses(out)) + 1))
    told = [e for e in result["events"] if e["event"] == "metrics"]
    assert told and "held out" in told[0]["terms"] and told[0]["samples_per_s"] > 0


def test_the_shared_backbone_is_never_changed(lora, scene, tmp_path):
    base = default_backbone(torch.device("cpu"))
    digest = state_sha256(base.model)
    train(scene, tmp_path / "f.safetensors", "full")
    mapped(scene, lora[0], tmp_path / "m.tif")
    assert state_sha256(base.model) == digest and default_backbone(torch.device("cpu")) is base


def test_a_map_is_made_with_the_adapted_backbone_and_standalone_gives_the_same(lora, scene, tmp_path):
    out, _ = lora
    alone = tmp_path / "alone.safetensors"
    train(scene, alone, standalone=True)
    header = load_model(alone).header
    assert header["backbone"]["embedded"] and header["adaptation"]["mode"] == "lora"
    assert not any(name.startswith("lora.") for name in load_model(alone).tensors)
    first, second = (mapped(scene, model, tmp_path / f"{model.stem}.tif") for model in (out, alone))
    assert first.any() and np.array_equal(first, second)


def two_polygons(scene, folder):
    """One polygon of each of two classes: nothing can be held out, and a fixed number of steps is trained."""
    data = json.loads(scene.read_text())
    labels = scene.parent / data["labels"]["path"]
    meta, _, geometry, fields = pyogrio.raw.read(labels)
    names = fields[meta["fields"].tolist().index(data["labels"]["field"])]
    few = [np.flatnonzero(names == name)[0] for name in np.unique(names)[:2]]
    pyogrio.raw.write(
        folder / "few.gpkg",
        geometry[few],
        [values[few] for values in fields],
        meta["fields"],
        crs=meta["crs"],
        geometry_type=meta["geometry_type"],
    )
    return {"path": str(folder / "few.gpkg"), "field": data["labels"]["field"]}


def test_full_keeps_the_whole_of_the_encoders_that_it_trained(scene, tmp_path):
    out = tmp_path / "m.safetensors"
    train(scene, out, "full", labels=two_polygons(scene, tmp_path))
    file = load_model(out)
    assert file.header["adaptation"] == {"mode": "full", "steps": 3}
    changed = {name.split(".")[1] for name in file.tensors if name.startswith("full.")}
    assert changed == {"backbone_s2", "head_s2", "fusion", "ctpe"}
    state = default_backbone(torch.device("cpu")).model.state_dict()
    moved = [
        (file.tensors[f"full.{name}"] - state[name]).abs().max()
        for name in ("fusion.layers.1.ffn.layers.1.weight", "backbone_s2.layers.0.attn.attn.out_proj.weight")
    ]
    assert moved[0] > 0 and moved[1] > 0
    assert mapped(scene, out, tmp_path / "m.tif").any()


def test_after_a_kill_the_losses_are_those_of_an_undisturbed_training_to_the_bit(lora, scene, tmp_path):
    out, log = tmp_path / "m.safetensors", tmp_path / "m.safetensors.losses.jsonl"
    command = [sys.executable, str(HERE / "deep_scene.py"), str(scene), str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment)
    end = time.monotonic() + 240
    while time.monotonic() < end and process.poll() is None:
        if log.is_file() and len(log.read_text().splitlines()) >= EVERY + 1:
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL and not out.exists()
    done = len(losses(out))
    assert done >= EVERY + 1
    assert subprocess.run([*command, "resume"], env=environment, timeout=400).returncode == 0
    first, second = losses(lora[0]), losses(out)
    assert len(second) > done and [r["loss"] for r in second] == [r["loss"] for r in first]
    assert [r["terms"] for r in second] == [r["terms"] for r in first]
    one, other = load_model(lora[0]).tensors, load_model(out).tensors
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_cancel_keeps_a_state_that_another_seed_does_not_take_up(scene, tmp_path):
    out = tmp_path / "m.safetensors"
    stop: list[JobControl] = []

    def emit(event):
        if event["event"] == "metrics":
            stop[0].cancel()

    stop.append(JobControl(emit))
    with pytest.raises(Cancelled):
        train(scene, out, control=stop[0])
    parts = out.with_name(out.name + ".parts")
    assert not out.exists() and list(parts.glob("part-1/step-*"))
    begun = losses(out)
    stop[0] = JobControl(emit)
    with pytest.raises(Cancelled):
        train(scene, out, control=stop[0], seed=1, resume=True)
    other = losses(out)
    assert other[0]["step"] == 1 and other[0]["loss"] != begun[0]["loss"]


def test_without_polygons_to_hold_out_a_fixed_number_of_steps_is_trained(scene, tmp_path):
    drawn = two_polygons(scene, tmp_path)
    result = train(scene, tmp_path / "m.safetensors", labels=drawn)
    assert [r["training"] for r in losses(tmp_path / "m.safetensors")] == ["model"] * 3
    assert result["report"]["oa"] is None
    assert load_model(tmp_path / "m.safetensors").header["adaptation"]["steps"] == 3


def test_a_mode_that_is_none_is_refused():
    with pytest.raises(InputError, match=r"mode is 'deep'.*head, decoder, lora, full"):
        parse_recipe(
            {"skysense": 1, "task": "finetune", "scene": "s", "output": "o", "options": {"mode": "deep"}},
            Path(),
        )


def test_a_model_file_whose_training_took_no_step_has_the_backbone_as_it_is():
    base = default_backbone(torch.device("cpu"))
    header = {"adaptation": {"mode": "lora", "rank": 8, "alpha": 16, "steps": 0}, "backbone": {}}
    assert adapted(base, header, {}, "m.safetensors") is base
