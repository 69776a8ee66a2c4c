"""Which field of the labels holds the day on which each of them is true."""

from __future__ import annotations

import datetime
import re

from qgis.core import QgsFeatureRequest, QgsVectorLayer
from qgis.PyQt.QtCore import QMetaType
from qgis.PyQt.QtWidgets import QComboBox, QWidget

from ..forms import elastic

#: Features whose text is looked at.
_FIRST = 20
#: A day, or a time, in a text, as the worker reads it: "2021-04-10", "20210410", "2021-04-10 11:30".
_DAY = re.compile(r"\s*([0-9]{4})([-_.]?)([0-9]{2})\2([0-9]{2})(?:$|[T\s])")


class DateFieldChoice(QComboBox):
    """Chooses it, or that labels are true on all dates."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("dateFieldCombo")
        self.setToolTip(
            "For what is true on one day only, such as a flood, a burn or bare soil: the field with the day of each polygon. A polygon "
            "then teaches how things look in the images nearest to its day, at most 30 days off, and the model maps one day at a time."
        )
        elastic(self)
        self.offer(None, "")

    @property
    def field(self) -> str:
        """ "" = labels are true on all dates."""
        return str(self.currentData() or "")

    @property
    def needed(self) -> bool:
        """There is a field to choose."""
        return self.count() > 1

    def offer(self, layer: QgsVectorLayer | None, chosen: str) -> None:
        """Offer a layer's fields that hold days, and choose one of its fields; nothing is emitted.

        Args:
            chosen: "", or a field that is no longer there: all dates. A field that holds no days yet can be chosen too: which row is
                to be mended, the worker says.
        """
        names = [] if layer is None else date_fields(layer)
        if layer is not None and chosen and chosen not in names and layer.fields().lookupField(chosen) >= 0:
            names.append(chosen)
        self.blockSignals(True)
        if ["", *names] != [self.itemData(number) for number in range(self.count())]:
            self.clear()
            self.addItem("all dates", "")
            for name in names:
                self.addItem(f"the day in “{name}”", name)
        self.setCurrentIndex(max(0, self.findData(chosen)))
        self.blockSignals(False)


def date_fields(layer: QgsVectorLayer) -> list[str]:
    """The names of a layer's fields of dates, of times with a date, and of texts of which the first ones are days."""
    fields = layer.fields()
    texts = [number for number, field in enumerate(fields) if field.type() == QMetaType.Type.QString]
    seen: dict[int, list[bool]] = {number: [] for number in texts}
    if texts:
        request = QgsFeatureRequest().setFlags(QgsFeatureRequest.Flag.NoGeometry)
        for feature in layer.getFeatures(request.setSubsetOfAttributes(texts).setLimit(_FIRST)):
            for number in texts:
                value = feature.attribute(number)
                if isinstance(value, str) and value.strip():
                    seen[number].append(_is_day(value))
    return [
        field.name()
        for number, field in enumerate(fields)
        if field.type() in (QMetaType.Type.QDate, QMetaType.Type.QDateTime)
        or (seen.get(number) and all(seen[number]))
    ]


def _is_day(text: str) -> bool:
    match = _DAY.match(text)
    try:
        return match is not None and bool(datetime.date(int(match[1]), int(match[3]), int(match[4])))
    except ValueError:
        return False
