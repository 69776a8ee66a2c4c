"""`skysense:change`: where a scene changed between two periods, without labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingParameterFile,
    QgsProcessingParameterRasterDestination,
    QgsProcessingParameterString,
)

from .algorithm import SkySenseAlgorithm
from .inputs import read_split
from .styling import style_when_loaded

SPLIT, MODEL, OUTPUT = "SPLIT", "MODEL", "OUTPUT"

_HELP = """Shows where imagery of two periods differs, without any labels.

Give images of both periods: those before the day that you name are the first one, those from it on the second. Both need images of \
every sensor, best of the same seasons: they are compared by day of the year.

Each pixel's value is the share of the area's pixels that changed less, in %: 100 are those that changed most, whether or not \
anything happened. 0 is where one of the periods has not seen the ground. To tell kinds of change apart, or change from none, draw \
polygons and train a model of changes (“Train a model on polygons”).

The work runs outside QGIS, in the SkySense environment (Settings, Options, SkySense)."""


class ChangeAlgorithm(SkySenseAlgorithm):
    """Compares two periods of a scene."""

    def name(self) -> str:
        return "change"

    def displayName(self) -> str:
        return "Find changes"

    def shortDescription(self) -> str:
        return "Shows where HR, Sentinel-2 or Sentinel-1 imagery of two periods differs."

    def shortHelpString(self) -> str:
        return _HELP

    def tags(self) -> list[str]:
        return ["change", "change detection", "difference", "two dates", "unsupervised", "embedding"]

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:
        self.add_scene()
        self.addParameter(QgsProcessingParameterString(SPLIT, "First day of the second period (YYYY-MM-DD)"))
        self.add_extent()
        self.add_advanced(
            QgsProcessingParameterFile(
                MODEL,
                "Base model (empty = the built-in one)",
                optional=True,
                fileFilter="SkySense base models (*.safetensors);;All files (*)",
            )
        )
        self.add_workers("Processes that compare together")
        self.add_device()
        self.addParameter(QgsProcessingParameterRasterDestination(OUTPUT, "Change"))

    def problem(self, parameters: dict[str, Any], context: QgsProcessingContext) -> str:
        problem = super().problem(parameters, context)
        if problem:
            return problem
        model = self.parameterAsString(parameters, MODEL, context)
        if model and not Path(model).is_file():
            return f"The base model {model} does not exist."
        if not read_split(self.parameterAsString(parameters, SPLIT, context)):
            return "Give the first day of the second period, as YYYY-MM-DD."
        return ""

    def processAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        output = self.parameterAsOutputLayer(parameters, OUTPUT, context)
        options = self.options(parameters, context)
        options["split"] = read_split(self.parameterAsString(parameters, SPLIT, context))
        recipe = {
            "skysense": 1,
            "task": "change",
            "scene": self.scene,
            "output": str(Path(output).absolute()),
            "options": options,
        }
        model = self.parameterAsString(parameters, MODEL, context)
        if model:
            recipe["model"] = str(Path(model).absolute())
        result = self.run_recipe(recipe, feedback)
        if context.willLoadLayerOnCompletion(output):
            style_when_loaded(context, output, "confidence")
        return {OUTPUT: result["change"]}
