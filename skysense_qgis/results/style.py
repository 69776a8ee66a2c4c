"""How maps look: classes in their colours with names, confidence from pale to dark."""

from __future__ import annotations

import json
from typing import Any

from osgeo import gdal
from qgis.core import (
    QgsCategorizedSymbolRenderer,
    QgsColorRampShader,
    QgsFillSymbol,
    QgsMarkerSymbol,
    QgsMultiBandColorRenderer,
    QgsPalettedRasterRenderer,
    QgsRasterLayer,
    QgsRasterShader,
    QgsRendererCategory,
    QgsSingleBandPseudoColorRenderer,
    QgsVectorLayer,
    QgsWkbTypes,
)
from qgis.PyQt.QtGui import QColor

#: Confidence in % -> colour: light yellow to dark blue, readable for the colour-blind and in grey.
_CONFIDENCE = ((1, "#ffffd9"), (25, "#c7e9b4"), (50, "#41b6c4"), (75, "#225ea8"), (100, "#081d58"))

#: Share of the range -> colour of numbers: viridis, readable for the colour-blind and in grey.
_NUMBERS = ((0.0, "#440154"), (0.25, "#3b528b"), (0.5, "#21918c"), (0.75, "#5ec962"), (1.0, "#fde725"))


def map_name(result: dict[str, Any]) -> str:
    """What a map shows, of a run's result: its field of numbers, or classes."""
    return str(result["field"]) if "range" in result else "Classes"


def style_map(layer: QgsRasterLayer, result: dict[str, Any]) -> None:
    """Give a map of numbers or of classes, as a run's result tells, its colours."""
    if "range" in result:
        low, _, high = result["range"]
        style_numbers(layer, low, high)
    else:
        style_classes(layer, result["classes"])


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
    _style_steps(layer, [(value, color, f"{value} %") for value, color in _CONFIDENCE])


def style_numbers(layer: QgsRasterLayer, low: float, high: float) -> None:
    """Give a map of numbers its colours, from `low` to `high`."""
    values = [(low + share * (high - low), color) for share, color in _NUMBERS]
    _style_steps(layer, [(value, color, f"{value:.4g}") for value, color in values])


def _style_steps(layer: QgsRasterLayer, steps: list[tuple[float, str, str]]) -> None:
    """Colours and labels at ascending values, interpolated between them."""
    low, high = steps[0][0], steps[-1][0]
    ramp = QgsColorRampShader(low, high)
    ramp.setColorRampType(QgsColorRampShader.Type.Interpolated)
    ramp.setColorRampItemList(
        [QgsColorRampShader.ColorRampItem(value, QColor(color), label) for value, color, label in steps]
    )
    # With this, older versions draw the five steps as a list, not as one unlabelled strip.
    if hasattr(ramp, "legendSettings") and ramp.legendSettings() is not None:
        ramp.legendSettings().setUseContinuousLegend(False)
    shader = QgsRasterShader(low, high)
    shader.setRasterShaderFunction(ramp)
    renderer = QgsSingleBandPseudoColorRenderer(layer.dataProvider(), 1, shader)
    renderer.setClassificationMin(low)
    renderer.setClassificationMax(high)
    layer.setRenderer(renderer)


def style_picture(layer: QgsRasterLayer) -> None:
    """Show three bands of bytes as red, green and blue just as they are; 0, the file's nodata, stays transparent."""
    # A renderer without contrast enhancement: QGIS's own would stretch what is stretched already, and anew at each zoom.
    layer.setRenderer(QgsMultiBandColorRenderer(layer.dataProvider(), 1, 2, 3))


def style_polygons(layer: QgsVectorLayer, classes: list[dict[str, Any]]) -> None:
    """Give classified polygons the colours of their classes; those without a class are hollow.

    Args:
        classes: {"id", "name", "color": "#rrggbb"} as the worker gives them.
    """
    categories = [
        QgsRendererCategory(item["name"], QgsFillSymbol.createSimple({"color": item["color"]}), item["name"])
        for item in classes
    ]
    hollow = QgsFillSymbol.createSimple({"style": "no", "outline_color": "#9e9e9e"})
    categories.append(QgsRendererCategory("", hollow, "no class"))
    layer.setRenderer(QgsCategorizedSymbolRenderer("class", categories))


def style_objects(layer: QgsVectorLayer, classes: list[dict[str, Any]]) -> None:
    """Give found objects the colours of their classes: boxes as outlines, so that the imagery shows through, or points as dots.

    Args:
        classes: {"id", "name", "color": "#rrggbb"} as the worker gives them.
    """
    categories = []
    for item in classes:
        if layer.geometryType() == QgsWkbTypes.PointGeometry:
            symbol = QgsMarkerSymbol.createSimple({"color": item["color"], "outline_color": "#ffffff"})
        else:
            line = {"style": "no", "outline_color": item["color"], "outline_width": "0.6"}
            symbol = QgsFillSymbol.createSimple(line)
        categories.append(QgsRendererCategory(item["name"], symbol, item["name"]))
    layer.setRenderer(QgsCategorizedSymbolRenderer("class", categories))


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
