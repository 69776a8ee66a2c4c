"""`skysense:classifypolygons`: the class of every polygon of a layer, from a model of whole polygons."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qgis.core import (
    QgsProcessing,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingOutputNumber,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterFile,
    QgsProcessingParameterVectorDestination,
)

from .algorithm import SkySenseAlgorithm
from .finetune import beside, write_labels
from .styling import style_when_loaded

MODEL, POLYGONS, OUTPUT, CLASSIFIED, EMPTY = "MODEL", "POLYGONS", "OUTPUT", "CLASSIFIED", "EMPTY"

_HELP = """Gives each polygon of a layer a class, such as the crop of every parcel.

The model is one that was trained for whole polygons (“Train a model on polygons”, what the labels teach: the class of whole \
polygons). Give the imagery as in the training.

The result is a GeoPackage with the polygons in their coordinate system, all their fields, and class, class_id and confidence \
(calibrated probability of the class, 1 to 100 %). The three are empty where the polygon lies beside the imagery. A field of the \
layer that has one of these names is kept as …_before.

The work runs outside QGIS, in the SkySense environment (Settings, Options, SkySense)."""


class ClassifyPolygonsAlgorithm(SkySenseAlgorithm):
    """Classifies polygons as a whole."""

    def name(self) -> str:
        return "classifypolygons"

    def displayName(self) -> str:
        return "Classify polygons with a model"

    def shortDescription(self) -> str:
        return "Gives each polygon of a layer, such as a parcel, a class from HR, Sentinel-2 or Sentinel-1 imagery."

    def shortHelpString(self) -> str:
        return _HELP

    def tags(self) -> list[str]:
        return ["parcels", "fields", "object-based", "classification", "crops", "zonal", "predict"]

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:
        self.add_scene()
        self.addParameter(
            QgsProcessingParameterFile(
                MODEL, "Model", fileFilter="SkySense models (*.safetensors);;All files (*)"
            )
        )
        self.addParameter(
            QgsProcessingParameterFeatureSource(POLYGONS, "Polygons", [QgsProcessing.TypeVectorPolygon])
        )
        self.add_device()
        self.addParameter(
            QgsProcessingParameterVectorDestination(
                OUTPUT, "Classified polygons (GeoPackage)", QgsProcessing.TypeVectorPolygon
            )
        )
        self.addOutput(QgsProcessingOutputNumber(CLASSIFIED, "Polygons with a class"))
        self.addOutput(QgsProcessingOutputNumber(EMPTY, "Polygons without one"))

    def problem(self, parameters: dict[str, Any], context: QgsProcessingContext) -> str:
        problem = super().problem(parameters, context)
        if problem:
            return problem
        model = self.parameterAsString(parameters, MODEL, context)
        if not model:
            return "Choose the model file to classify with."
        if not Path(model).is_file():
            return f"The model file {model} does not exist."
        source = self.parameterAsSource(parameters, POLYGONS, context)
        if source is None:
            return "Choose the layer of polygons; the one that is given cannot be opened."
        if source.featureCount() == 0:
            return "The layer of polygons is empty."
        return ""

    def prepareAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> bool:
        super().prepareAlgorithm(parameters, context, feedback)
        self.polygons = self.parameterAsSource(parameters, POLYGONS, context)
        return True

    def processAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        output = self.parameterAsOutputLayer(parameters, OUTPUT, context)
        path = Path(output).absolute()
        if path.suffix.lower() != ".gpkg":
            raise QgsProcessingException(
                "The classified polygons are a GeoPackage; choose a file name that ends in .gpkg."
            )
        copy = beside(path, "polygons", self.parameterAsVectorLayer(parameters, POLYGONS, context))
        write_labels(self.polygons, copy, context.transformContext())
        options = self.options(parameters, context)
        options |= {"polygons": str(copy), "polygons_layer": "labels"}
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
        if context.willLoadLayerOnCompletion(output):
            style_when_loaded(context, output, "polygons", classes=result["classes"])
        return {OUTPUT: output, CLASSIFIED: result["classified"], EMPTY: result["empty"]}
