"""The upper part of the window "Adapt to my imagery": what is looked at, for how long, and where the result goes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtWidgets import QComboBox, QGridLayout, QLabel, QLineEdit, QWidget

from ..forms import wrapped_label
from .folders import FolderList
from .pace import remembered_pace
from .plan import LENGTHS, MODEL_FILE, adaptation, folder_name, free_name, is_free, length_text


@dataclass(frozen=True)
class Panel:
    """What the panel holds that an adaptation needs to know.

    Attributes:
        title: of the scene.
        images: how many it has.
        base_title, base: the base model's name and file.
        built_in: the base model is the built-in one.
        missing: what must be done in the panel first, as a sentence; "" = nothing.
        busy: a run is in progress, whatever it does.
    """

    title: str = ""
    images: int = 0
    base_title: str = ""
    base: str = ""
    built_in: bool = True
    missing: str = ""
    busy: bool = False


class AdaptForm(QWidget):
    """The choices.

    Signals:
        changed: the user chose or typed something else.
    """

    changed = pyqtSignal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.panel = Panel()
        self.models = ""  # the folder of models; empty until the worker has told it
        self.base = wrapped_label(self, "adaptBase")
        self.images = wrapped_label(self, "adaptImages")
        self.folders = FolderList(self)
        self.length = QComboBox(self)
        self.length.setObjectName("adaptLength")
        self.length.setToolTip("Longer mostly fits better; Short is for a first try")
        for title, steps, _ in LENGTHS:
            self.length.addItem(title, steps)
        self.name = QLineEdit(self)
        self.name.setObjectName("adaptName")
        self.place = wrapped_label(self, "adaptPlace")
        # A form layout would not give texts of several lines their height.
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setColumnStretch(1, 1)
        for row, (title, widget) in enumerate(
            (
                ("Begin with", self.base),
                ("Images", self.images),
                ("More images", self.folders),
                ("How long", self.length),
                ("Name", self.name),
                ("Saved as", self.place),
            )
        ):
            layout.addWidget(QLabel(title, self), row, 0)
            layout.addWidget(widget, row, 1)
        self.folders.changed.connect(self._changed)
        self.name.textEdited.connect(self._changed)
        self.length.activated.connect(self._changed)
        self.show_choices()

    @property
    def missing(self) -> str:
        """What must be done before Start, as a sentence; "" = nothing."""
        name = folder_name(self.name.text())
        if self.panel.busy:
            return "A run is in progress."
        if self.panel.missing:
            return self.panel.missing
        if not self.panel.images and not self.folders.paths:
            return "Add images in the panel, or a folder of images here."
        if not self.models:
            return "Asking where models are kept…"
        if not name:
            return "Give the new model a name."
        if not is_free(Path(self.models, name)):
            return "There is a model of that name. Choose another name."
        return ""

    @property
    def step_s(self) -> float | None:
        """Seconds that a step of the base model took last time; None = unknown."""
        return remembered_pace(self.panel.base)

    def recipe(self, scene: dict[str, Any] | None) -> dict[str, Any]:
        """The recipe of what is chosen, with the panel's scene (absolute paths; None = it has no images)."""
        output = Path(self.models, folder_name(self.name.text()))
        steps = int(self.length.currentData())
        return adaptation(scene, self.folders.paths, self.panel.base, steps, output)

    def suggest_name(self) -> None:
        """A name that is free, after the scene."""
        if self.models:
            self.name.setText(free_name(Path(self.models), f"{self.panel.title or 'model'} adapted"))

    def show_choices(self) -> None:
        """Show what is chosen as it is now."""
        count, name = self.panel.images, folder_name(self.name.text())
        self.base.setText(self.panel.base_title)
        self.images.setText(
            f"{count} image{'s' if count > 1 else ''} in the panel" if count else "none in the panel"
        )
        self.place.setText(str(Path(self.models, name, MODEL_FILE)) if self.models and name else "–")
        for number in range(self.length.count()):
            (title, _, roughly), steps = LENGTHS[number], int(self.length.itemData(number))
            roughly = roughly if self.panel.built_in else ""  # how large another one is is not known here
            self.length.setItemText(number, length_text(title, steps, self.step_s, roughly))

    def _changed(self, *_: object) -> None:
        self.show_choices()
        self.changed.emit()
