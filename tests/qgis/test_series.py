"""The dates of a series as Processing offers them, and the recipe that comes of them."""

import json

import pytest
from qgis.core import QgsApplication, QgsProcessingContext, QgsProcessingFeedback
from small_scene import DATES, make_labels, make_scene

from skysense_qgis.dock.export import export_labels
from skysense_qgis.processing.series import RULES


@pytest.mark.parametrize("name", ["finetune", "predict", "embed", "change"])
def test_every_algorithm_on_series_offers_the_choice_under_advanced(provider, name):
    algorithm = QgsApplication.processingRegistry().createAlgorithmById(f"skysense:{name}")
    rule, count = algorithm.parameterDefinition("SERIES"), algorithm.parameterDefinition("SERIES_COUNT")
    assert rule.options() == list(RULES.values()) and rule.defaultValue() == 0
    assert count.defaultValue() == 6 and count.minimum() == 1
    assert rule.flags() & rule.FlagAdvanced and count.flags() & count.FlagAdvanced
    context = QgsProcessingContext()
    assert algorithm.options({}, context) == {}
    assert algorithm.options({"SERIES": 1, "SERIES_COUNT": 4}, context) == {"dates": "even:4"}
    assert algorithm.options({"SERIES": 2}, context) == {"dates": "clearest:6"}


def test_the_worker_uses_the_dates_that_are_asked_for(provider, python, tmp_path):
    file = make_scene(tmp_path)
    export_labels(make_labels(), tmp_path / "labels.gpkg")
    data = json.loads(file.read_text())
    labels = {"path": "labels.gpkg", "field": "class", "layer": "labels"}
    file.write_text(json.dumps({**data, "labels": labels}))
    output = tmp_path / "m.safetensors"
    told = []

    class Feedback(QgsProcessingFeedback):
        def pushInfo(self, info):
            told.append(info)

        def pushWarning(self, warning):
            told.append(warning)

    algorithm = QgsApplication.processingRegistry().createAlgorithmById("skysense:finetune")
    parameters = {"SCENE": str(file), "OUTPUT": str(output), "SERIES": 1, "SERIES_COUNT": 1}
    _, ok = algorithm.run(parameters, QgsProcessingContext(), Feedback(False), {}, True)
    assert ok and output.is_file()
    recipe = json.loads(output.with_name(output.name + ".recipe.json").read_text())
    assert recipe["options"]["dates"] == "even:1"
    assert any(f"1 of {len(DATES)} dates are used" in text for text in told), told
