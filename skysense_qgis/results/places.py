"""Suggested places to draw next, as a layer of numbered points."""

from __future__ import annotations

from qgis.core import (
    QgsLayerTreeGroup,
    QgsMarkerSymbol,
    QgsPalLayerSettings,
    QgsProject,
    QgsSingleSymbolRenderer,
    QgsTextBufferSettings,
    QgsTextFormat,
    QgsVectorLayer,
    QgsVectorLayerSimpleLabeling,
)

from .load import PROPERTY

NAME = "Draw here next"


def load_places(project: QgsProject, group: QgsLayerTreeGroup, path: str) -> QgsVectorLayer:
    """Put a file of suggestions on top of a run's results.

    Raises:
        ValueError: it cannot be opened; a sentence.
    """
    layer = QgsVectorLayer(path, NAME, "ogr")
    if not layer.isValid():
        raise ValueError(f"The suggestions {path} were written, but QGIS cannot open them.")
    layer.setCustomProperty(PROPERTY, True)
    symbol = {
        "name": "circle",
        "color": "255,255,255,160",
        "outline_color": "#d7191c",
        "outline_width": "0.6",
    }
    layer.setRenderer(QgsSingleSymbolRenderer(QgsMarkerSymbol.createSimple({**symbol, "size": "4"})))
    settings = QgsPalLayerSettings()
    settings.fieldName = "rank"
    text = QgsTextFormat()
    halo = QgsTextBufferSettings()
    halo.setEnabled(True)
    text.setBuffer(halo)
    settings.setFormat(text)
    layer.setLabeling(QgsVectorLayerSimpleLabeling(settings))
    layer.setLabelsEnabled(True)
    # Pointing at one with the mouse tells why it is there.
    layer.setMapTipTemplate('<b>[% "rank" %]</b> [% "why" %]')
    project.addMapLayer(layer, False)
    group.insertLayer(0, layer)
    return layer
