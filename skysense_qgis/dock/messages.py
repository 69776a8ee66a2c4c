"""The message bar at the top of the panel."""

from __future__ import annotations

from qgis.core import Qgis
from qgis.gui import QgsMessageBar, QgsMessageBarItem
from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtWidgets import QHBoxLayout, QLabel, QPushButton, QSizePolicy, QWidget

_WARNING_S = 12


class PanelMessages(QgsMessageBar):
    """Messages with as many lines as they need; `pushMessage` would cut them to one in a panel's width.

    Signals:
        resume: the user wants the stopped map to go on.
    """

    resume = pyqtSignal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("skysenseMessages")
        self.setSizePolicy(QSizePolicy.Policy.Minimum, QSizePolicy.Policy.Minimum)
        self._told: set[str] = set()
        self._resumable: QgsMessageBarItem | None = None

    def note(self, text: str) -> None:
        """Say something once a session; it stays until it is closed."""
        if text not in self._told:
            self._told.add(text)
            self.push(text, Qgis.MessageLevel.Info)

    def warn(self, text: str) -> None:
        """Say what is wrong, for a while."""
        self.push(text, Qgis.MessageLevel.Warning, _WARNING_S)

    def push(self, text: str, level: Qgis.MessageLevel, seconds: int = 0, resume: bool = False) -> None:
        """Show a text; 0 seconds = until it is closed; `resume` = with the button Resume."""
        label = QLabel(text)
        label.setWordWrap(True)
        content = QWidget()
        line = QHBoxLayout(content)
        line.setContentsMargins(0, 0, 0, 0)
        line.addWidget(label, 1)
        if resume:
            button = QPushButton("Resume", content)
            button.setObjectName("resumeButton")
            button.clicked.connect(self._resume)
            line.addWidget(button)
        content.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Minimum)
        item = self.pushWidget(content, level, seconds)
        if resume:
            self._resumable = item

    def drop_resume(self) -> None:
        """Take away the button Resume and its message: what it would resume is not the newest any more."""
        item, self._resumable = self._resumable, None
        if item is not None and item in self.items():
            self.popWidget(item)

    def _resume(self, *_: bool) -> None:
        self.clearWidgets()
        self.resume.emit()
