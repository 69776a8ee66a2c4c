"""Section "2 Labels": which layer of polygons or points, what it teaches, and which of its fields hold that and the day."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qgis.core import QgsFieldProxyModel, QgsMapLayer, QgsProject, QgsProviderRegistry, QgsVectorLayer
from qgis.gui import QgsFieldComboBox, QgsMapLayerComboBox
from qgis.PyQt.QtCore import QMetaType, QTimer, pyqtSignal
from qgis.PyQt.QtWidgets import QFormLayout, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from ..compat import LABEL_LAYERS
from ..forms import elastic
from .date_field import DateFieldChoice
from .taught import TaughtChoice, is_number

_LIKELY_FIELDS = ("class", "label", "landcover", "land_cover", "category", "type", "name", "class_id")


class LabelsSection(QWidget):
    """Chooses the labels.

    Signals:
        changed: another layer, field or set of features, one of them was edited, or they teach something else.
        new_layer(QgsVectorLayer): the user asked for an empty label layer; it is in the project and being edited.
    """

    changed = pyqtSignal()
    new_layer = pyqtSignal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.layer_combo = QgsMapLayerComboBox(self)
        self.layer_combo.setObjectName("labelLayerCombo")
        self.layer_combo.setFilters(LABEL_LAYERS)
        self.layer_combo.setAllowEmptyLayer(True)
        self.layer_combo.setToolTip("The layer in which you have drawn polygons or points")
        self.field_combo = QgsFieldComboBox(self)
        self.field_combo.setObjectName("classFieldCombo")
        self.field_combo.setFilters(QgsFieldProxyModel.Filter.String | QgsFieldProxyModel.Filter.Numeric)
        self.field_combo.setToolTip(
            "The field that holds the class (its name, or a whole number from 1 to 255), or the number to map"
        )
        self.field_title = QLabel(self)
        self.taught = TaughtChoice(self)
        for combo in (self.layer_combo, self.field_combo):
            elastic(combo)
        self.date_combo = DateFieldChoice(self)
        self.date_title = QLabel("True on", self)
        self.new_button = QPushButton("New…", self)
        self.new_button.setObjectName("newLabelLayerButton")
        self.new_button.setToolTip(
            "Make an empty polygon layer with a field for what it teaches, and start drawing"
        )
        self.new_button.clicked.connect(self._make_layer)
        self.hint = QLabel(self)
        self.hint.setObjectName("labelHint")
        self.hint.setWordWrap(True)
        line = QHBoxLayout()
        line.addWidget(self.layer_combo, 1)
        line.addWidget(self.new_button)
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Layer", line)
        form.addRow(self.field_title, self.field_combo)
        form.addRow("Teaches", self.taught)
        form.addRow(self.date_title, self.date_combo)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(form)
        layout.addWidget(self.hint)
        self._watched: QgsVectorLayer | None = None
        self._seen_field = ""
        # Of edits that come all at once, such as pasted polygons, the last one counts.
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.timeout.connect(self._look_at_fields)
        self.layer_combo.setLayer(None)
        self.layer_combo.layerChanged.connect(self._layer_changed)
        self.field_combo.fieldChanged.connect(self._field_changed)
        self.taught.currentIndexChanged.connect(self._update)
        self.date_combo.currentIndexChanged.connect(self._update)
        self._layer_changed(self.layer_combo.currentLayer())

    @property
    def layer(self) -> QgsVectorLayer | None:
        layer = self.layer_combo.currentLayer()
        return layer if isinstance(layer, QgsVectorLayer) else None

    @property
    def field(self) -> str:
        return self.field_combo.currentField()

    @property
    def target(self) -> str:
        """What the labels teach, in the recipe's word."""
        return self.taught.target

    @property
    def options(self) -> dict[str, Any]:
        """The recipe's option of what the labels teach."""
        return self.taught.options

    @property
    def date_field(self) -> str:
        """The field that holds the day on which a label is true; "" = they are true on all dates."""
        return self.date_combo.field if self.target == "classes" else ""

    @property
    def fields(self) -> dict[str, str]:
        """The chosen fields as the recipe's labels have them."""
        return {"field": self.field, **({"date_field": self.date_field} if self.date_field else {})}

    @property
    def missing(self) -> str:
        """What is still to be done before training, as a sentence; "" = nothing."""
        if self.layer is None:
            return "Choose the polygon layer with the labels."
        if not self.field:
            return f"Choose the field that holds the {self.taught.words.field}."
        if self.target == "values" and not is_number(self.layer, self.field):
            return f"The field “{self.field}” holds text: choose a field of numbers, or let the labels teach classes."
        if self.layer.featureCount() == 0:
            return f"Draw {self.taught.words.draw}."
        return ""

    def as_file(self) -> dict[str, Any] | None:
        """The labels as a scene file has them; None = there are none, or they are in no file as they are shown."""
        layer = self.layer
        if layer is None or not self.field or layer.providerType() != "ogr" or layer.isModified():
            return None
        parts = QgsProviderRegistry.instance().decodeUri("ogr", layer.source())
        if not parts.get("path") or parts.get("subset") or layer.featureCount() == 0:
            return None
        labels = {"path": str(parts["path"]), "field": self.field}
        if parts.get("layerName"):
            labels["layer"] = str(parts["layerName"])
        return labels

    def choose(
        self, layer: QgsVectorLayer | None, field: str, date_field: str = "", target: str = ""
    ) -> None:
        """Select a layer of the project and its fields.

        Args:
            date_field: "" = the labels are true on all dates.
            target: what they teach; "" = what the field looks like.
        """
        self.layer_combo.setLayer(layer)
        if layer is not None and field and layer.fields().lookupField(field) >= 0:
            self.field_combo.setField(field)
        if target:
            self.taught.choose(target)
        self._offer_dates(layer, date_field)
        self._update()

    def open_file(self, path: str, layer_name: str, field: str) -> bool:
        """Select a label file, loading it into the project if it is not there; False = it cannot be opened."""
        for present in QgsProject.instance().mapLayers().values():
            if not isinstance(present, QgsVectorLayer) or present.providerType() != "ogr":
                continue
            parts = QgsProviderRegistry.instance().decodeUri("ogr", present.source())
            same = Path(str(parts.get("path") or "")) == Path(path)
            if same and (not layer_name or parts.get("layerName") in (None, "", layer_name)):
                self.choose(present, field)
                return True
        uri = f"{path}|layername={layer_name}" if layer_name else path
        layer = QgsVectorLayer(uri, "Labels", "ogr")
        if not layer.isValid():
            return False
        QgsProject.instance().addMapLayer(layer)
        self.choose(layer, field)
        return True

    def _layer_changed(self, layer: QgsMapLayer | None) -> None:
        self._watch(layer if isinstance(layer, QgsVectorLayer) else None)
        self.field_combo.blockSignals(True)  # fields on the way to the likely one tell nothing
        self.field_combo.setLayer(layer)
        if isinstance(layer, QgsVectorLayer):
            self.field_combo.setField(_likely_field(layer))
        self.field_combo.blockSignals(False)
        self._offer_dates(self.layer, "")
        self._field_changed()

    def _field_changed(self, *_: object) -> None:
        self._seen_field = self.field
        self.taught.follow(self.layer, self.field)
        self._update()

    def _offer_dates(self, layer: QgsVectorLayer | None, chosen: str) -> None:
        self.date_combo.offer(layer, chosen)
        self._show_dates()

    def _show_dates(self) -> None:
        for widget in (self.date_title, self.date_combo):
            widget.setVisible(self.date_combo.needed and self.target == "classes")

    def _look_at_fields(self) -> None:
        """The layer was edited: a field of days may be there now, or be gone, and so may the one that was chosen."""
        if self.field != self._seen_field:  # the combo has another one without a word
            self._field_changed()
        before = self.date_combo.field
        self._offer_dates(self.layer, before)
        if self.date_combo.field != before:
            self._update()

    def _watch(self, layer: QgsVectorLayer | None) -> None:
        """Follow the polygons of the chosen layer: the hint and the Train button depend on there being some, maps on how they are."""
        if self._watched is not None:
            for edited in self._edits(self._watched):
                edited.disconnect(self._edit)
            self._watched.willBeDeleted.disconnect(self._unwatch)
        self._watched = layer
        if layer is not None:
            for edited in self._edits(layer):
                edited.connect(self._edit)
            layer.willBeDeleted.connect(self._unwatch)

    @staticmethod
    def _edits(layer: QgsVectorLayer) -> tuple[Any, ...]:
        return (
            layer.featureAdded,
            layer.featureDeleted,
            layer.geometryChanged,
            layer.attributeValueChanged,
            layer.updatedFields,
        )

    def _edit(self, *_: object) -> None:
        self._soon.start()
        self._update()

    def _unwatch(self) -> None:
        self._watched = None

    def _update(self, *_: object) -> None:
        self.field_combo.setEnabled(self.layer is not None)
        self.field_title.setText(self.taught.words.title)
        self._show_dates()
        self.hint.setText(
            self.missing or f"{self.layer.featureCount()} drawn. Edits that are not saved yet count too."  # type: ignore[union-attr]
        )
        if self.layer is None:
            self.hint.setText(
                f"Choose a layer of polygons or points, or press “New…” and draw {self.taught.words.draw}, spread over the area."
            )
        self.changed.emit()

    def _make_layer(self) -> None:
        project = QgsProject.instance()
        crs = project.crs().authid() or "EPSG:4326"
        (name, kind), target = self.taught.words.new, self.target
        layer = QgsVectorLayer(f"Polygon?crs={crs}&field={name}:{kind}", "Labels", "memory")
        project.addMapLayer(layer)
        self.choose(layer, name, target=target)
        layer.startEditing()
        self.new_layer.emit(layer)


def _likely_field(layer: QgsVectorLayer) -> str:
    """The field that most likely holds what is taught: by its name, else the first, decimal numbers last."""
    names = {field.name().lower(): field.name() for field in layer.fields()}
    by_name = [names[name] for name in _LIKELY_FIELDS if name in names]
    keys = layer.primaryKeyAttributes()
    fields = [
        field
        for number, field in enumerate(layer.fields())
        if number not in keys and (field.isNumeric() or field.type() == QMetaType.Type.QString)
    ]
    fields.sort(key=lambda field: field.type() == QMetaType.Type.Double)
    return next(iter([*by_name, *(field.name() for field in fields)]), "")
