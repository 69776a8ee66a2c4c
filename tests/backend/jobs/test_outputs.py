"""A result never takes the place of what it is made from."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from skysense.errors import InputError
from skysense.jobs.control import JobControl
from skysense.jobs.outputs import check_output
from skysense.jobs.recipe import parse_recipe
from skysense.jobs.runner import run
from skysense.model.modelfile import KEY


def recipe(folder: Path, task: str, output: str, **more):
    data = {"skysense": 1, "task": task, "scene": "scene", "output": output, **more}
    return parse_recipe(data, folder)


def model(path: Path, header: dict) -> None:
    save_file({"x": torch.zeros(1)}, path, {KEY: json.dumps(header)})


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "scene").mkdir()
    for name in ("img.tif", "mask.tif", "labels.gpkg"):
        (tmp_path / "scene" / name).write_bytes(b"x")
    (tmp_path / "aoi.gpkg").write_bytes(b"x")
    scene = {
        "version": 1,
        "acquisitions": [{"modality": "hr", "path": "img.tif", "mask": "mask.tif"}, "not a row"],
        "labels": {"path": "labels.gpkg", "field": "class"},
    }
    (tmp_path / "scene" / "scene.json").write_text(json.dumps(scene))
    return tmp_path


@pytest.mark.parametrize(
    ("task", "output", "more", "name"),
    [
        ("predict", "scene/img.tif", {}, "an image"),
        ("embed", "scene/mask.tif", {}, "the mask of an image"),
        ("predict", "scene/scene.json", {}, "the scene file"),
        ("finetune", "scene/labels.gpkg", {}, "the labels"),
        ("finetune", "aoi.gpkg", {"labels": {"path": "aoi.gpkg", "field": "c"}}, "the labels"),
        ("predict", "aoi.gpkg", {"options": {"within": "aoi.gpkg"}}, "the area to map"),
        ("predict", "aoi.gpkg", {"options": {"polygons": "aoi.gpkg"}}, "the layer of polygons"),
        ("predict", "scene/../aoi.gpkg", {"model": "aoi.gpkg"}, "the model"),
    ],
)
def test_an_output_that_is_an_input_is_refused(folder, task, output, more, name):
    with pytest.raises(InputError, match=f"is also {name} of this job"):
        check_output(recipe(folder, task, output, **more))


def test_the_runner_asks_before_anything_is_done(folder):
    with pytest.raises(InputError, match=r"img.tif: is also an image of this job.*Choose another name"):
        run(recipe(folder, "predict", "scene/img.tif", model="scene/none"), JobControl(lambda event: None))
    assert (folder / "scene" / "img.tif").read_bytes() == b"x"


def test_other_outputs_are_not_looked_at(folder):
    check_output(recipe(folder, "predict", "map.tif"))
    check_output(recipe(folder, "predict", "aoi.gpkg", model="gone.safetensors"))
    (folder / "scene" / "scene.json").write_text("no JSON")
    check_output(recipe(folder, "predict", "scene/img.tif"))
    (folder / "scene" / "scene.json").unlink()
    check_output(recipe(folder, "predict", "scene/img.tif"))


def test_a_model_is_trained_further_in_its_place_unless_it_holds_a_backbone(folder):
    again = recipe(folder, "finetune", "m.safetensors", model="m.safetensors")
    model(folder / "m.safetensors", {"format": 1, "backbone": {"preset": "tiny"}, "head": {}})
    check_output(again)
    for header in (
        {"format": 1, "kind": "backbone"},
        {"format": 1, "backbone": {"preset": "tiny", "embedded": True}},
    ):
        model(folder / "m.safetensors", header)
        with pytest.raises(InputError, match="is also the model of this job"):
            check_output(again)
