"""What a model file tells the panel, and the panel's words for every target of the recipe."""

import json
import os
import subprocess

import pytest

from skysense_qgis.dock.target import TARGETS
from skysense_qgis.models.header import read_moment, read_target
from skysense_qgis.paths import built_in_model


def write(path, header, key="skysense"):
    text = json.dumps({"__metadata__": {key: json.dumps(header)}}).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    return str(path)


def test_a_model_file_tells_its_target_and_an_old_one_maps_classes(tmp_path):
    path = tmp_path / "m.safetensors"
    assert read_target(write(path, {"format": 1, "target": "polygons"})) == "polygons"
    assert read_target(write(path, {"format": 1})) == "classes"  # written again: read again
    assert read_target(write(path, {"format": 1, "target": "objects"})) == "objects"
    os.unlink(path)
    assert read_target(str(path)) == ""


def test_a_model_of_one_day_tells_its_sensors(tmp_path):
    path = tmp_path / "m.safetensors"
    inputs = {"modalities": ["s2", "s1"], "moment": True}
    assert read_moment(write(path, {"format": 1, "inputs": inputs})) == {"s2", "s1"}
    for other in ({**inputs, "moment": False}, {"modalities": ["s2"]}, ["moment"], None):
        assert read_moment(write(path, {"format": 1, "inputs": other})) == frozenset()
    assert read_moment(write(path, {"format": 1})) == frozenset()
    assert read_moment(str(tmp_path)) == read_moment("") == frozenset()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"short",
        b"\xff" * 40,
        (2).to_bytes(8, "little") + b"{}",
        (9).to_bytes(8, "little") + b"no JSON!!",
    ],
)
def test_what_is_no_model_tells_nothing(tmp_path, content):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    assert read_target(str(path)) == ""
    assert read_target(str(tmp_path)) == read_target("") == ""
    assert read_target(write(path, ["no", "object"])) == ""
    assert read_target(write(path, {"format": 1}, "of another program")) == ""
    assert read_target(built_in_model()) == ""  # is trained on, and does not map


def test_every_target_of_the_recipe_has_its_words(python):
    code = "import json; from skysense.jobs.recipe import TARGETS; print(json.dumps(list(TARGETS)))"
    found = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert set(TARGETS) == {"", *json.loads(found.stdout)}
    buttons = [target.button for target in TARGETS.values()]
    assert len(set(buttons)) == len(buttons)
