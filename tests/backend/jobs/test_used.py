"""Options that a task does not use are named in one note; what cannot be meant is refused."""

import json
from dataclasses import fields

import pytest
import torch
from safetensors.torch import save_file
from skysense.cli import EXIT_INPUT, main
from skysense.errors import InputError
from skysense.jobs.control import JobControl
from skysense.jobs.recipe import TARGETS, Options, parse_recipe
from skysense.jobs.runner import run
from skysense.jobs.used import USED, unused
from skysense.model.modelfile import KEY

AREA = {"area": [0, 0, 9, 9], "area_crs": "EPSG:32631"}
#: What the dock says with every mapping.
VIEW = {"area_crs": "EPSG:32631", "start": [4, 5]}
#: What every algorithm of Processing and every command offers.
RUNNING = {"device": "cpu", "precision": "bfloat16", "dates": "even:6", "verify": True, "resume": True}
#: What the dock or Processing asks a job for; the target is that of a training, or of the model that maps.
ORDINARY = [
    ("finetune", "classes", {"report": "r", "colors": {"a": "#112233"}, "ids": {"a": 1}, "dates": "even:6"}),
    ("finetune", "classes", {"judged": False, "colors": {"a": "#112233"}, "ids": {"a": 1}}),
    ("finetune", "classes", {"mode": "lora", "seed": 1, "resume": True, "standalone": True}),
    ("finetune", "values", {"target": "values", "report": "r"}),
    ("finetune", "values", {"target": "values", "judged": False, "seed": 1}),
    ("finetune", "polygons", {"target": "polygons", "report": "r", "colors": {"a": "#112233"}, "ids": {"a": 1}}),
    ("finetune", "changes", {"target": "changes", "split": "2020-01-01", "seed": 1, "colors": {"a": "#112233"}}),
    ("finetune", "objects", {"target": "objects", "seed": 1, "colors": {"a": "#112233"}}),
    ("predict", "classes", {**VIEW, **AREA, "dates": "clearest:3", "resume": True}),
    ("predict", "classes", {**VIEW, "within": "w.gpkg", "within_layer": "labels"}),
    ("predict", "classes", {**AREA, "workers": 2, "fusion_stride": 2, "products": ["entropy"], "blend": True}),
    ("predict", "classes", {"scheduler": "tcp://h:1", "memory_gb": 4}),
    ("predict", "values", {**VIEW, **AREA, "blend": True, "workers": 2, "fusion_stride": 2}),
    ("predict", "changes", {**VIEW, **AREA, "split": "2020-01-01", "products": ["probabilities"]}),
    ("predict", "polygons", {**VIEW, "polygons": "p.gpkg", "polygons_layer": "labels", "resume": True}),
    ("predict", "objects", {**VIEW, **AREA, "resume": True}),
    ("embed", "", {**AREA, "workers": 2, "fusion_stride": 2, "memory_gb": 4, "components": 3}),
    ("change", "", {**AREA, "workers": 2, "fusion_stride": 2, "split": "2020-01-01", "memory_gb": 4}),
]  # fmt: skip
#: A task, what its labels or its model teach, options, and the note.
NOTED = [
    ("embed", "", {"within": "aoi.gpkg", "blend": True}, "Embedding does not use: within, blend."),
    ("embed", "", {"split": "2020-01-01", **AREA}, "Embedding does not use: split."),
    (
        "change",
        "",
        {"split": "2020-01-01", "within": "aoi.gpkg", "blend": True, "start": [1, 2]},
        "Comparing two periods does not use: within, blend, start.",
    ),
    (
        "finetune",
        "classes",
        {**AREA, "within": "aoi.gpkg", "products": ["entropy"], "polygons": "p.gpkg", "workers": 2},
        "Training for classes does not use: area, area_crs, polygons, products, within, workers.",
    ),
    (
        "finetune",
        "polygons",
        {"target": "polygons", "judged": False},
        "Training for whole polygons does not use: judged.",
    ),
    (
        "finetune",
        "objects",
        {"target": "objects", "fusion_stride": 4},
        "Training for objects does not use: fusion_stride.",
    ),
    ("predict", "classes", {"seed": 7, "report": "r"}, "Mapping classes does not use: seed, report."),
    ("predict", "objects", {"fusion_stride": 2}, "Finding objects does not use: fusion_stride."),
]
#: Where the runner finds what does a job.
DONE_BY = {
    ("embed", ""): "inference.embed.embed",
    ("change", ""): "inference.change.find_changes",
    ("finetune", "classes"): "finetune.train.finetune",
    ("finetune", "polygons"): "finetune.train_polygons.finetune_polygons",
    ("finetune", "objects"): "finetune.train_objects.finetune_objects",
    ("predict", "classes"): "inference.predict.predict",
    ("predict", "objects"): "inference.predict_objects.predict_objects",
}


def recipe(folder, task, target="", **more):
    """A recipe; a mapping's model was trained for `target`."""
    data = {"skysense": 1, "task": task, "scene": "scene", "output": "out.tif", **more}
    if task == "predict":
        header = {KEY: json.dumps({"format": 1, "target": target})}
        save_file({"x": torch.zeros(1)}, folder / "m.safetensors", header)
        data["model"] = "m.safetensors"
    return parse_recipe(data, folder)


def test_every_option_is_of_some_task():
    known = set().union(*(options for _, options in USED.values()))
    assert known == {item.name for item in fields(Options)}


def test_every_job_is_known_and_says_nothing_of_defaults():
    alone = {("embed", ""), ("change", ""), ("pretrain", "")}
    assert set(USED) == alone | {(task, target) for task in ("finetune", "predict") for target in TARGETS}
    assert all(unused(task, target, Options()) is None for task, target in USED)


@pytest.mark.parametrize(("task", "target", "options"), ORDINARY)
def test_what_the_dock_and_processing_ask_for_is_used(task, target, options, tmp_path):
    found = recipe(tmp_path, task, target, options={**RUNNING, **options}).options
    assert unused(task, target, found) is None


@pytest.mark.parametrize(("task", "target", "options", "note"), NOTED)
def test_what_is_not_used_is_told_once(task, target, options, note, tmp_path, monkeypatch):
    ran, events = [], []
    monkeypatch.setattr(f"skysense.{DONE_BY[task, target]}", lambda job, control: ran.append(job) or {})
    job = recipe(tmp_path, task, target, options=options)
    assert run(job, JobControl(events.append)) == {} and ran == [job]
    assert events == [{"event": "note", "text": note}]


@pytest.mark.parametrize("task", ["predict", "embed", "change"])
def test_workers_of_two_kinds_are_refused(task, tmp_path):
    options = {"workers": 2, "scheduler": "tcp://h:1", "split": "2020-01-01"}
    with pytest.raises(InputError, match=r"^recipe: .*a scheduler has its own. Leave one of them out.$"):
        run(recipe(tmp_path, task, "changes", options=options), JobControl(print))


@pytest.mark.parametrize("target", [target for target in TARGETS if target != "objects"])
def test_areas_are_for_objects_only(target, tmp_path, capsys):
    labels = ["--labels", "l.gpkg", "--field", "c", "--areas", "a.gpkg"]
    split = ["--split", "2020-01-01"] if target == "changes" else []
    asked = [str(tmp_path), *labels, *split, "--target", target, "--out", str(tmp_path / "m.safetensors")]
    assert main(["finetune", *asked]) == EXIT_INPUT
    assert capsys.readouterr().err == (
        "recipe: areas in which all objects are drawn are given, but the labels do not teach objects. "
        "Use the target objects, or leave the areas out.\n"
    )


def test_objects_are_learned_with_areas(tmp_path, monkeypatch):
    events = []
    monkeypatch.setattr("skysense.finetune.train_objects.finetune_objects", lambda job, control: {"ran": job})
    labels = {"path": "l.gpkg", "field": "c", "areas": "a.gpkg"}
    job = recipe(tmp_path, "finetune", labels=labels, options={"target": "objects"})
    assert run(job, JobControl(events.append)) == {"ran": job} and events == []
