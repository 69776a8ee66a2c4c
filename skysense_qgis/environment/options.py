"""The page "SkySense" in QGIS's options: which Python runs the computations, and whether it works."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qgis.core import QgsSettings
from qgis.gui import QgsFileWidget, QgsOptionsPageWidget, QgsOptionsWidgetFactory
from qgis.PyQt.QtGui import QIcon
from qgis.PyQt.QtWidgets import QFormLayout, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from ..paths import icon_path
from ..worker.client import WorkerClient
from ..worker.messages import Failure
from .find import SETTING, Found, check_python, find_python


class SkySenseOptionsFactory(QgsOptionsWidgetFactory):
    """Adds the page to the options dialog.

    Args:
        on_change: called after the user applied another interpreter.
    """

    def __init__(self, on_change: Callable[[], None]) -> None:
        super().__init__()
        self._on_change = on_change
        self.setTitle("SkySense")
        self.setIcon(QIcon(icon_path("skysense.svg")))

    def icon(self) -> QIcon:
        return QIcon(icon_path("skysense.svg"))

    def createWidget(self, parent: QWidget | None) -> QgsOptionsPageWidget:
        return SkySenseOptionsPage(parent, self._on_change)


class SkySenseOptionsPage(QgsOptionsPageWidget):
    """The page itself."""

    def __init__(self, parent: QWidget | None, on_change: Callable[[], None]) -> None:
        super().__init__(parent)
        self._on_change = on_change
        self._client: WorkerClient | None = None
        self.python = QgsFileWidget(self)
        self.python.setObjectName("skysensePythonWidget")
        self.python.setStorageMode(QgsFileWidget.StorageMode.GetFile)
        self.python.setDialogTitle("Python of the SkySense environment")
        self.python.setFilePath(str(QgsSettings().value(SETTING, "") or ""))
        self.python.lineEdit().setPlaceholderText("found automatically")
        self.verify_button = QPushButton("Verify", self)
        self.verify_button.setObjectName("skysenseVerifyButton")
        self.verify_button.clicked.connect(self.verify)
        self.verdict = QLabel(find_python().reason, self)
        self.verdict.setObjectName("skysenseVerdict")
        self.verdict.setWordWrap(True)
        explanation = QLabel(
            "SkySense computes outside QGIS, in a Python environment of its own that has the package skysense. "
            "Leave the field empty to have it found.",
            self,
        )
        explanation.setWordWrap(True)
        line = QHBoxLayout()
        line.addWidget(self.python, 1)
        line.addWidget(self.verify_button)
        form = QFormLayout()
        form.addRow("Python interpreter", line)
        layout = QVBoxLayout(self)
        layout.addWidget(explanation)
        layout.addLayout(form)
        layout.addWidget(self.verdict)
        layout.addStretch(1)

    def apply(self) -> None:
        """Called by the dialog on OK."""
        path = self.python.filePath().strip()
        if path != str(QgsSettings().value(SETTING, "") or ""):
            QgsSettings().setValue(SETTING, path)
            self._on_change()

    def verify(self) -> None:
        """Start the interpreter that is typed in (not yet applied) and show what it says."""
        self._stop()
        path = self.python.filePath().strip()

        def find() -> Found:
            return check_python(path) if path else find_python()

        self.verdict.setText("Starting…")
        self.verify_button.setEnabled(False)
        self._client = WorkerClient(self, find)
        self._client.request("hello", {}, self._works, self._fails)

    def _works(self, hello: dict[str, Any]) -> None:
        text = f"It works: SkySense {hello.get('version')} on Python {hello.get('python')}."
        if not hello.get("torch"):
            text += " PyTorch is missing in it, so training and mapping cannot run yet. Install the package torch."
        self._show(text)

    def _fails(self, failure: Failure) -> None:
        self._show(failure.sentence)

    def _show(self, text: str) -> None:
        self.verdict.setText(text)
        self.verify_button.setEnabled(True)
        self._stop()

    def _stop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.shutdown()
            client.deleteLater()
