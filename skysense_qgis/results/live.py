"""The map while it grows: a mosaic of the finished chunks, shown as one layer."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from qgis.core import QgsDataProvider, QgsLayerTreeGroup, QgsProject, QgsRasterLayer
from qgis.PyQt.QtCore import QObject, QTimer

from ..paths import cache_folder
from .load import PROPERTY
from .mosaic import Mosaic
from .style import classes_of_file, style_classes

_EVERY_MS = 2000


class LiveMap(QObject):
    """Shows the chunks of one run, at most every two seconds.

    A file that QGIS has open is never written again: each step is a mosaic with a new name.

    Args:
        group: where the layer goes.
        classes: the map's classes, if they are known before the run; else the first chunk tells.
    """

    def __init__(
        self,
        project: QgsProject,
        group: QgsLayerTreeGroup,
        classes: list[dict[str, Any]],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._project, self._group, self._classes = project, group, classes
        self._folder = Path(tempfile.mkdtemp(prefix="live-", dir=str(cache_folder())))
        self._mosaic = Mosaic(self._folder)
        self._layer_id, self._first = "", ""
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._work)

    @property
    def layer(self) -> QgsRasterLayer | None:
        """The live layer; None before the first chunk, and after the user removed it."""
        return self._project.mapLayer(self._layer_id) if self._layer_id else None

    def add(self, chunk: dict[str, Any]) -> None:
        """Take a "chunk" event."""
        self._mosaic.add(str(chunk["class"]))
        if not self._first:
            self._first = str(chunk["class"])
            self._work()
        elif not self._timer.isActive():
            self._timer.start(_EVERY_MS)

    def close(self) -> None:
        """Remove the layer and the files that fed it."""
        self._timer.stop()
        layer = self.layer
        if layer is not None:
            self._project.removeMapLayer(layer.id())
        self._layer_id = ""
        shutil.rmtree(str(self._folder), ignore_errors=True)

    def _work(self) -> None:
        """Work in what waits, then show it: a little at a time, since a resumed run tells of all it has at once."""
        if self._layer_id and self.layer is None:  # the user does not want to see it
            return
        try:
            if self._mosaic.take():
                self._timer.start(0)
                return
            path = self._mosaic.write()
        except OSError:  # no space for it: what is shown stays, and the run itself tells of a full disk
            return
        if path:
            self._show(path)

    def _show(self, path: str) -> None:
        layer = self.layer
        if layer is None:
            layer = QgsRasterLayer(path, "Classes (growing)", "gdal")
            layer.setCustomProperty(PROPERTY, True)
            self._project.addMapLayer(layer, False)
            self._layer_id = layer.id()
            self._group.insertLayer(0, layer)
        else:
            layer.setDataSource(path, layer.name(), "gdal", QgsDataProvider.ProviderOptions())
        self._classes = self._classes or classes_of_file(self._first)
        style_classes(layer, self._classes)
        layer.triggerRepaint()
