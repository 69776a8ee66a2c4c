"""`skysense:verificationsample`: points drawn from a map, for a person to say what is truly there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qgis.core import (
    QgsEditorWidgetSetup,
    QgsMapLayer,
    QgsProcessing,
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingLayerPostProcessorInterface,
    QgsProcessingOutputNumber,
    QgsProcessingParameterNumber,
    QgsProcessingParameterVectorDestination,
    QgsVectorLayer,
)

from .map_algorithm import MapAlgorithm

POINTS, MINIMUM, SEED, OUTPUT, DRAWN = "POINTS", "MINIMUM", "SEED", "OUTPUT", "DRAWN"
#: The field that the user fills in.
REFERENCE = "reference"

_HELP = """Draws points at random within each class of a map, so that you can find out how good the map is and how large its \
classes truly are.

Points lie on the centres of pixels. Rare classes get at least the minimum (50 is good practice), the rest is shared out by \
area. Without a number of points there are 100 for each class that the map shows. The same seed gives the same points.

Then look at each point in better imagery, or go there, and choose in the field "reference" what is truly there, without \
looking at the map. Leave a point empty if you cannot tell. Do not move, add or delete points. At last run "Adjust areas by a \
verification sample".

A file with points that somebody has begun to fill in is never overwritten.

Good practices: Olofsson et al. 2014, Remote Sensing of Environment 148, 42-57."""

#: Processing keeps no reference to the Python half of a post-processor until it calls it, so they are kept here.
_waiting: dict[str, QgsProcessingLayerPostProcessorInterface] = {}


class VerificationSampleAlgorithm(MapAlgorithm):
    """Draws a stratified random sample."""

    def name(self) -> str:
        return "verificationsample"

    def displayName(self) -> str:
        return "Draw a verification sample"

    def shortDescription(self) -> str:
        return "Draws random points in each class of a map, for you to fill in what is truly there."

    def shortHelpString(self) -> str:
        return _HELP

    def tags(self) -> list[str]:
        return ["accuracy", "validation", "verification", "sample", "stratified", "random points", "olofsson"]

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:
        self.add_map()
        integer = QgsProcessingParameterNumber.Integer
        self.addParameter(
            QgsProcessingParameterNumber(
                POINTS, "Points in all (empty = 100 for each class)", integer, optional=True, minValue=1
            )
        )
        self.addParameter(
            QgsProcessingParameterNumber(
                MINIMUM, "Points of each class, at least", integer, defaultValue=50, minValue=2
            )
        )
        self.add_advanced(QgsProcessingParameterNumber(SEED, "Seed", integer, defaultValue=0, minValue=0))
        self.addParameter(
            QgsProcessingParameterVectorDestination(OUTPUT, "Sample", QgsProcessing.TypeVectorPoint)
        )
        self.addOutput(QgsProcessingOutputNumber(DRAWN, "Points drawn"))

    def processAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        output = self.parameterAsOutputLayer(parameters, OUTPUT, context)
        params = {
            "out": str(Path(output).absolute()),
            "minimum": self.parameterAsInt(parameters, MINIMUM, context),
            "seed": self.parameterAsInt(parameters, SEED, context),
        }
        if parameters.get(POINTS) is not None:
            params["points"] = self.parameterAsInt(parameters, POINTS, context)
        result = self.ask("draw_sample", params, feedback)
        for item in result["classes"]:
            feedback.pushInfo(f"  {item['name']}: {item['points']} points")
        if context.willLoadLayerOnCompletion(output):
            setter = _waiting[output] = _Chooser([item["name"] for item in result["classes"]])
            context.layerToLoadOnCompletionDetails(output).setPostProcessor(setter)
        return {OUTPUT: output, DRAWN: result["points"]}


class _Chooser(QgsProcessingLayerPostProcessorInterface):
    """Lets the user choose the reference from the map's classes instead of typing it."""

    def __init__(self, names: list[str]) -> None:
        super().__init__()
        self._names = names

    def postProcessLayer(
        self, layer: QgsMapLayer, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> None:
        if not isinstance(layer, QgsVectorLayer):
            return
        choices = {"map": [{name: name} for name in ("", *self._names)]}
        layer.setEditorWidgetSetup(
            layer.fields().lookupField(REFERENCE), QgsEditorWidgetSetup("ValueMap", choices)
        )
