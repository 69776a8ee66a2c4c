"""`skysense:finetune` remembers class ids as the panel does: of layers of the project, field by field."""

import json
from pathlib import Path

import pytest
from qgis.core import QgsProject
from running import run
from small_scene import make_labels, make_scene

from skysense_qgis.dock.class_ids import known_ids
from skysense_qgis.dock.project import SCOPE


@pytest.fixture
def train(provider, python, tmp_path):
    """train(layer, name): the options of the recipe beside the model."""
    scene = str(make_scene(tmp_path))

    def train(layer, name: str) -> dict:
        output = tmp_path / f"{name}.safetensors"
        run("finetune", {"SCENE": scene, "LABELS": layer, "FIELD": "class", "OUTPUT": str(output)})
        return json.loads(Path(f"{output}.recipe.json").read_text(encoding="utf-8"))["options"]

    return train


def rename(layer, names: list) -> None:
    """Give the features other classes, in an edit that is not saved."""
    field = layer.fields().lookupField("class")
    for feature, name in zip(list(layer.getFeatures()), names):
        layer.changeAttributeValue(feature.id(), field, name)


def test_classes_keep_their_ids_in_the_next_training(train):
    labels = make_labels()
    QgsProject.instance().addMapLayer(labels)
    assert "ids" not in train(labels.id(), "first")
    assert known_ids(labels, "class") == {"maize": 1, "wheat": 2}
    rename(labels, ["bare", "bare"])  # by name alone it would come first
    assert train(labels.id(), "second")["ids"] == {"maize": 1, "wheat": 2}
    assert known_ids(labels, "class") == {"maize": 1, "wheat": 2, "bare": 3}


def test_a_layer_of_no_project_is_not_remembered(train):
    labels = make_labels()
    assert "ids" not in train(labels, "only") and known_ids(labels, "class") == {}
    assert QgsProject.instance().readEntry(SCOPE, "/class_ids", "nothing")[0] == "nothing"
