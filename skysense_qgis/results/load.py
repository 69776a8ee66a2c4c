"""Puts results into the project: a group per run, styled, with where they come from."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

from qgis.core import (
    QgsLayerMetadata,
    QgsLayerTreeGroup,
    QgsLayerTreeLayer,
    QgsMapLayer,
    QgsProject,
    QgsRasterLayer,
    QgsVectorLayer,
)

from ..dock.sources import set_layer_dates
from .style import map_name, style_confidence, style_map, style_numbers, style_objects, style_polygons

PROPERTY = "skysense/result"


def add_group(project: QgsProject, scene_name: str, on_top: bool = False) -> QgsLayerTreeGroup:
    """A group for a run's results, "SkySense <scene> <HH:MM>", above all but the vector layers that are on top.

    Args:
        on_top: above those, too: results that are vector layers would be hidden by what they were made of.
    """
    name = f"SkySense {scene_name} {datetime.datetime.now():%H:%M}"
    root = project.layerTreeRoot()
    place = 0
    for node in root.children():
        if on_top or not (isinstance(node, QgsLayerTreeLayer) and isinstance(node.layer(), QgsVectorLayer)):
            break
        place += 1
    return root.insertGroup(place, name)


def load_maps(
    project: QgsProject,
    group: QgsLayerTreeGroup,
    result: dict[str, Any],
    recipe: dict[str, Any],
    dates: list[str],
) -> tuple[QgsMapLayer, ...]:
    """Load what a run has made, and save each layer's style beside its file.

    Classes or numbers lie above how sure they are; classified polygons and objects are one layer.

    Args:
        result: the worker's answer to a "predict" recipe.
        dates: ISO dates of the scene's images, without empty ones, where the answer does not say which of them were used.

    Raises:
        ValueError: one cannot be opened; a sentence.
    """
    dates = result.get("dates", dates)
    layers: tuple[QgsMapLayer, ...]
    layers = (_features(result),) if is_features(result) else _rasters(result)
    for layer in layers:
        _describe(layer, result, recipe, dates)
        if dates and isinstance(layer, QgsRasterLayer):
            set_layer_dates(layer, min(dates), max(dates))
        layer.saveNamedStyle(str(Path(layer.source().split("|")[0]).with_suffix(".qml")))
        project.addMapLayer(layer, False)
        node = group.addLayer(layer)
        if isinstance(layer, QgsVectorLayer):
            node.setCustomProperty("showFeatureCount", True)
        # Under an opaque map what is beside it would only cost drawing time; one tick shows it.
        node.setExpanded(layer is layers[0])
        node.setItemVisibilityChecked(layer is layers[0])
    group.setExpanded(False)  # the tree follows changes only
    group.setExpanded(True)
    return layers


def is_features(result: dict[str, Any]) -> bool:
    """A run has made classified polygons or objects, and no map of pixels."""
    return "objects" in result or "polygons" in result


def _rasters(result: dict[str, Any]) -> tuple[QgsRasterLayer, ...]:
    shown = _open(result["map"], map_name(result))
    style_map(shown, result)
    if "range" not in result:
        confidence = _open(result["confidence"], "Confidence %")
        style_confidence(confidence)
        return shown, confidence
    if not result["uncertainty"]:
        return (shown,)
    low, _, high = result["range"]
    uncertainty = _open(result["uncertainty"], "Uncertainty (±)")
    style_numbers(uncertainty, 0.0, (high - low) / 2)
    return shown, uncertainty


def _features(result: dict[str, Any]) -> QgsVectorLayer:
    found = "objects" in result
    path = result["objects" if found else "polygons"]
    name = "Objects" if found else "Classified polygons"
    layer = QgsVectorLayer(f"{path}|layername={result['layer']}", name, "ogr")
    if not layer.isValid():
        raise ValueError(f"The layer {path} was written, but QGIS cannot open it.")
    style = style_objects if found else style_polygons
    style(layer, result["classes"])
    return layer


def _open(path: str, name: str) -> QgsRasterLayer:
    layer = QgsRasterLayer(path, name, "gdal")
    if not layer.isValid():
        raise ValueError(f"The map {path} was written, but QGIS cannot open it.")
    return layer


def _describe(layer: QgsMapLayer, result: dict[str, Any], recipe: dict[str, Any], dates: list[str]) -> None:
    """Write down where a layer comes from: in the layer's metadata, and as custom properties for scripts."""
    span = f"{min(dates)} to {max(dates)}" if dates else "of unknown date"
    path = result.get("map") or result.get("polygons") or result["objects"]
    recipe_path = f"{path}.recipe.json"
    model = str(recipe.get("model") or "the built-in model")
    shows = "Classes: " + ", ".join(item["name"] for item in result.get("classes") or [])
    if "field" in result:
        shows = f"Shows: {result['field']}"
    metadata = QgsLayerMetadata(layer.metadata())
    metadata.setTitle(layer.name())
    metadata.setAbstract(
        f"Made by SkySense from images {span}.\n{shows}.\nModel: {model}\nRecipe: {recipe_path}"
    )
    metadata.setHistory([f"Made with the model {model}", f"Recipe: {recipe_path}", f"Images: {span}"])
    layer.setMetadata(metadata)
    layer.setCustomProperty(PROPERTY, True)
    layer.setCustomProperty("skysense/model", model)
    layer.setCustomProperty("skysense/recipe", recipe_path)
    layer.setCustomProperty("skysense/run", str(result.get("run") or ""))
