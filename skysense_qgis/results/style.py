"""How maps look: classes in their colours with names, confidence from pale to dark."""

from __future__ import annotations

import json
from typing import Any

from osgeo import gdal
from qgis.core import (
    QgsColorRampShader,
    QgsPalettedRasterRenderer,
    QgsRasterLayer,
    QgsRasterShader,
    QgsSingleBandPseudoColorRenderer,
)
from qgis.PyQt.QtGui import QColor

#: Confidence in % -> colour: light yellow to dark blue, readable for the colour-blind and in grey.
_CONFIDENCE = ((1, "#ffffd9"), (25, "#c7e9b4"), (50, "#41b6c4"), (75, "#225ea8"), (100, "#081d58"))


def style_classes(layer: QgsRasterLayer, classes: list[dict[str, Any]]) -> None:
    """Give a class map its legend; 0 (not mapped) is not in it and stays transparent.

    Args:
        classes: {"id", "name", "color": "#rrggbb"} as the worker gives them.
    """
    entries = [
        QgsPalettedRasterRenderer.Class(int(item["id"]), QColor(item["color"]), str(item["name"]))
        for item in classes
    ]
    layer.setRenderer(QgsPalettedRasterRenderer(layer.dataProvider(), 1, entries))


def style_confidence(layer: QgsRasterLayer) -> None:
    """Give a confidence map (1..100 %, 0 = not mapped) its colours."""
    ramp = QgsColorRampShader(1, 100)
    ramp.setColorRampType(QgsColorRampShader.Type.Interpolated)
    ramp.setColorRampItemList(
        [QgsColorRampShader.ColorRampItem(value, QColor(color), f"{value} %") for value, color in _CONFIDENCE]
    )
    # With this, older versions draw the five steps as a list, not as one unlabelled strip.
    if hasattr(ramp, "legendSettings") and ramp.legendSettings() is not None:
        ramp.legendSettings().setUseContinuousLegend(False)
    shader = QgsRasterShader(1, 100)
    shader.setRasterShaderFunction(ramp)
    renderer = QgsSingleBandPseudoColorRenderer(layer.dataProvider(), 1, shader)
    renderer.setClassificationMin(1)
    renderer.setClassificationMax(100)
    layer.setRenderer(renderer)


def classes_of_file(path: str) -> list[dict[str, Any]]:
    """The classes that a map file (or chunk) itself tells: names from its metadata, colours from its colour table."""
    dataset = gdal.Open(path)
    if dataset is None:
        return []
    table = dataset.GetRasterBand(1).GetColorTable()
    try:
        names = json.loads(dataset.GetMetadataItem("SKYSENSE_CLASSES") or "{}")
    except ValueError:
        names = {}
    classes = []
    for number in range(1, table.GetCount() if table is not None else 0):
        red, green, blue, alpha = table.GetColorEntry(number)
        if alpha and (str(number) in names or (red, green, blue) != (0, 0, 0)):  # TIFF drops the alpha
            name = names.get(str(number), f"class {number}")
            classes.append({"id": number, "name": name, "color": f"#{red:02x}{green:02x}{blue:02x}"})
    return classes
