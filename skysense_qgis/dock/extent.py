"""What is mapped: everything, what is in view, or what lies inside of polygons; and where the map begins."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from qgis.core import QgsVectorLayer
from qgis.gui import QgsMapCanvas, QgsMapLayerComboBox
from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtWidgets import QComboBox, QHBoxLayout, QWidget

from ..compat import POLYGON_LAYERS
from ..crs import crs_text
from .export import LAYER_NAME, export_labels
from .row import RowError

ALL, VIEW, INSIDE = "all of the imagery", "what I see", "inside of polygons"


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
        self.kind.addItems([ALL, VIEW, INSIDE])
        self.kind.setToolTip("Map begins in the middle of what you see")
        self.polygons = QgsMapLayerComboBox(self)
        self.polygons.setObjectName("insideLayerCombo")
        self.polygons.setFilters(POLYGON_LAYERS)
        self.polygons.setToolTip("Only what lies inside of this layer's polygons is mapped")
        line = QHBoxLayout(self)
        line.setContentsMargins(0, 0, 0, 0)
        line.addWidget(self.kind, 1)
        line.addWidget(self.polygons, 1)
        self.kind.currentTextChanged.connect(self._update)
        self.polygons.layerChanged.connect(lambda _: self.changed.emit())
        self._update()

    @property
    def layer(self) -> QgsVectorLayer | None:
        """The polygons that are mapped inside of."""
        layer = self.polygons.currentLayer() if self.kind.currentText() == INSIDE else None
        return layer if isinstance(layer, QgsVectorLayer) else None

    @property
    def missing(self) -> str:
        """What is still to be chosen before mapping, as a sentence; "" = nothing."""
        if self.kind.currentText() != INSIDE:
            return ""
        if self.layer is None:
            return "Choose the polygon layer to map inside of."
        return (
            "" if self.layer.featureCount() else f"Draw polygons in “{self.layer.name()}” to map inside of."
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
            export_labels(self.layer, folder / "inside.gpkg")
            options |= {"within": str(folder / "inside.gpkg"), "within_layer": LAYER_NAME}
        return options

    def _update(self, *_: object) -> None:
        self.polygons.setVisible(self.kind.currentText() == INSIDE)
        self.changed.emit()
