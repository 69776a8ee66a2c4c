"""The lower part of the window "Adapt to my imagery": chart, speed, notes, progress, and how it ended."""

from __future__ import annotations

import time
from typing import Any

from qgis.PyQt.QtWidgets import QProgressBar, QVBoxLayout, QWidget

from ..duration import duration
from ..forms import wrapped_label
from .chart import LossChart
from .pace import Pace, pace_text

_CHART_HELP = (
    "The loss says how hard the model still finds its exercises. It mostly falls and then levels out; ups and downs "
    "on the way are normal."
)
_ETA_FROM = 0.03  # before that share of the work the estimate is a guess


class AdaptProgress(QWidget):
    """How a run goes."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._pace = Pace()
        self._noted: list[str] = []
        self.chart = LossChart(self)
        self.chart.setObjectName("adaptChart")
        self.chart.setToolTip(_CHART_HELP)
        self.speed = wrapped_label(self, "adaptSpeed")
        self.notes = wrapped_label(self, "adaptNotes")
        self.notes.hide()
        self.bar = QProgressBar(self)
        self.bar.setObjectName("adaptProgress")
        self.bar.setRange(0, 1000)
        self.bar.setTextVisible(False)
        self.bar.setEnabled(False)
        self.status = wrapped_label(self, "adaptStatus")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.chart, 1)
        for widget in (self.speed, self.notes, self.bar, self.status):
            layout.addWidget(widget)

    @property
    def step_s(self) -> float | None:
        """Seconds a step of the newest run; None = not known yet."""
        return self._pace.step_s

    def start(self, steps: int, anew: bool) -> None:
        """A run of so many steps starts, or goes on where it was stopped."""
        if anew:
            self.chart.clear(steps)
        self._pace = Pace()
        self._noted = []
        self.notes.hide()
        self.bar.setValue(0)
        self.bar.setEnabled(True)
        self.status.setText("Starting…")

    def advance(self, fraction: float, text: str, eta_s: float | None) -> None:
        """How far it is."""
        self.bar.setValue(round(1000 * fraction))
        left = f", {duration(eta_s)} left" if eta_s is not None and _ETA_FROM <= fraction < 1 else ""
        self.status.setText(f"{text}: {round(100 * fraction)} %{left}")

    def measure(self, figures: dict[str, Any]) -> None:
        """A step's figures, as the worker tells them."""
        self.chart.add(int(figures["step"]), float(figures["loss"]))
        self._pace.take(int(figures["step"]), time.monotonic())
        if self.step_s is not None:
            per_s = float(figures["samples_per_s"])
            self.speed.setText(f"{pace_text(self.step_s)} a step, {per_s:.1f} pieces of image a second")

    def interrupt(self) -> None:
        """The run waits, or goes on: that time is no step's."""
        self._pace.interrupt()

    def note(self, text: str) -> None:
        """Something the user should know; said once."""
        if text not in self._noted:
            self._noted.append(text)
        self.notes.setText("\n".join(f"• {note}" for note in self._noted))
        self.notes.show()

    def rest(self, whole: bool) -> None:
        """Nothing runs any more; `whole`: it ran to its end."""
        self.bar.setValue(self.bar.maximum() if whole else 0)
        self.bar.setEnabled(False)
