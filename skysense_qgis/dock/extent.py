"""What is mapped: everything, what is in view, what lies inside of polygons, or each polygon; and where the map begins."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from qgis.core import QgsMapLayer, QgsVectorLayer
from qgis.gui import QgsMapCanvas, QgsMapLayerComboBox
from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtWidgets import QComboBox, QHBoxLayout, QWidget

from ..compat import POLYGON_LAYERS
from ..crs import crs_text
from ..forms import elastic
from .export import LAYER_NAME, export_labels
from .row import RowError
from .target import EACH, INSIDE, TARGETS, VIEW


class ExtentChoice(QWidget):
    """Chooses it.

    Signals:
        changed: another choice or layer.
    """

    changed = pyqtSignal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.kind = QComboBox(self)
        self.kind.setObjectName("extentCombo")
        self.kind.setToolTip("Map begins in the middle of what you see")
        self.polygons = QgsMapLayerComboBox(self)
        self.polygons.setObjectName("insideLayerCombo")
        self.polygons.setFilters(POLYGON_LAYERS)
        for combo in (self.kind, self.polygons):
            elastic(combo)
        line = QHBoxLayout(self)
        line.setContentsMargins(0, 0, 0, 0)
        line.addWidget(self.kind, 1)
        line.addWidget(self.polygons, 1)
        self.kind.currentTextChanged.connect(self._update)
        self._watched: QgsVectorLayer | None = None
        self.polygons.layerChanged.connect(self._watch)
        self._watch(self.polygons.currentLayer())
        self.offer(TARGETS[""].places)

    def _watch(self, layer: QgsMapLayer | None) -> None:
        """Follow the polygons of the chosen layer: without any there is nothing to map."""
        if self._watched is not None:
            self._watched.featureAdded.disconnect(self._drawn)
            self._watched.featureDeleted.disconnect(self._drawn)
            self._watched.willBeDeleted.disconnect(self._unwatch)
        self._watched = layer if isinstance(layer, QgsVectorLayer) else None
        if self._watched is not None:
            self._watched.featureAdded.connect(self._drawn)
            self._watched.featureDeleted.connect(self._drawn)
            self._watched.willBeDeleted.connect(self._unwatch)
        self.changed.emit()

    def _drawn(self, *_: object) -> None:
        self.changed.emit()

    def _unwatch(self) -> None:
        self._watched = None

    def offer(self, places: tuple[str, ...]) -> None:
        """What there is to choose from; what was chosen stays, if it is among it."""
        if places == tuple(self.kind.itemText(row) for row in range(self.kind.count())):
            return
        chosen = self.kind.currentText()
        self.kind.blockSignals(True)
        self.kind.clear()
        self.kind.addItems(places)
        self.kind.setCurrentText(chosen if chosen in places else places[0])
        self.kind.blockSignals(False)
        self._update()

    @property
    def layer(self) -> QgsVectorLayer | None:
        """The polygons that are mapped inside of, or classified."""
        layer = self.polygons.currentLayer() if self.kind.currentText() in (INSIDE, EACH) else None
        return layer if isinstance(layer, QgsVectorLayer) else None

    @property
    def missing(self) -> str:
        """What is still to be chosen before mapping, as a sentence; "" = nothing."""
        kind, layer = self.kind.currentText(), self.layer
        if kind not in (INSIDE, EACH):
            return ""
        if layer is None:
            return f"Choose the polygon layer to {'map inside of' if kind == INSIDE else 'classify'}."
        if layer.featureCount():
            return ""
        return (
            f"Draw polygons in “{layer.name()}” to map inside of."
            if kind == INSIDE
            else f"The layer “{layer.name()}” has no polygons to classify."
        )

    def options(self, canvas: QgsMapCanvas, folder: Path) -> dict[str, Any]:
        """The recipe's options; polygons are written to the run's folder as they are now.

        Raises:
            RowError: they cannot be written; a sentence.
        """
        view, crs = canvas.extent(), canvas.mapSettings().destinationCrs()
        sides = [view.xMinimum(), view.yMinimum(), view.xMaximum(), view.yMaximum()]
        options: dict[str, Any] = {}
        if crs.isValid() and not view.isEmpty() and all(math.isfinite(side) for side in sides):
            options["area_crs"] = crs_text(crs)
            options["start"] = [view.center().x(), view.center().y()]
            if self.kind.currentText() == VIEW:
                options["area"] = sides
        elif self.kind.currentText() == VIEW:
            raise RowError(
                "There is no view to map: zoom to the imagery, in a project with a coordinate system."
            )
        if self.layer is not None:
            inside = self.kind.currentText() == INSIDE
            path = folder / ("inside.gpkg" if inside else "polygons.gpkg")
            export_labels(self.layer, path)
            name = "within" if inside else "polygons"
            options |= {name: str(path), f"{name}_layer": LAYER_NAME}
        return options

    def _update(self, *_: object) -> None:
        kind = self.kind.currentText()
        self.kind.setVisible(self.kind.count() > 1)
        self.polygons.setVisible(kind in (INSIDE, EACH))
        self.polygons.setToolTip(
            "Each polygon of this layer gets a class; the layer itself stays as it is"
            if kind == EACH
            else "Only what lies inside of this layer's polygons is mapped"
        )
        self.changed.emit()
