"""The map of what the user sees while they draw: one layer, whose file is another one after each look."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from qgis.core import QgsDataProvider, QgsProject, QgsRasterLayer

from .load import PROPERTY, add_group
from .style import map_name, style_map


class LookLayer:
    """Shows one look at a time. The user may delete or move the layer at any moment."""

    def __init__(self, project: QgsProject) -> None:
        self._project = project
        self._layer_id, self._file, self._name = "", "", ""

    @property
    def layer(self) -> QgsRasterLayer | None:
        """The layer; None before the first look, and after the user removed it."""
        return self._project.mapLayer(self._layer_id) if self._layer_id else None

    def show(self, result: dict[str, Any], scene_name: str) -> None:
        """Show another map in the place of the last one, whose file is removed. A layer that the user removed comes back.

        Args:
            result: the worker's answer to a "predict" recipe.
        """
        path, name = str(result["map"]), f"{map_name(result)} (as you draw)"
        layer = self.layer
        if layer is None:
            layer = QgsRasterLayer(path, name, "gdal")
            layer.setCustomProperty(PROPERTY, True)
            self._project.addMapLayer(layer, False)
            self._layer_id = layer.id()
            add_group(self._project, scene_name).insertLayer(0, layer)
        else:
            if name == self._name:
                name = layer.name()  # the user may have given it another one
            layer.setDataSource(path, name, "gdal", QgsDataProvider.ProviderOptions())
        self._name = f"{map_name(result)} (as you draw)"
        style_map(layer, result)
        layer.triggerRepaint()
        before, self._file = self._file, path
        if before:
            remove(before)

    def close(self) -> None:
        """Remove the layer."""
        layer = self.layer
        if layer is not None:
            self._project.removeMapLayer(layer.id())
        self._layer_id = ""


def remove(path: str) -> None:
    """Remove a file of a look and all that stands beside it under its name."""
    file = Path(path)
    for beside in file.parent.glob(f"{file.stem}*"):
        with contextlib.suppress(OSError):  # still open in a viewer (Windows)
            beside.unlink()
