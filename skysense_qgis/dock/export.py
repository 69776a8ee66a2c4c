"""Writes the label layer, as the user sees it now, to a file that the worker can read."""

from __future__ import annotations

from pathlib import Path

from qgis.core import QgsCategorizedSymbolRenderer, QgsProject, QgsVectorFileWriter, QgsVectorLayer

from .row import RowError

LAYER_NAME = "labels"


def export_labels(layer: QgsVectorLayer, path: Path) -> None:
    """Write a polygon layer to a GeoPackage, edits that are not saved yet included, all fields kept.

    Args:
        path: the file to write; its folder exists. The layer in it is called "labels".

    Raises:
        RowError: it cannot be written; a sentence.
    """
    if layer.featureCount() == 0:
        raise RowError(
            f"The layer “{layer.name()}” has no polygons yet. Draw a few for each class, then train."
        )
    options = QgsVectorFileWriter.SaveVectorOptions()
    options.driverName = "GPKG"
    options.layerName = LAYER_NAME
    # A name of its own for the row number: the layer's field "fid" may repeat or be empty for new polygons.
    options.layerOptions = ["FID=skysense_fid"]
    context = QgsProject.instance().transformContext()
    outcome = QgsVectorFileWriter.writeAsVectorFormatV3(layer, str(path), context, options)
    if outcome[0] != QgsVectorFileWriter.WriterError.NoError:
        raise RowError(
            f"The layer “{layer.name()}” cannot be written to {path} ({outcome[1]}). Choose another output folder."
        )


def class_colors(layer: QgsVectorLayer | None, field: str) -> dict[str, str]:
    """Class name -> "#rrggbb" as the label layer is drawn; empty unless it is categorised by the class field."""
    renderer = layer.renderer() if layer is not None else None
    if (
        not isinstance(renderer, QgsCategorizedSymbolRenderer)
        or renderer.classAttribute().strip('"') != field
    ):
        return {}
    return {
        str(category.value()): category.symbol().color().name()
        for category in renderer.categories()
        if category.value() not in (None, "") and category.symbol() is not None
    }
