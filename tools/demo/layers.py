"""The scene's imagery and polygons as a person would arrange them in QGIS. Runs in QGIS's Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from osgeo import gdal
from qgis.core import (
    QgsCategorizedSymbolRenderer,
    QgsContrastEnhancement,
    QgsFillSymbol,
    QgsLayerTreeLayer,
    QgsMultiBandColorRenderer,
    QgsProject,
    QgsRasterLayer,
    QgsRasterMinMaxOrigin,
    QgsRendererCategory,
    QgsSingleBandGrayRenderer,
    QgsVectorLayer,
)
from qgis.PyQt.QtGui import QColor

GROUPS = {"hr": "High resolution", "s2": "Sentinel-2", "s1": "Sentinel-1"}
_TRUE_COLOUR = {"hr": ("R", "G", "B"), "s2": ("B4", "B3", "B2")}
_SUMMER = "07-01"


def show_imagery(rows: list[Any], folder: Path) -> list[QgsRasterLayer]:
    """Load every row of the acquisition table, a group for each sensor, with one picture switched on.

    Args:
        rows: of the table; path, modality, ISO date and bands (name -> number, or "file:number" in a product's folder).
        folder: for the small VRTs that show products of one file a band.
    """
    root = QgsProject.instance().layerTreeRoot()
    shown = _best_picture(rows)
    layers = []
    for modality, title in GROUPS.items():
        chosen = sorted((row for row in rows if row.modality == modality), key=lambda row: row.date)
        if not chosen:
            continue
        group = root.addGroup(title)
        for row in chosen:
            path, bands = _one_file(row, folder)
            name = f"{title} {row.date}" if row.date else Path(row.path).stem
            layer = QgsRasterLayer(path, name, "gdal")
            if not layer.isValid():
                raise ValueError(f"QGIS cannot open {row.path}.")
            _style(layer, [bands[band] for band in _TRUE_COLOUR.get(modality, ()) if band in bands])
            QgsProject.instance().addMapLayer(layer, False)
            node = group.addLayer(layer)
            node.setExpanded(False)
            node.setItemVisibilityChecked(row is shown)
            layers.append(layer)
        group.setExpanded(len(chosen) == 1)
        group.setItemVisibilityChecked(any(row is shown for row in chosen))
    return layers


def colour_labels(layer: QgsVectorLayer, field: str, classes: list[dict[str, Any]]) -> None:
    """Draw the polygons in the colours of the map's classes, with an outline that shows on it.

    Args:
        classes: {"name", "color"} as the worker gives them.
    """
    colours = {item["name"]: item["color"] for item in classes}
    colours.update({item["id"]: item["color"] for item in classes})
    categories = []
    for value in sorted(layer.uniqueValues(layer.fields().lookupField(field)), key=str):
        symbol = QgsFillSymbol.createSimple(
            {"color": colours.get(value, "#808080"), "outline_color": "#ffffff", "outline_width": "0.5"}
        )
        categories.append(QgsRendererCategory(value, symbol, str(value)))
    layer.setRenderer(QgsCategorizedSymbolRenderer(field, categories))
    layer.triggerRepaint()


def raise_to_top(layer: QgsVectorLayer) -> None:
    """Move a layer to the top of the layer tree, folded."""
    root = QgsProject.instance().layerTreeRoot()
    node = root.findLayer(layer.id())
    moved: QgsLayerTreeLayer = node.clone()
    root.insertChildNode(0, moved)
    node.parent().removeChildNode(node)
    moved.setExpanded(False)


def _best_picture(rows: list[Any]) -> Any:
    """HR if there is one, else the Sentinel-2 date nearest to summer, else the first."""
    for modality in ("hr", "s2", "s1"):
        chosen = [row for row in rows if row.modality == modality]
        if chosen:
            return min(chosen, key=lambda row: _days_apart(row.date[5:], _SUMMER) if row.date else 999)
    return None


def _days_apart(one: str, other: str) -> int:
    """Roughly, of two MM-DD."""
    (m1, d1), (m2, d2) = ([int(part) for part in date.split("-")] for date in (one, other))
    return abs((m1 - m2) * 30 + d1 - d2)


def _one_file(row: Any, folder: Path) -> tuple[str, dict[str, int]]:
    """A file that QGIS can show for a row, and the band numbers in it."""
    bands = dict(row.bands)
    if not Path(row.path).is_dir():
        return row.path, {name: number for name, number in bands.items() if isinstance(number, int)}
    wanted = [band for band in _TRUE_COLOUR.get(row.modality, ()) if band in bands] or list(bands)[:1]
    files = [str(Path(row.path) / str(bands[band]).split(":")[0]) for band in wanted]
    target = folder / f"{Path(row.path).name}.vrt"
    gdal.BuildVRT(str(target), files, separate=True)
    return str(target), {band: number for number, band in enumerate(wanted, start=1)}


def _style(layer: QgsRasterLayer, rgb: list[int]) -> None:
    provider = layer.dataProvider()
    if len(rgb) == 3:
        layer.setRenderer(QgsMultiBandColorRenderer(provider, *rgb))
    else:
        layer.setRenderer(QgsSingleBandGrayRenderer(provider, 1))
    # A stretch between the 2nd and 98th percentile, as QGIS itself does it for 16-bit pictures.
    layer.setContrastEnhancement(
        QgsContrastEnhancement.ContrastEnhancementAlgorithm.StretchToMinimumMaximum,
        QgsRasterMinMaxOrigin.CumulativeCut,
    )
    layer.setCustomProperty("identify/format", "Value")


def outline(layer: QgsVectorLayer, colour: str) -> None:
    """Draw polygons as an outline, before their classes have colours."""
    symbol = QgsFillSymbol.createSimple(
        {"style": "no", "outline_color": QColor(colour).name(), "outline_width": "0.6"}
    )
    layer.renderer().setSymbol(symbol)
    layer.triggerRepaint()
