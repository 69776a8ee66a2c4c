"""`skysense:predict`: from a scene and a model file to a map with its confidence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingOutputRasterLayer,
    QgsProcessingParameterEnum,
    QgsProcessingParameterFile,
    QgsProcessingParameterRasterDestination,
    QgsProcessingParameterString,
)

from .algorithm import SkySenseAlgorithm
from .inputs import read_split
from .styling import style_when_loaded

MODEL, FUSION_STRIDE, OUTPUT, CONFIDENCE = "MODEL", "FUSION_STRIDE", "OUTPUT", "CONFIDENCE"
UNCERTAINTY, SPLIT = "UNCERTAINTY", "SPLIT"
_STRIDES = ["1", "2", "4"]

_HELP = """Maps an area with a model that was trained on polygons.

Give the imagery as in the training: a scene file (scene.json), or layers of the same sensors. Acquisition dates come \
from the layers' temporal range, else from the files and their names, else from what is typed here.

The map has the class ids, class names and colours of the model; 0 is "not mapped", where there is no imagery. The \
confidence raster beside it (…_confidence.tif) is the calibrated probability of the shown class, 1 to 100 %.

A model of numbers gives a raster of them in the units of its field, and where it knows it the half width of an interval that \
held 9 in 10 polygons beside it (…_uncertainty.tif). A model of changes compares two periods: those of the training, or those that \
a day splits which is given here. For a model of whole polygons use “Classify polygons with a model”.

With an extent, only that part is mapped; it equals the cut-out of the map of the whole area. A fusion step of 2 or 4 \
is faster and coarser where sensors or dates are combined.

The work runs outside QGIS, in the SkySense environment (Settings, Options, SkySense)."""


class PredictAlgorithm(SkySenseAlgorithm):
    """Maps a scene."""

    def name(self) -> str:
        return "predict"

    def displayName(self) -> str:
        return "Map an area with a model"

    def shortDescription(self) -> str:
        return "Classifies HR, Sentinel-2 or Sentinel-1 imagery with a trained model."

    def shortHelpString(self) -> str:
        return _HELP

    def tags(self) -> list[str]:
        return [
            "map",
            "classification",
            "land cover",
            "crops",
            "sentinel",
            "deep learning",
            "inference",
            "predict",
        ]

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:
        self.add_scene()
        self.addParameter(
            QgsProcessingParameterFile(
                MODEL, "Model", fileFilter="SkySense models (*.safetensors);;All files (*)"
            )
        )
        self.add_extent()
        self.add_advanced(
            QgsProcessingParameterEnum(
                FUSION_STRIDE,
                "Fusion on every … 10 m pixel",
                _STRIDES,
                defaultValue="1",
                usesStaticStrings=True,
            )
        )
        self.add_advanced(
            QgsProcessingParameterString(
                SPLIT,
                "Models of changes: first day of the second period (empty = the training's)",
                optional=True,
            )
        )
        self.add_device()
        self.addParameter(QgsProcessingParameterRasterDestination(OUTPUT, "Map"))
        self.addOutput(QgsProcessingOutputRasterLayer(CONFIDENCE, "Confidence"))
        self.addOutput(QgsProcessingOutputRasterLayer(UNCERTAINTY, "Uncertainty, of numbers"))

    def problem(self, parameters: dict[str, Any], context: QgsProcessingContext) -> str:
        problem = super().problem(parameters, context)
        if problem:
            return problem
        model = self.parameterAsString(parameters, MODEL, context)
        if not model:
            return "Choose the model file to map with."
        read_split(self.parameterAsString(parameters, SPLIT, context))
        return "" if Path(model).is_file() else f"The model file {model} does not exist."

    def processAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        output = self.parameterAsOutputLayer(parameters, OUTPUT, context)
        options = self.options(parameters, context)
        stride = int(self.parameterAsEnumString(parameters, FUSION_STRIDE, context) or 1)
        if stride != 1:
            options["fusion_stride"] = stride
        split = read_split(self.parameterAsString(parameters, SPLIT, context))
        if split:
            options["split"] = split
        result = self.run_recipe(
            {
                "skysense": 1,
                "task": "predict",
                "scene": self.scene,
                "model": str(Path(self.parameterAsString(parameters, MODEL, context)).absolute()),
                "output": str(Path(output).absolute()),
                "options": options,
            },
            feedback,
        )
        self._load(context, output, result)
        beside = {CONFIDENCE: result.get("confidence"), UNCERTAINTY: result.get("uncertainty")}
        return {OUTPUT: result["map"], **{name: path for name, path in beside.items() if path}}

    def _load(self, context: QgsProcessingContext, output: str, result: dict[str, Any]) -> None:
        """Have what is beside the map loaded with it, if the map is, and both styled."""
        if not context.willLoadLayerOnCompletion(output):
            return
        for name, key in ((CONFIDENCE, "confidence"), (UNCERTAINTY, "uncertainty")):
            if result.get(key):
                details = QgsProcessingContext.LayerDetails(key.capitalize(), context.project(), name)
                context.addLayerToLoadOnCompletion(result[key], details)
        if "range" not in result:
            style_when_loaded(context, output, "class")
            style_when_loaded(context, result["confidence"], "confidence")
            return
        low, _, high = result["range"]
        style_when_loaded(context, output, "numbers", low=low, high=high)
        if result["uncertainty"]:
            style_when_loaded(context, result["uncertainty"], "numbers", low=0.0, high=(high - low) / 2)
