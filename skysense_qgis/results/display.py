"""Where a run's results appear in the project: first the growing map, then the finished ones, in one group."""

from __future__ import annotations

from typing import Any

from qgis.core import QgsLayerTreeGroup, QgsMapLayer, QgsProject, QgsVectorLayer
from qgis.PyQt import sip
from qgis.PyQt.QtCore import QObject

from .live import LiveMap
from .load import add_group, is_features, load_maps
from .places import load_places


class ResultDisplay(QObject):
    """Shows one run at a time. The user may delete or move what it shows at any moment."""

    def __init__(self, project: QgsProject, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._project = project
        self._group: QgsLayerTreeGroup | None = None
        self._live: LiveMap | None = None
        self._classes: dict[str, list[dict[str, Any]]] = {}
        self.layers: list[QgsMapLayer] = []

    def remember_classes(self, model: str, classes: list[dict[str, Any]]) -> None:
        """Classes of a model that was trained here: its growing map then has names from the start."""
        self._classes[model] = classes

    def grow(self, chunk: dict[str, Any], scene_name: str, model: str) -> None:
        """Show one more chunk."""
        if self._live is None:
            self._group = add_group(self._project, scene_name)
            self._live = LiveMap(self._project, self._group, self._classes.get(model, []), self)
        self._live.add(chunk)

    def finish(
        self, result: dict[str, Any], recipe: dict[str, Any], dates: list[str], scene_name: str
    ) -> QgsLayerTreeGroup:
        """Put what was made in the place of the growing map; returns its group.

        Raises:
            ValueError: a layer cannot be opened; a sentence.
        """
        group = self._group if self._live is not None else None
        if group is None or sip.isdeleted(group):
            group = add_group(self._project, scene_name, on_top=is_features(result))
        self._group = group
        try:
            self.layers = list(load_maps(self._project, group, result, recipe, dates))
        finally:
            self._close_live()
        return group

    def show_places(self, path: str) -> QgsVectorLayer:
        """Show suggested places on top of the newest maps.

        Raises:
            ValueError: the file cannot be opened; a sentence.
        """
        group = self._group
        if group is None or sip.isdeleted(group):
            group = self._group = add_group(self._project, "suggestions")
        return load_places(self._project, group, path)

    def forget_places(self, path: str) -> None:
        """Remove the layers of a file of suggestions that is to be written anew."""
        old = [
            key for key, layer in self._project.mapLayers().items() if layer.source().split("|")[0] == path
        ]
        self._project.removeMapLayers(old)

    def drop(self) -> None:
        """The run ended without a map, or the project is closed: remove the growing one."""
        if self._live is None:
            return
        self._close_live()
        group, self._group = self._group, None
        if (
            group is not None
            and not sip.isdeleted(group)
            and not group.children()
            and group.parent() is not None
        ):
            group.parent().removeChildNode(group)

    def _close_live(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.close()
            live.deleteLater()
