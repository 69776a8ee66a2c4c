"""`skysense:similarity`: what else looks like a chosen place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingParameterPoint,
    QgsProcessingParameterRasterDestination,
)

from ..crs import crs_text
from .embedding_algorithm import LABELS, EmbeddingAlgorithm, add_embedding, add_places, places_copy
from .styling import style_when_loaded

PLACE, OUTPUT = "PLACE", "OUTPUT"

_HELP = """Shows how much every pixel looks like a place that you click, or like polygons or points of a layer.

100 is the same, 0 nothing in common; nodata is where the embedding is empty. A polygon stands for the mean of its pixels; of \
several places the most similar one counts. Use it to find more of a class before you draw it.

Cosine of the standardised features, times 100."""


class SimilarityAlgorithm(EmbeddingAlgorithm):
    """Compares an embedding with places on it."""

    def name(self) -> str:
        return "similarity"

    def displayName(self) -> str:
        return "Find what looks alike"

    def shortDescription(self) -> str:
        return "Shows how much every pixel of an embedding looks like chosen places."

    def shortHelpString(self) -> str:
        return _HELP

    def tags(self) -> list[str]:
        return ["similarity", "search", "look alike", "cosine", "embedding", "find"]

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:
        add_embedding(self)
        self.addParameter(QgsProcessingParameterPoint(PLACE, "Place", optional=True))
        add_places(self, "Polygons or points")
        self.addParameter(QgsProcessingParameterRasterDestination(OUTPUT, "Similarity"))

    def problem(self, parameters: dict[str, Any], context: QgsProcessingContext) -> str:
        problem = super().problem(parameters, context)
        if problem:
            return problem
        given = parameters.get(PLACE) or parameters.get(LABELS)
        return "" if given else "Choose a place, or a layer of polygons or points."

    def prepareAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> bool:
        super().prepareAlgorithm(parameters, context, feedback)
        self.params: dict[str, Any] = {"labels": places_copy(self, parameters, context)}
        if parameters.get(PLACE):
            place = self.parameterAsPoint(parameters, PLACE, context)
            crs = self.parameterAsPointCrs(parameters, PLACE, context)
            if not crs.isValid():
                raise QgsProcessingException("The place has no coordinate system.")
            self.params |= {"at": [[place.x(), place.y()]], "at_crs": crs_text(crs)}
        return True

    def processAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        output = self.parameterAsOutputLayer(parameters, OUTPUT, context)
        self.ask("similar", {"out": str(Path(output).absolute()), **self.params}, feedback)
        if context.willLoadLayerOnCompletion(output):
            style_when_loaded(context, output, "confidence")
        return {OUTPUT: output}
