"""The window "Adapt to my imagery": what is chosen above, how it goes below."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtGui import QShowEvent
from qgis.PyQt.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from ..forms import GrowingDialog, plain_button, wrapped_label
from ..models.picker import model_title
from ..worker.client import WorkerClient
from ..worker.messages import Failure
from .form import AdaptForm, Panel
from .pace import pace_text, remember_pace
from .plan import TASK
from .progress import AdaptProgress

if TYPE_CHECKING:
    from ..dock.jobs import JobRunner

_INTRODUCTION = (
    "Lets the model look at your images for a while, so that what it sees in them fits them better. It needs no "
    "labels. The images stay on this computer and are not changed; the result is a new base model for Train."
)

_PACE_UNKNOWN = (
    "High-resolution images take longest. How long it takes on this computer shows after the first steps; you can "
    "pause or stop at any time."
)


class AdaptDialog(GrowingDialog):
    """Starts a run and shows it; the run is the panel's and goes on when the window is closed.

    Args:
        client: the worker; it tells where models are kept.
        jobs: the panel's runs.

    Signals:
        start, cancel: a button was pressed. `form.recipe` is what shall be started.
    """

    start = pyqtSignal()
    cancel = pyqtSignal()

    def __init__(self, client: WorkerClient, jobs: JobRunner, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("adaptDialog")
        self.setWindowTitle("Adapt to my imagery")
        self._client, self._jobs = client, jobs
        self._asking = False
        self._recipe: dict[str, Any] = {}  # of the run that is shown
        self._running = self._paused = False
        self._pausing = self._cancelling = False  # was asked for, and is not answered yet
        self._said = ""  # how the last run ended
        self._build()
        self._connect()
        self._update()

    def _build(self) -> None:
        introduction = wrapped_label(self, "adaptIntroduction")
        introduction.setText(_INTRODUCTION)
        self.form = AdaptForm(self)
        self.progress = AdaptProgress(self)
        self.start_button = plain_button(self, "Start", "adaptStartButton")
        self.pause_button = plain_button(self, "Pause", "adaptPauseButton")
        self.cancel_button = plain_button(self, "Cancel", "adaptCancelButton")
        self.close_button = plain_button(self, "Close", "adaptCloseButton")
        buttons = QHBoxLayout()
        buttons.addStretch(1)
        for button in (self.start_button, self.pause_button, self.cancel_button, self.close_button):
            buttons.addWidget(button)
        layout = QVBoxLayout(self)
        layout.addWidget(introduction)
        layout.addWidget(self.form)
        layout.addWidget(self.progress, 1)
        layout.addLayout(buttons)
        self.resize(600, 720)

    def _connect(self) -> None:
        self.form.changed.connect(self._chosen)
        self.start_button.clicked.connect(lambda _=False: self.start.emit())
        self.pause_button.clicked.connect(lambda _=False: self._pause())
        self.cancel_button.clicked.connect(lambda _=False: self.cancel.emit())
        self.close_button.clicked.connect(lambda _=False: self.hide())
        self._jobs.started.connect(self._started)
        self._jobs.progressed.connect(self._progressed)
        self._jobs.measured.connect(self._measured)
        self._jobs.noted.connect(self._noted)
        self._jobs.paused.connect(self._waits)

    def showEvent(self, event: QShowEvent) -> None:
        """Ask the worker where models are kept, until it has told it once."""
        super().showEvent(event)
        if self.form.models or self._asking:
            return

        def told(answer: dict[str, Any]) -> None:
            self._asking, self._said = False, ""
            self.form.models = str(answer["folder"])
            self.form.suggest_name()
            self._update()

        def failed(failure: Failure) -> None:
            self._asking, self._said = False, failure.sentence
            self._update()

        self._asking = True
        self._client.request("hub", {}, told, failed)

    # The panel tells ------------------------------------------------------------------------------------------------

    def set_panel(self, panel: Panel) -> None:
        """What the panel holds now."""
        renamed = panel.title != self.form.panel.title
        self.form.panel = panel
        if renamed and not self._running:
            self.form.suggest_name()
        self._update()

    def cancelling(self) -> None:
        """The run was asked to stop."""
        if self._running:
            self._cancelling = True
            self.progress.status.setText("Stopping…")
            self._update()

    def finished(self, model: str, took: str) -> None:
        """The new base model is there, and chosen in the panel."""
        if self.progress.step_s is not None:  # it is as large as the one that it comes from
            remember_pace(model, self.progress.step_s)
        self._rest(
            f"Done in {took}: “{model_title(model)}” is now the base model. Close this window and press Train to "
            "use it.",
            whole=True,
        )

    def failed(self, failure: Failure, resume: bool) -> None:
        """The run ended otherwise; `resume`: the panel offers to go on with it."""
        if self._running:
            said = "Cancelled." if failure.cancelled else failure.sentence
            self._rest(f"{said} Press Resume in the panel to go on." if resume else said)

    # The run tells --------------------------------------------------------------------------------------------------

    def _started(self, recipe: dict[str, Any]) -> None:
        self._running = recipe["task"] == TASK
        if not self._running:
            return
        self.progress.start(int(recipe["options"]["steps"]), recipe["output"] != self._recipe.get("output"))
        self._recipe, self._said = recipe, ""
        self._paused = self._pausing = self._cancelling = False
        self._update()

    def _progressed(self, fraction: float, text: str, eta_s: float | None) -> None:
        if self._running and not (self._paused or self._pausing or self._cancelling):
            self.progress.advance(fraction, text, eta_s)

    def _measured(self, figures: dict[str, Any]) -> None:
        if self._running:
            self.progress.measure(figures)

    def _noted(self, text: str) -> None:
        if self._running:
            self.progress.note(text)

    def _waits(self, paused: bool) -> None:
        if self._running:
            self._paused, self._pausing = paused, False
            self.progress.interrupt()
            self.progress.status.setText(
                "Paused. Continue when you like: it goes on where it stopped." if paused else "Going on…"
            )
            self._update()

    def _rest(self, said: str, whole: bool = False) -> None:
        if self.progress.step_s is not None:
            remember_pace(str(self._recipe.get("model", "")), self.progress.step_s)
        self._running, self._said = False, said
        self.progress.rest(whole)
        self.form.suggest_name()
        self._update()

    # The user -------------------------------------------------------------------------------------------------------

    def _pause(self) -> None:
        self._pausing = True
        self.progress.status.setText("Going on…" if self._paused else "Pausing after this step…")
        self._update()
        if self._paused:
            self._jobs.go_on()
        else:
            self._jobs.pause()

    def _chosen(self) -> None:
        """Something else was chosen: how the last run ended does not count any more."""
        self._said = ""
        self._update()

    def _update(self) -> None:
        missing = self.form.missing
        self.form.setEnabled(not self._running)
        self.start_button.setEnabled(not missing and not self._running)
        self.start_button.setToolTip(missing or "Begin; the window may be closed meanwhile")
        self.pause_button.setText("Continue" if self._running and self._paused else "Pause")
        self.pause_button.setEnabled(self._running and not self._pausing and not self._cancelling)
        self.cancel_button.setEnabled(self._running and not self._cancelling)
        if self._running:
            return
        self.form.show_choices()
        step_s = self.form.step_s
        self.progress.speed.setText(
            f"Last time a step took {pace_text(step_s)}." if step_s else _PACE_UNKNOWN
        )
        self.progress.status.setText(self._said or missing)


def can_resume(recipe: dict[str, Any]) -> bool:
    """A stopped run has left a checkpoint to go on from."""
    return any(Path(recipe["output"], "checkpoints").glob("step-*"))
