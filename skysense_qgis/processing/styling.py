"""Styles a map when Processing has loaded it."""

from __future__ import annotations

from qgis.core import (
    QgsMapLayer,
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingLayerPostProcessorInterface,
    QgsRasterLayer,
)

from ..results.style import classes_of_file, style_classes, style_confidence

#: Processing keeps no reference to the Python half of a post-processor until it calls it, so they are kept here.
_waiting: dict[str, QgsProcessingLayerPostProcessorInterface] = {}


class _Styler(QgsProcessingLayerPostProcessorInterface):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self._kind = kind

    def postProcessLayer(
        self, layer: QgsMapLayer, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> None:
        if not isinstance(layer, QgsRasterLayer):
            return
        if self._kind == "class":
            style_classes(layer, classes_of_file(layer.source()))
        else:
            style_confidence(layer)
        layer.triggerRepaint()


def style_when_loaded(context: QgsProcessingContext, path: str, kind: str) -> None:
    """Have the map at `path` styled on the main thread once it is loaded.

    Args:
        kind: "class" or "confidence".
    """
    styler = _waiting[path] = _Styler(kind)
    context.layerToLoadOnCompletionDetails(path).setPostProcessor(styler)
