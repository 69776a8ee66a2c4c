"""Section "3 Train and map": base model, the two buttons, trained model, output folder, progress and Cancel."""

from __future__ import annotations

from typing import Any

from qgis.gui import QgsFileWidget
from qgis.PyQt.QtCore import Qt, QUrl, pyqtSignal
from qgis.PyQt.QtWidgets import (
    QCheckBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from ..duration import duration
from ..models.header import read_moment, read_target
from ..models.picker import ModelPicker
from ..worker.client import WorkerClient
from .dates import DatesChoice
from .day import DayChoice
from .extent import ExtentChoice
from .target import TARGETS, Target

_ETA_FROM = 0.03  # before that share of the work the estimate is a guess


class RunSection(QWidget):
    """What is pressed, and how far it is.

    Args:
        client: the worker, for the choice of the base model.

    Attributes:
        controls: the buttons, the progress and the status, for a place that is always in sight.

    Signals:
        train, map, cancel, adapt: a button was pressed.
        suggest: the user wants to know where to draw next.
        follow(bool): map while the user draws, or stop that.
        changed: another base model, trained model or output folder.
    """

    train = pyqtSignal()
    map = pyqtSignal()
    cancel = pyqtSignal()
    adapt = pyqtSignal()
    suggest = pyqtSignal()
    follow = pyqtSignal(bool)
    changed = pyqtSignal()

    def __init__(self, client: WorkerClient, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.base = ModelPicker(client, self)
        self.train_button = self._button("Train", "trainButton", self.train)
        self.map_button = self._button("Map", "mapButton", self.map)
        self.suggest_button = self._button("Where to draw next", "suggestButton", self.suggest)
        self.cancel_button = self._button("Cancel", "cancelButton", self.cancel)
        self.adapt_button = self._button("Adapt to my imagery…", "adaptButton", self.adapt)
        self.adapt_button.setToolTip("Let the base model look at your images, so that it fits them better")
        self.follow_box = QCheckBox("Map what I see while I draw", self)
        self.follow_box.setObjectName("followBox")
        self.allow_following("")
        self.follow_box.toggled.connect(self.follow)
        self.model = QgsFileWidget(self)
        self.model.setObjectName("modelPathWidget")
        self.model.setStorageMode(QgsFileWidget.StorageMode.GetFile)
        self.model.setFilter("SkySense models (*.safetensors)")
        self.model.setDialogTitle("Model to map with")
        self.model.lineEdit().setPlaceholderText("the one you train here, or choose a file")
        self.model.setToolTip(
            "The trained model that Map uses: filled in by Train, or a file from an earlier training"
        )
        self.folder = QgsFileWidget(self)
        self.folder.setObjectName("outputFolderWidget")
        self.folder.setStorageMode(QgsFileWidget.StorageMode.GetDirectory)
        self.folder.setDialogTitle("Folder for models and maps")
        self.folder.setToolTip("Each run makes a folder of its own in it")
        self.extent = ExtentChoice(self)
        self.where = QLabel(self)
        self.dates = DatesChoice(self)
        self.dates.changed.connect(self.changed)
        self.dates_title = QLabel("Dates", self)
        self.day = DayChoice(self)
        self.day_title = QLabel("Day", self)
        self.extent.changed.connect(self.changed)
        self.base.changed.connect(self.changed)
        for widget in (self.model, self.folder):
            widget.fileChanged.connect(self.changed)
        self.bar = QProgressBar(self)
        self.bar.setObjectName("progressBar")
        self.bar.setRange(0, 1000)
        self.bar.setTextVisible(False)
        self.bar.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.status = QLabel(self)
        self.status.setObjectName("runStatus")
        self.status.setWordWrap(True)
        self.status.setOpenExternalLinks(True)
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        base = QHBoxLayout()
        base.addWidget(self.base, 1)
        base.addWidget(self.adapt_button, 0, Qt.AlignmentFlag.AlignTop)
        form.addRow("Base model", base)
        form.addRow(self.dates_title, self.dates)
        form.addRow("Trained model", self.model)
        form.addRow(self.where, self.extent)
        form.addRow(self.day_title, self.day)
        form.addRow("Output folder", self.folder)
        buttons = QHBoxLayout()
        buttons.addWidget(self.train_button, 1)
        buttons.addWidget(self.map_button, 1)
        progress = QHBoxLayout()
        progress.addWidget(self.bar, 1)
        progress.addWidget(self.cancel_button)
        more = QHBoxLayout()
        more.addWidget(self.follow_box, 1)
        more.addWidget(self.suggest_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(form)
        self.controls = QWidget(self)
        below = QVBoxLayout(self.controls)
        for line in (buttons, more, progress):
            below.addLayout(line)
        below.addWidget(self.status)
        self.set_idle("")

    def allow_following(self, why_not: str) -> None:
        """Offer to map while the user draws, or say why not.

        Args:
            why_not: a sentence; "" = what the labels teach can be mapped so.
        """
        self.follow_box.setEnabled(not why_not)
        if why_not:
            self.follow_box.setChecked(False)
        self.follow_box.setToolTip(
            why_not
            or "After each edit of the labels the model learns again and the area in view is repainted, in seconds once it has been "
            "looked at. Train makes the model to keep, with a report on how good it is."
        )

    def show_dates(self, longest: int) -> None:
        """Offer the choice of dates where there is one.

        Args:
            longest: dates of the longest series.
        """
        for widget in (self.dates_title, self.dates):
            widget.setVisible(longest > 1)

    def show_day(self, days: dict[str, set[str]], dated: bool) -> None:
        """Offer the day to map where one is mapped: by the trained model, or while the user draws.

        Args:
            days: of the scene's images, with the sensors of each.
            dated: the labels are true on one day each.
        """
        sensors, looking = read_moment(self._model_path), dated and self.follow_box.isChecked()
        self.day.offer(day for day, seen in days.items() if not sensors or seen & sensors)
        for widget in (self.day_title, self.day):
            widget.setVisible(bool(sensors) or looking)

    @property
    def day_options(self) -> dict[str, Any]:
        """The recipe's option of the day that the trained model maps; empty for a model that maps all dates."""
        return self.day.options if read_moment(self._model_path) else {}

    @property
    def _model_path(self) -> str:
        return self.model.filePath().strip()

    @property
    def target(self) -> Target:
        """What the trained model makes, by its file as it is now."""
        return TARGETS.get(read_target(self._model_path), TARGETS[""])

    def show_target(self) -> None:
        """Let the button and the choice of places be the trained model's."""
        target = self.target
        if target.button != self.map_button.text():
            self._said = ""  # how the last run ended is of another model
        self.map_button.setText(target.button)
        self.where.setText(target.row)
        self.extent.offer(target.places)

    def set_missing(self, train: str, map_: str, busy: bool) -> None:
        """Enable the buttons; a disabled one's tooltip and the status line say what is missing.

        Args:
            train, map_: what must be done first, as a sentence; "" = nothing.
        """
        self.train_button.setEnabled(not busy and not train)
        self.map_button.setEnabled(not busy and not map_)
        running = "A run is in progress."
        self.train_button.setToolTip(running if busy else train or "Learn from what is drawn")
        self.map_button.setToolTip(running if busy else map_ or self.target.tip)
        for widget in (self.base, self.dates, self.model, self.extent, self.day, self.folder):
            widget.setEnabled(not busy)
        if not busy and not self._said:
            if not map_:
                self.status.setText(self.next_map)
            elif self._model_path:
                self.status.setText(map_)
            else:
                self.status.setText(train or "Next: press Train.")

    @property
    def next_map(self) -> str:
        """What to do once there is a model."""
        return f"Next: press {self.map_button.text()}."

    def set_map(self, mapped: bool, busy: bool) -> None:
        """Whether there is a map to say where to draw next."""
        self.suggest_button.setEnabled(mapped and not busy)
        self.suggest_button.setToolTip(
            "Mark the places where the newest map is least sure: polygons there help most"
            if mapped
            else "Press Map first, with a model of classes"
        )

    def set_busy(self, text: str) -> None:
        """A run has started."""
        self._said = ""
        self.bar.setValue(0)
        self.bar.setEnabled(True)
        self.cancel_button.setEnabled(True)
        self.cancel_button.setToolTip("Stop the run")
        self.status.setText(text)

    def set_progress(self, fraction: float, text: str, eta_s: float | None) -> None:
        """Show how far it is."""
        self.bar.setValue(round(1000 * fraction))
        left = f", {duration(eta_s)} left" if eta_s is not None and _ETA_FROM <= fraction < 1 else ""
        self.status.setText(f"{text}: {round(100 * fraction)} %{left}")

    def set_paused(self, paused: bool) -> None:
        """The run waits, or goes on."""
        self.status.setText("Paused. “Adapt to my imagery…” lets it go on." if paused else "Going on…")

    def set_cancelling(self) -> None:
        self.cancel_button.setEnabled(False)
        self.status.setText("Stopping…")

    def set_idle(self, said: str) -> None:
        """No run is in progress; `said` is how the last one ended ("" = say what comes next)."""
        self._said = said
        self.bar.setValue(0)
        self.bar.setEnabled(False)
        self.cancel_button.setEnabled(False)
        self.cancel_button.setToolTip("Nothing is running")
        self.status.setText(said)

    def _button(self, text: str, name: str, signal: pyqtSignal) -> QPushButton:
        button = QPushButton(text, self)
        button.setObjectName(name)
        button.clicked.connect(lambda _=False: signal.emit())
        return button


def quality(result: dict[str, Any]) -> str:
    """A training's estimate of its quality beside a random forest's, and a link to its report, if it has them; rich text."""
    report = result.get("report") or {}
    forest = report.get("forest") or {}
    parts = []
    for key, title, said in (
        ("macro_f1", "Mean F1 on polygons it had not seen", lambda value: f"{100 * float(value):.0f} %"),
        ("rmse", "Typical error on polygons it had not seen (RMSE)", lambda value: f"{float(value):.3g}"),
        ("r2", "Share of their differences that it explains (R²)", lambda value: f"{float(value):.2f}"),
    ):
        if report.get(key) is not None:
            other = forest.get(key)
            beside = "" if other is None else f" (a random forest on the bands: {said(other)})"
            parts.append(f"{title}: {said(report[key])}{beside}. ")
    if result.get("page"):
        parts.append(f'<a href="{QUrl.fromLocalFile(result["page"]).toString()}">Report</a>. ')
    return "".join(parts)
