"""Styles a map when Processing has loaded it."""

from __future__ import annotations

from typing import Any

from qgis.core import (
    QgsMapLayer,
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingLayerPostProcessorInterface,
    QgsRasterLayer,
    QgsVectorLayer,
)

from ..results.style import (
    classes_of_file,
    style_classes,
    style_confidence,
    style_numbers,
    style_objects,
    style_picture,
    style_polygons,
)

#: Processing keeps no reference to the Python half of a post-processor until it calls it, so they are kept here.
_waiting: dict[str, QgsProcessingLayerPostProcessorInterface] = {}


class _Styler(QgsProcessingLayerPostProcessorInterface):
    def __init__(self, kind: str, given: dict[str, Any]) -> None:
        super().__init__()
        self._kind, self._given = kind, given

    def postProcessLayer(
        self, layer: QgsMapLayer, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> None:
        if isinstance(layer, QgsVectorLayer) and self._kind == "objects":
            style_objects(layer, self._given["classes"])
        elif isinstance(layer, QgsVectorLayer):
            style_polygons(layer, self._given["classes"])
        elif not isinstance(layer, QgsRasterLayer):
            return
        elif self._kind == "class":
            style_classes(layer, classes_of_file(layer.source()))
        elif self._kind == "numbers":
            style_numbers(layer, self._given["low"], self._given["high"])
        elif self._kind == "picture":
            style_picture(layer)
        else:
            style_confidence(layer)
        layer.triggerRepaint()


def style_when_loaded(context: QgsProcessingContext, path: str, kind: str, **given: Any) -> None:
    """Have the map at `path` styled on the main thread once it is loaded.

    Args:
        kind: "class", "confidence" (1..100), "picture", "numbers" (`given` has "low" and "high"), or "polygons" or "objects" (it
            has "classes").
    """
    styler = _waiting[path] = _Styler(kind, given)
    context.layerToLoadOnCompletionDetails(path).setPostProcessor(styler)
