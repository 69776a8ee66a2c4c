"""Which dates of a long series are used, in training and in mapping."""

from __future__ import annotations

from typing import Any

from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtWidgets import QComboBox, QHBoxLayout, QSpinBox, QWidget

from ..forms import elastic

#: The recipe's word for each choice, ours, and what it means.
_RULES = (
    ("all", "all", "Every date of the Sentinel series is used"),
    ("even", "evenly over the time", "Dates at even distances from the first to the last"),
    (
        "clearest",
        "the clearest",
        "The dates with the fewest clouds; of Sentinel-1, which sees through them, evenly spaced ones",
    ),
)
_USUAL, _MOST = 6, 9999
_COST = (
    "Fewer dates are faster and tell less: with six of each Sentinel instead of some twenty, maps took two thirds of the time, and were "
    "slightly worse on one scene, clearly on another. Train and Map use the same dates."
)


class DatesChoice(QWidget):
    """Chooses them.

    Signals:
        changed: another choice.
    """

    changed = pyqtSignal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.kind = QComboBox(self)
        self.kind.setObjectName("datesCombo")
        for rule, title, _ in _RULES:
            self.kind.addItem(title, rule)
        self.count = QSpinBox(self)
        self.count.setObjectName("datesCount")
        self.count.setRange(1, _MOST)
        self.count.setValue(_USUAL)
        self.count.setSuffix(" of each Sentinel")
        self.count.setToolTip(_COST)
        elastic(self.kind)
        line = QHBoxLayout(self)
        line.setContentsMargins(0, 0, 0, 0)
        line.addWidget(self.kind, 1)
        line.addWidget(self.count, 1)
        self.kind.currentIndexChanged.connect(self._update)
        self.count.valueChanged.connect(lambda _: self.changed.emit())
        self._update()

    @property
    def rule(self) -> str:
        """As the recipe has it: "all", "even:6", "clearest:6"."""
        kind = str(self.kind.currentData())
        return kind if kind == "all" else f"{kind}:{self.count.value()}"

    @property
    def options(self) -> dict[str, Any]:
        """The recipe's option; empty where all dates are used."""
        return {} if self.rule == "all" else {"dates": self.rule}

    def choose(self, rule: str) -> None:
        """Choose what `rule` gave."""
        kind, _, count = rule.partition(":")
        self.kind.setCurrentIndex(max(0, self.kind.findData(kind)))
        if count.isdigit():
            self.count.setValue(int(count))

    def _update(self, *_: object) -> None:
        self.count.setVisible(self.kind.currentIndex() > 0)
        self.kind.setToolTip(f"{_RULES[self.kind.currentIndex()][2]}. {_COST}")
        self.changed.emit()
