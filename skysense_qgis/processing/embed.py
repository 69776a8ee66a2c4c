"""`skysense:embed`: a model's features of a scene as a raster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingOutputNumber,
    QgsProcessingOutputRasterLayer,
    QgsProcessingParameterFile,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterDestination,
)

from .algorithm import SkySenseAlgorithm
from .styling import style_when_loaded

MODEL, OUTPUT, FEATURES, COMPONENTS = "MODEL", "OUTPUT", "FEATURES", "COMPONENTS"
#: Rasters of principal components: what the worker calls them, their outputs' names, and titles.
_BESIDE = {"pca": ("PCA", "Principal components"), "pca_rgb": ("PICTURE", "Picture of the embedding")}

_HELP = """Writes what the base model sees in each pixel as a raster of many bands, without any labels.

Cluster it, find what looks alike in it, or let it tell which places are unlike all that is labelled. Its \
first three principal components as red, green and blue show what the model tells apart (…_pca_rgb.tif); some more of them hold most \
of it in fewer bands to work with (…_pca.tif).

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
        self.add_advanced(
            QgsProcessingParameterNumber(
                COMPONENTS,
                "Principal components (3 for a picture)",
                defaultValue=0,
                minValue=0,
                maxValue=64,
            )
        )
        self.add_workers("Processes that make the embedding together")
        self.add_device()
        self.addParameter(QgsProcessingParameterRasterDestination(OUTPUT, "Embedding"))
        self.addOutput(QgsProcessingOutputNumber(FEATURES, "Features of a pixel"))
        for name, title in _BESIDE.values():
            self.addOutput(QgsProcessingOutputRasterLayer(name, title))

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
        components = self.parameterAsInt(parameters, COMPONENTS, context)
        if components:
            options["components"] = components
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
        if context.willLoadLayerOnCompletion(output):
            self._load(context, result)
        return {
            OUTPUT: result["embedding"],
            FEATURES: sum(result["features"].values()),
            **{name: result[key] for key, (name, _) in _BESIDE.items() if key in result},
        }

    def _load(self, context: QgsProcessingContext, result: dict[str, Any]) -> None:
        """Have the picture loaded beside the embedding, or the components where there is none."""
        key = "pca_rgb" if "pca_rgb" in result else "pca"
        if key not in result:
            return
        name, title = _BESIDE[key]
        details = QgsProcessingContext.LayerDetails(title, context.project(), name)
        context.addLayerToLoadOnCompletion(result[key], details)
        if key == "pca_rgb":
            style_when_loaded(context, result[key], "picture")
