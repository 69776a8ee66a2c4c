"""What the algorithms share that look at an embedding: a raster of a model's features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qgis.core import (
    QgsProcessing,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterRasterLayer,
    QgsProcessingUtils,
)

from ..dock.row import RowError
from ..dock.sources import layer_path
from .algorithm import SkySenseAlgorithm
from .finetune import write_labels
from .map_algorithm import MapAlgorithm

EMBEDDING, LABELS = "EMBEDDING", "LABELS"


def add_embedding(algorithm: SkySenseAlgorithm, optional: bool = False) -> None:
    """Add the parameter of the embedding."""
    algorithm.addParameter(
        QgsProcessingParameterRasterLayer(EMBEDDING, "Embedding (made by “Embed a scene”)", optional=optional)
    )


def add_places(algorithm: SkySenseAlgorithm, title: str) -> None:
    """Add the parameter of polygons or points, whose fields do not matter."""
    algorithm.addParameter(
        QgsProcessingParameterFeatureSource(
            LABELS, title, [QgsProcessing.TypeVectorPolygon, QgsProcessing.TypeVectorPoint], optional=True
        )
    )


def embedding_path(
    algorithm: SkySenseAlgorithm, parameters: dict[str, Any], context: QgsProcessingContext
) -> str | None:
    """The file of the embedding; None where none is given.

    Raises:
        RowError: it cannot be opened or is no file; a sentence.
    """
    if not parameters.get(EMBEDDING):
        return None
    layer = algorithm.parameterAsRasterLayer(parameters, EMBEDDING, context)
    if layer is None:
        raise RowError("The embedding cannot be opened.")
    return layer_path(layer)


def places_copy(
    algorithm: SkySenseAlgorithm, parameters: dict[str, Any], context: QgsProcessingContext
) -> str | None:
    """A copy of the polygons or points as the user sees them now; None where none are given."""
    source = algorithm.parameterAsSource(parameters, LABELS, context) if parameters.get(LABELS) else None
    if source is None:
        return None
    copy = Path(QgsProcessingUtils.generateTempFilename("labels.gpkg"))
    write_labels(source, copy, context.transformContext())
    return str(copy)


class EmbeddingAlgorithm(MapAlgorithm):
    """A request to the worker about an embedding."""

    def problem(self, parameters: dict[str, Any], context: QgsProcessingContext) -> str:
        try:
            found = embedding_path(self, parameters, context)
        except RowError as error:
            return str(error)
        return "" if found else "Choose the embedding, which “Embed a scene” has made."

    def prepareAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> bool:
        # Layers live on the main thread, so all that is needed of them is read here.
        try:
            self.map = embedding_path(self, parameters, context)
        except RowError as error:
            raise QgsProcessingException(str(error)) from None
        return True

    def ask(self, method: str, params: dict[str, Any], feedback: QgsProcessingFeedback) -> dict[str, Any]:
        return super().ask(method, {"embedding": self.map, **params}, feedback)
