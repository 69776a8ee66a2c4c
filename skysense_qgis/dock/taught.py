"""What the labels teach: the class of every pixel, a number, or the class of whole polygons."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from qgis.core import QgsVectorLayer
from qgis.PyQt.QtCore import QMetaType
from qgis.PyQt.QtWidgets import QComboBox, QWidget

from ..forms import elastic
from .target import TARGETS

#: Classes that a map can hold.
_MOST_CLASSES = 255
#: Different whole numbers from which on they are taken for measures where there are fewer polygons than this for each.
_MANY, _POLYGONS_EACH = 12, 3


@dataclass(frozen=True)
class Words:
    """What the labels section says where labels teach it.

    Attributes:
        field: what is in the field, and title: of its row.
        draw: what is to be drawn.
        new: name and type of the field of a new layer.
        not_drawing: why it cannot be mapped while the user draws; "" = it can.
    """

    field: str
    title: str
    draw: str
    new: tuple[str, str]
    not_drawing: str = ""


_CLASS = Words("class", "Class field", "a few polygons for each class", ("class", "string(80)"))
_NUMBER = Words("number", "Number field", "polygons of small and of large numbers", ("value", "double"))
#: By the recipe's targets that need no more than a layer and a field; Processing has the others too.
WORDS = {
    "classes": _CLASS,
    "values": _NUMBER,
    "polygons": replace(
        _CLASS, not_drawing="Not for the class of whole polygons: train, then classify them."
    ),
}


class TaughtChoice(QComboBox):
    """Chooses it."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("taughtCombo")
        self.setToolTip(
            "What the field says of a place, and what is then made: a map of classes such as land cover or crops, a map of numbers such "
            "as height or yield, or one class for each polygon of a layer, such as parcels. Changes and objects are trained in the "
            "Processing toolbox."
        )
        elastic(self)
        for name in WORDS:
            self.addItem(TARGETS[name].taught, name)

    @property
    def target(self) -> str:
        """In the recipe's word."""
        return str(self.currentData())

    @property
    def words(self) -> Words:
        return WORDS[self.target]

    @property
    def options(self) -> dict[str, Any]:
        """The recipe's option; empty for classes of pixels."""
        return {} if self.target == "classes" else {"target": self.target}

    def choose(self, target: str) -> None:
        self.setCurrentIndex(max(0, self.findData(target)))

    def follow(self, layer: QgsVectorLayer | None, field: str) -> None:
        """Another field is chosen: measures teach a number, all else classes, of polygons or pixels as they did before."""
        numbers = holds_numbers(layer, field)
        if numbers != (self.target == "values"):
            self.choose("values" if numbers else "classes")


def is_number(layer: QgsVectorLayer | None, field: str) -> bool:
    """The layer has such a field, of whole or decimal numbers."""
    place = -1 if layer is None else layer.fields().lookupField(field)
    return place >= 0 and layer.fields().at(place).isNumeric()


def holds_numbers(layer: QgsVectorLayer | None, field: str) -> bool:
    """A field looks like measures, and not like classes or their ids: fractions, or whole numbers with hardly a polygon for each."""
    if not is_number(layer, field):
        return False
    assert layer is not None
    place, count = layer.fields().lookupField(field), layer.featureCount()
    # An empty row counts as a value (NULL), so one more is asked for than there can be classes.
    found = [v for v in layer.uniqueValues(place, _MOST_CLASSES + 2) if isinstance(v, (int, float))]
    if not found:
        return layer.fields().at(place).type() == QMetaType.Type.Double
    # Tables of other programs hold ids in decimal fields; -1 stands for an unknown number of rows.
    sparse = 0 <= count < _POLYGONS_EACH * len(found)
    broken = any(isinstance(v, float) and not v.is_integer() for v in found)
    return broken or len(found) > _MOST_CLASSES or (len(found) >= _MANY and sparse)
