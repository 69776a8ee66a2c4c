"""`skysense:detectobjects`: a layer of the objects that a model finds in high-resolution imagery."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qgis.core import (
    QgsProcessing,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingOutputNumber,
    QgsProcessingParameterFile,
    QgsProcessingParameterVectorDestination,
)

from .algorithm import SkySenseAlgorithm
from .styling import style_when_loaded

MODEL, OUTPUT, COUNT = "MODEL", "OUTPUT", "COUNT"

_HELP = """Finds objects in high-resolution imagery, such as buildings, trees or cars.

The model is one that was trained on objects (“Train a model on polygons”, what the labels teach: where objects are). Imagery with \
finer pixels than those of the training is looked at as if it had the same.

The result is a GeoPackage in the coordinate system of the imagery: a rectangle for each object, or a point where the model was \
trained on points. Fields: class, class_id, confidence (1 to 100: how many of 100 such finds were right on held-out objects) and, \
of rectangles, width_m (the longer side), height_m and angle (of the longer side, degrees anticlockwise from east).

With an extent, only objects whose centre lies in it are there; they are the same as those of the whole area.

The work runs outside QGIS, in the SkySense environment (Settings, Options, SkySense)."""


class DetectObjectsAlgorithm(SkySenseAlgorithm):
    """Finds objects."""

    def name(self) -> str:
        return "detectobjects"

    def displayName(self) -> str:
        return "Find objects with a model"

    def shortDescription(self) -> str:
        return "Finds buildings, trees, cars and other objects in high-resolution imagery."

    def shortHelpString(self) -> str:
        return _HELP

    def tags(self) -> list[str]:
        return ["detection", "detect", "count", "buildings", "trees", "cars", "deep learning", "predict"]

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:
        self.add_scene()
        self.addParameter(
            QgsProcessingParameterFile(
                MODEL, "Model", fileFilter="SkySense models (*.safetensors);;All files (*)"
            )
        )
        self.add_extent()
        self.add_device()
        self.addParameter(
            QgsProcessingParameterVectorDestination(
                OUTPUT, "Objects (GeoPackage)", QgsProcessing.TypeVectorAnyGeometry
            )
        )
        self.addOutput(QgsProcessingOutputNumber(COUNT, "Objects found"))

    def problem(self, parameters: dict[str, Any], context: QgsProcessingContext) -> str:
        problem = super().problem(parameters, context)
        if problem:
            return problem
        model = self.parameterAsString(parameters, MODEL, context)
        if not model:
            return "Choose the model file to find objects with."
        return "" if Path(model).is_file() else f"The model file {model} does not exist."

    def processAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        output = self.parameterAsOutputLayer(parameters, OUTPUT, context)
        path = Path(output).absolute()
        if path.suffix.lower() != ".gpkg":
            raise QgsProcessingException("Objects are a GeoPackage; choose a file name that ends in .gpkg.")
        options = self.options(parameters, context)
        result = self.run_recipe(
            {
                "skysense": 1,
                "task": "predict",
                "scene": self.scene,
                "model": str(Path(self.parameterAsString(parameters, MODEL, context)).absolute()),
                "output": str(path),
                "options": options,
            },
            feedback,
        )
        if "objects" not in result:
            raise QgsProcessingException("This model finds no objects; map with it instead.")
        if context.willLoadLayerOnCompletion(output):
            style_when_loaded(context, output, "objects", classes=result["classes"])
        return {OUTPUT: output, COUNT: result["count"]}
