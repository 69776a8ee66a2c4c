"""Which day a model of labels of single days maps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from qgis.PyQt.QtWidgets import QComboBox, QWidget

from ..forms import elastic


class DayChoice(QComboBox):
    """Chooses one of the scene's days, or the newest, whichever that is."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("dayCombo")
        self.setToolTip(
            "This model maps one day: of each sensor the images nearest to it, at most 30 days off. The newest is the last day that all "
            "sensors of the model have images of."
        )
        elastic(self)
        self.addItem("the newest", "")

    @property
    def options(self) -> dict[str, Any]:
        """The recipe's option; empty for the newest."""
        return {"at": self.currentData()} if self.currentData() else {}

    def offer(self, days: Iterable[str]) -> None:
        """Offer these days, ISO dates, the newest first; the chosen one stays while it is among them."""
        entries = ["", *sorted(days, reverse=True)]
        if entries == [self.itemData(number) for number in range(self.count())]:
            return
        chosen = self.currentData()
        self.blockSignals(True)
        self.clear()
        for day in entries:
            self.addItem(day or "the newest", day)
        self.setCurrentIndex(max(0, self.findData(chosen)))
        self.blockSignals(False)
        if self.currentData() != chosen:
            self.currentIndexChanged.emit(0)
