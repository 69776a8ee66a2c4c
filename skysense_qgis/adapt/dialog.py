"""The window "Adapt to my imagery": what, how long, and how it goes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from qgis.PyQt.QtCore import QEvent, Qt, pyqtSignal
from qgis.PyQt.QtGui import QShowEvent
from qgis.PyQt.QtWidgets import (
    QComboBox,
    QDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from ..duration import duration
from ..models.picker import model_title
from ..worker.client import WorkerClient
from ..worker.messages import Failure
from .chart import LossChart
from .folders import FolderList
from .pace import Pace, pace_text, remember_pace, remembered_pace
from .plan import LENGTHS, MODEL_FILE, TASK, adaptation, folder_name, free_name, length_text

_INTRODUCTION = (
    "Lets the model look at your images for a while, so that what it sees in them fits them better. It needs no "
    "labels. The images stay on this computer and are not changed; the result is a new base model for Train."
)
_CHART_HELP = (
    "The loss says how hard the model still finds its exercises. It mostly falls and then levels out; ups and downs "
    "on the way are normal."
)
_ETA_FROM = 0.03  # before that share of the work the estimate is a guess


class AdaptDialog(QDialog):
    """Says what is chosen, and shows the run, which belongs to the panel: it goes on when the window is closed.

    Args:
        client: the worker; it tells where models are kept.

    Signals:
        start: the button Start was pressed; `recipe` then makes the recipe.
        pause(bool): the run shall wait, or go on.
        cancel: it shall stop.
    """

    start = pyqtSignal()
    pause = pyqtSignal(bool)
    cancel = pyqtSignal()

    def __init__(self, client: WorkerClient, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("adaptDialog")
        self.setWindowTitle("Adapt to my imagery")
        self._client = client
        self._folder = ""  # of models; empty until the worker has told it
        self._asking = False
        self._scene_title, self._images = "", 0
        self._base_title, self._base = "", ""
        self._missing, self._busy = "", False  # as the panel says
        self._recipe: dict[str, Any] = {}  # of the run that is shown
        self._running = self._paused = False
        self._pausing = self._cancelling = False  # was asked for, and is not answered yet
        self._notes: list[str] = []
        self._said = ""  # how the last run ended
        self._pace = Pace()
        self._build()
        self._connect()
        self._show_notes()
        self._update()

    def _build(self) -> None:
        introduction = _text(self, "adaptIntroduction")
        introduction.setText(_INTRODUCTION)
        self.base = _text(self, "adaptBase")
        self.images = _text(self, "adaptImages")
        self.folders = FolderList(self)
        self.length = QComboBox(self)
        self.length.setObjectName("adaptLength")
        self.length.setToolTip("The longer, the better it fits; Short shows whether it is worth it")
        for title, steps in LENGTHS:
            self.length.addItem(length_text(title, steps, None), steps)
        self.name = QLineEdit(self)
        self.name.setObjectName("adaptName")
        self.place = _text(self, "adaptPlace")
        self.chart = LossChart(self)
        self.chart.setObjectName("adaptChart")
        self.chart.setToolTip(_CHART_HELP)
        self.speed = _text(self, "adaptSpeed")
        self.notes = _text(self, "adaptNotes")
        self.bar = QProgressBar(self)
        self.bar.setObjectName("adaptProgress")
        self.bar.setRange(0, 1000)
        self.bar.setTextVisible(False)
        self.status = _text(self, "adaptStatus")
        self.start_button = _button(self, "Start", "adaptStartButton")
        self.pause_button = _button(self, "Pause", "adaptPauseButton")
        self.cancel_button = _button(self, "Cancel", "adaptCancelButton")
        self.close_button = _button(self, "Close", "adaptCloseButton")
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Begin with", self.base)
        form.addRow("Images", self.images)
        form.addRow("More images", self.folders)
        form.addRow("How long", self.length)
        form.addRow("Name", self.name)
        form.addRow("Saved as", self.place)
        buttons = QHBoxLayout()
        buttons.addStretch(1)
        for button in (self.start_button, self.pause_button, self.cancel_button, self.close_button):
            buttons.addWidget(button)
        layout = QVBoxLayout(self)
        layout.addWidget(introduction)
        layout.addLayout(form)
        layout.addWidget(self.chart, 1)
        for widget in (self.speed, self.notes, self.bar, self.status):
            layout.addWidget(widget)
        layout.addLayout(buttons)
        self.resize(600, 640)

    def _connect(self) -> None:
        self.folders.changed.connect(self._chosen)
        self.name.textEdited.connect(self._chosen)
        self.length.activated.connect(self._chosen)
        self.start_button.clicked.connect(lambda _=False: self.start.emit())
        self.pause_button.clicked.connect(lambda _=False: self._ask_pause())
        self.cancel_button.clicked.connect(lambda _=False: self.cancel.emit())
        self.close_button.clicked.connect(lambda _=False: self.hide())

    def event(self, event: QEvent) -> bool:
        """Texts of several lines get their height; a dialog does not grow by itself."""
        handled = super().event(event)
        if event.type() in (QEvent.Type.LayoutRequest, QEvent.Type.Resize) and self.layout() is not None:
            self.setMinimumHeight(self.layout().totalHeightForWidth(self.width()))
        return handled

    def showEvent(self, event: QShowEvent) -> None:
        """Ask the worker where models are kept, until it has told it once."""
        super().showEvent(event)
        if self._folder or self._asking:
            return

        def told(answer: dict[str, Any]) -> None:
            self._asking = False
            self._folder, self._said = str(answer["folder"]), ""
            self._name_anew()

        def failed(failure: Failure) -> None:
            self._asking = False
            self._rest(failure.sentence)

        self._asking = True
        self._client.request("hub", {}, told, failed)

    # From the panel -------------------------------------------------------------------------------------------------

    def set_panel(
        self, title: str, images: int, base_title: str, base: str, missing: str, busy: bool
    ) -> None:
        """What is in the panel.

        Args:
            title: of the scene.
            images: rows that the scene has.
            base_title, base: the base model's name and file; "" = it has no file.
            missing: what must be done there first, as a sentence; "" = nothing.
            busy: a run is in progress.
        """
        renamed = title != self._scene_title
        self._scene_title, self._images = title, images
        self._base_title, self._base = base_title, base
        self._missing, self._busy = missing, busy
        if renamed and not self._running:
            self._name_anew()
        self._update()

    @property
    def missing(self) -> str:
        """What must be done before Start, as a sentence; "" = nothing."""
        name = folder_name(self.name.text())
        if self._busy:
            return "A run is in progress."
        if self._missing:
            return self._missing
        if not self._images and not self.folders.paths:
            return "Add images in the panel, or a folder of images here."
        if not self._folder:
            return "Asking where models are kept…"
        if not name:
            return "Give the new model a name."
        if (Path(self._folder) / name).exists():
            return "There is a model of that name. Choose another name."
        return ""

    def recipe(self, scene: dict[str, Any] | None) -> dict[str, Any]:
        """The recipe of what is chosen, with the panel's scene (absolute paths; None = it has no images)."""
        output = Path(self._folder) / folder_name(self.name.text())
        steps = int(self.length.currentData())
        return adaptation(scene, self.folders.paths, self._base, steps, output)

    # The run, as the worker tells it --------------------------------------------------------------------------------

    def started(self, recipe: dict[str, Any]) -> None:
        """A run has started; another task's is none of ours."""
        self._running = recipe["task"] == TASK
        if not self._running:
            return
        if recipe["output"] != self._recipe.get("output"):  # else it goes on where it stopped
            self.chart.clear(int(recipe["options"]["steps"]))
        self._recipe, self._notes, self._said = recipe, [], ""
        self._paused = self._pausing = self._cancelling = False
        self._pace.interrupt()
        self.status.setText("Starting…")
        self._show_notes()
        self._update()

    def progressed(self, fraction: float, text: str, eta_s: float | None) -> None:
        if not self._running or self._paused or self._pausing or self._cancelling:
            return
        self.bar.setValue(round(1000 * fraction))
        left = f", {duration(eta_s)} left" if eta_s is not None and _ETA_FROM <= fraction < 1 else ""
        self.status.setText(f"{text}: {round(100 * fraction)} %{left}")

    def measured(self, figures: dict[str, Any]) -> None:
        if not self._running:
            return
        self.chart.add(int(figures["step"]), float(figures["loss"]))
        self._pace.take(int(figures["step"]), time.monotonic())
        if self._pace.step_s is not None:
            per_s = float(figures["samples_per_s"])
            self.speed.setText(f"{pace_text(self._pace.step_s)} a step, {per_s:.1f} pieces of image a second")
            self._update()

    def noted(self, text: str) -> None:
        if self._running and text not in self._notes:
            self._notes.append(text)
            self._show_notes()

    def paused(self, paused: bool) -> None:
        if not self._running:
            return
        self._paused, self._pausing = paused, False
        self._pace.interrupt()
        self.status.setText(
            "Paused. Continue when you like: it goes on where it stopped." if paused else "Going on…"
        )
        self._update()

    def cancelling(self) -> None:
        """It was asked to stop."""
        if self._running:
            self._cancelling = True
            self.status.setText("Stopping…")
            self._update()

    def finished(self, model: str, took: str) -> None:
        """The new base model is chosen in the panel."""
        if self._running:
            self.bar.setValue(self.bar.maximum())
            if self._pace.step_s is not None:  # it is as large as the one that it comes from
                remember_pace(model, self._pace.step_s)
            self._rest(
                f"Done in {took}: “{model_title(model)}” is now the base model. "
                "Close this window and press Train to use it."
            )

    def failed(self, failure: Failure) -> None:
        if self._running:
            self.bar.setValue(0)
            self._rest("Cancelled." if failure.cancelled else failure.sentence)

    def _rest(self, said: str) -> None:
        if self._running and self._pace.step_s is not None:
            remember_pace(str(self._recipe.get("model", "")), self._pace.step_s)
        self._running = self._paused = False
        self._said = said
        self._name_anew()

    # Showing --------------------------------------------------------------------------------------------------------

    def _ask_pause(self) -> None:
        self._pausing = True
        self.status.setText("Going on…" if self._paused else "Pausing after this step…")
        self._update()
        self.pause.emit(not self._paused)

    def _chosen(self, *_: object) -> None:
        """Something else was chosen: how the last run ended does not count any more."""
        self._said = ""
        self._update()

    def _name_anew(self) -> None:
        """Suggest a name that is free."""
        if self._folder:
            self.name.setText(free_name(Path(self._folder), f"{self._scene_title or 'model'} adapted"))
        self._update()

    def _show_notes(self) -> None:
        self.notes.setText("\n".join(f"• {note}" for note in self._notes))
        self.notes.setVisible(bool(self._notes))

    def _update(self, *_: object) -> None:
        idle, missing = not self._running, self.missing
        for widget in (self.folders, self.length, self.name):
            widget.setEnabled(idle)
        self.start_button.setEnabled(not missing)
        self.start_button.setToolTip(missing or "Begin; the window may be closed meanwhile")
        self.pause_button.setText("Continue" if self._paused else "Pause")
        self.pause_button.setEnabled(self._running and not self._pausing and not self._cancelling)
        self.cancel_button.setEnabled(self._running and not self._cancelling)
        self.bar.setEnabled(not idle)
        if not idle:
            return
        self.base.setText(self._base_title)
        count = self._images
        self.images.setText(
            f"{count} image{'s' if count > 1 else ''} of the panel" if count else "none in the panel"
        )
        name = folder_name(self.name.text())
        self.place.setText(str(Path(self._folder, name, MODEL_FILE)) if self._folder and name else "–")
        step_s = remembered_pace(self._base)
        for number, (title, steps) in enumerate(LENGTHS):
            self.length.setItemText(number, length_text(title, steps, step_s))
        self.speed.setText(
            f"Last time a step took {pace_text(step_s)}."
            if step_s
            else "How long it takes is known after the first steps."
        )
        self.status.setText(self._said or missing)


def _text(parent: QWidget, name: str) -> QLabel:
    label = QLabel(parent)
    label.setObjectName(name)
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return label


def _button(parent: QWidget, text: str, name: str) -> QPushButton:
    button = QPushButton(text, parent)
    button.setObjectName(name)
    button.setAutoDefault(False)
    return button
