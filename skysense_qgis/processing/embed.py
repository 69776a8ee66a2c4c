"""`skysense:embed`: a model's features of a scene as a raster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingOutputNumber,
    QgsProcessingParameterFile,
    QgsProcessingParameterRasterDestination,
)

from .algorithm import SkySenseAlgorithm

MODEL, OUTPUT, FEATURES = "MODEL", "OUTPUT", "FEATURES"

_HELP = """Writes what the base model sees in each pixel as a raster of many bands, without any labels.

Cluster it, find what looks alike in it, or let it tell which places are unlike all that is labelled. Three of its bands as red, \
green and blue show what the model tells apart.

Without a model the built-in one is used. The work runs outside QGIS, in the SkySense environment (Settings, Options, SkySense)."""


class EmbedAlgorithm(SkySenseAlgorithm):
    """Embeds a scene."""

    def name(self) -> str:
        return "embed"

    def displayName(self) -> str:
        return "Embed a scene"

    def shortDescription(self) -> str:
        return "Writes a model's features of HR, Sentinel-2 or Sentinel-1 imagery as a raster."

    def shortHelpString(self) -> str:
        return _HELP

    def tags(self) -> list[str]:
        return ["embedding", "features", "foundation model", "unsupervised", "similarity", "cluster"]

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:
        self.add_scene()
        self.addParameter(
            QgsProcessingParameterFile(
                MODEL,
                "Model (empty = built-in)",
                fileFilter="SkySense models (*.safetensors);;All files (*)",
                optional=True,
            )
        )
        self.add_extent()
        self.add_workers("Processes that make the embedding together")
        self.add_device()
        self.addParameter(QgsProcessingParameterRasterDestination(OUTPUT, "Embedding"))
        self.addOutput(QgsProcessingOutputNumber(FEATURES, "Features of a pixel"))

    def problem(self, parameters: dict[str, Any], context: QgsProcessingContext) -> str:
        problem = super().problem(parameters, context)
        model = self.parameterAsString(parameters, MODEL, context)
        if problem or not model or Path(model).is_file():
            return problem
        return f"The model file {model} does not exist."

    def processAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        output = self.parameterAsOutputLayer(parameters, OUTPUT, context)
        options = self.options(parameters, context)
        recipe = {
            "skysense": 1,
            "task": "embed",
            "scene": self.scene,
            "output": str(Path(output).absolute()),
            "options": options,
        }
        model = self.parameterAsString(parameters, MODEL, context)
        if model:
            recipe["model"] = str(Path(model).absolute())
        result = self.run_recipe(recipe, feedback)
        return {OUTPUT: result["embedding"], FEATURES: sum(result["features"].values())}
