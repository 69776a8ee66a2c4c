"""What is trained, as Processing offers it: plain words, each with its cost, and the recipe that comes of them."""

import json
import subprocess

import pytest
from qgis.core import QgsApplication, QgsProcessingContext, QgsProcessingFeedback
from small_scene import make_labels, make_scene

from skysense_qgis.dock.export import export_labels
from skysense_qgis.processing.finetune import MODES
from skysense_qgis.processing.provider import SkySenseProvider


@pytest.fixture(scope="module")
def algorithm(qgis_app):
    provider = SkySenseProvider()
    QgsApplication.processingRegistry().addProvider(provider)
    yield QgsApplication.processingRegistry().createAlgorithmById("skysense:finetune")
    QgsApplication.processingRegistry().removeProvider(provider)


def test_the_choice_says_what_each_costs_and_the_quick_one_is_the_default(algorithm):
    parameter = algorithm.parameterDefinition("MODE")
    assert parameter.description() == "What is trained" and parameter.defaultValue() == 0
    assert parameter.options() == list(MODES.values()) and list(MODES) == ["head", "decoder", "lora", "full"]
    for words, cost in zip(parameter.options(), ("seconds", "minutes", "minutes", "hours")):
        assert cost in words
        assert not any(jargon in words for jargon in ("LoRA", "transformer", "head", "backbone"))


def test_the_modes_are_those_of_the_recipe(backend_modes):
    assert list(MODES) == backend_modes


@pytest.fixture(scope="module")
def backend_modes(python):
    code = "import json; from skysense.jobs.recipe import MODES; print(json.dumps(list(MODES)))"
    found = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return json.loads(found.stdout)


class StopsWhenAdapting(QgsProcessingFeedback):
    """Cancels as soon as the worker says that it adapts the model."""

    def __init__(self):
        super().__init__(False)
        self.told = []

    def setProgressText(self, text):
        self.told.append(text)
        if text.startswith("Adapting the model"):
            self.cancel()


def test_the_worker_adapts_the_model_and_can_be_stopped_meanwhile(algorithm, python, tmp_path):
    file = make_scene(tmp_path)
    export_labels(make_labels(), tmp_path / "labels.gpkg")
    data = json.loads(file.read_text())
    file.write_text(
        json.dumps({**data, "labels": {"path": "labels.gpkg", "field": "class", "layer": "labels"}})
    )
    output = tmp_path / "m.safetensors"
    parameters = {"SCENE": str(file), "OUTPUT": str(output), "MODE": list(MODES).index("lora")}
    feedback = StopsWhenAdapting()
    _, ok = algorithm.run(parameters, QgsProcessingContext(), feedback, {}, True)
    assert not ok and any(text.startswith("Adapting the model") for text in feedback.told)
    assert not output.exists()
    assert list(output.with_name(output.name + ".parts").glob("*/step-*"))  # to go on from
