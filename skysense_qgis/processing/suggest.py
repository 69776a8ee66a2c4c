"""`skysense:suggest`: where to draw next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qgis.core import (
    QgsProcessing,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingOutputNumber,
    QgsProcessingParameterNumber,
    QgsProcessingParameterVectorDestination,
)

from ..dock.row import RowError
from .embedding_algorithm import (
    EMBEDDING,
    LABELS,
    add_embedding,
    add_places,
    embedding_path,
    places_copy,
)
from .map_algorithm import MapAlgorithm

POINTS, OUTPUT, FOUND = "POINTS", "OUTPUT", "FOUND"

_HELP = """Suggests places to draw next, the most useful first: points where the map is least sure over a neighbourhood of 15 x 15 \
pixels, spread over the map. The map's confidence layer (…_confidence.tif) must lie beside it.

With an embedding of the scene (“Embed a scene”) and the polygons drawn so far, places count more that are unlike anything \
labelled: there a map can be sure and wrong.

Go to each point, draw a polygon of what is truly there, train and map again. Fields: rank, class_id and class (what the map \
shows), confidence in %, novelty (above 1 = unlike anything labelled), why.

Novelty: Meyer and Pebesma 2021, Methods in Ecology and Evolution 12, 1620-1633."""


class SuggestAlgorithm(MapAlgorithm):
    """Suggests points of a map."""

    def name(self) -> str:
        return "suggest"

    def displayName(self) -> str:
        return "Suggest where to draw next"

    def shortDescription(self) -> str:
        return "Points where a map is unsure, or unlike anything labelled."

    def shortHelpString(self) -> str:
        return _HELP

    def tags(self) -> list[str]:
        return [
            "active learning",
            "uncertainty",
            "confidence",
            "training data",
            "labels",
            "area of applicability",
        ]

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:
        self.add_map()
        add_embedding(self, optional=True)
        add_places(self, "Polygons or points drawn so far")
        self.addParameter(
            QgsProcessingParameterNumber(
                POINTS, "Points, at most", QgsProcessingParameterNumber.Integer, defaultValue=20, minValue=1
            )
        )
        self.addParameter(
            QgsProcessingParameterVectorDestination(OUTPUT, "Suggestions", QgsProcessing.TypeVectorPoint)
        )
        self.addOutput(QgsProcessingOutputNumber(FOUND, "Points suggested"))

    def problem(self, parameters: dict[str, Any], context: QgsProcessingContext) -> str:
        problem = super().problem(parameters, context)
        if problem:
            return problem
        if bool(parameters.get(EMBEDDING)) != bool(parameters.get(LABELS)):
            return "Give both the embedding and the polygons drawn so far, or neither."
        try:
            embedding_path(self, parameters, context)
        except RowError as error:
            return str(error)
        return ""

    def prepareAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> bool:
        super().prepareAlgorithm(parameters, context, feedback)
        try:
            self.params = {
                "embedding": embedding_path(self, parameters, context),
                "labels": places_copy(self, parameters, context),
            }
        except RowError as error:
            raise QgsProcessingException(str(error)) from None
        return True

    def processAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        output = self.parameterAsOutputLayer(parameters, OUTPUT, context)
        params = {
            "out": str(Path(output).absolute()),
            "points": self.parameterAsInt(parameters, POINTS, context),
            **self.params,
        }
        result = self.ask("suggest", params, feedback)
        for item in result["points"]:
            feedback.pushInfo(f"  {item['rank']}: {item['why']}")
        return {OUTPUT: output, FOUND: len(result["points"])}
