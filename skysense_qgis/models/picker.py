"""The row "Base model": the built-in model, a file of the user's, or a download."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from qgis.core import QgsSettings
from qgis.PyQt.QtCore import Qt, pyqtSignal
from qgis.PyQt.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from ..adapt.plan import MODEL_FILE
from ..worker.client import WorkerClient
from ..worker.messages import Failure
from .dialog import DownloadDialog

_BUILT_IN, _FILE, _DOWNLOAD = "Built-in model", "A file I have…", "Download…"
_FILTER = "Weights (*.safetensors *.pth *.pt *.ckpt *.bin *.json);;All files (*)"
_LAST_FOLDER = "skysense/models_folder"
_ADAPTED = "skysense/adapted_models"
#: What `skysense convert` can make of the released weights, with the question that asks for it.
_FOUR_BANDS = {
    "hr": (["R", "G", "B", "NIR"], "Look at near infrared in pictures, too"),
    "s2": (["B2", "B3", "B4", "B8"], "Look at B2, B3, B4 and B8 of Sentinel-2 only"),
}


class ModelPicker(QWidget):
    """What a training starts from; nothing has to be chosen.

    Args:
        client: the worker; it looks at files and converts checkpoints.

    Signals:
        changed: another base model.
    """

    changed = pyqtSignal()

    def __init__(self, client: WorkerClient, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._client = client
        self._path = ""
        self._checkpoints: list[str] = []  # wait for the press on Convert
        self._request = 0
        self._converting = False
        self._dialog: DownloadDialog | None = None
        self.combo = QComboBox(self)
        self.combo.setObjectName("baseModelCombo")
        self.combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.combo.setMinimumContentsLength(10)
        self.combo.setToolTip("What Train builds on. The built-in model is right for most work")
        self.hint = QLabel(self)
        self.hint.setObjectName("baseModelHint")
        self.hint.setWordWrap(True)
        self.convert_button = QPushButton("Convert", self)
        self.convert_button.setObjectName("convertButton")
        self.convert_button.clicked.connect(lambda _=False: self.convert())
        self.bands: dict[str, QCheckBox] = {}
        for modality, (_, question) in _FOUR_BANDS.items():
            self.bands[modality] = box = QCheckBox(question, self)
            box.setObjectName(f"{modality}BandsCheck")
            box.setToolTip(
                "The released weights were made for red, green, blue, and for ten bands of Sentinel-2"
            )
        line = QHBoxLayout()
        line.addWidget(self.hint, 1)
        line.addWidget(self.convert_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.combo)
        layout.addLayout(line)
        for box in self.bands.values():
            layout.addWidget(box)
        self._fill()
        self._say("")
        self.combo.activated.connect(self._activated)

    @property
    def path(self) -> str:
        """The backbone file; "" = the built-in model."""
        return self._path

    @property
    def busy(self) -> bool:
        """A file is looked at or converted."""
        return bool(self._request)

    @property
    def title(self) -> str:
        """How the chosen model is called."""
        return model_title(self._path) if self._path else _BUILT_IN

    @property
    def missing(self) -> str:
        """What must be done before training, as a sentence; "" = nothing."""
        if self._request:
            return "The base model is being prepared…"
        if self._checkpoints:
            return "Convert the base model first, or choose the built-in one."
        if self._path and not Path(self._path).is_file():
            return f"There is no base model {self._path}."
        return ""

    def set_path(self, path: str) -> None:
        """Choose a backbone file that is known to be one; "" = the built-in model."""
        self._forget()
        self._path = path
        self._fill()
        self._say("")
        self.changed.emit()

    def add_adapted(self, path: str) -> None:
        """Choose a backbone file that was adapted here; it stays among the entries."""
        paths = [path, *(other for other in _adapted() if other != path)]
        QgsSettings().setValue(_ADAPTED, json.dumps(paths))
        self.set_path(path)

    def use_files(self, paths: list[str]) -> None:
        """Choose what the user has: a backbone file, or released checkpoints, which are offered to be converted."""
        if paths:
            self._forget()
            self._ask("inspect_weights", paths, self._inspected, "Looking at the file…")

    def convert(self) -> None:
        """What the button Convert does; while it converts, it is the button Cancel."""
        if self._converting:
            self._client.cancel(self._request)
            return
        chosen = {m: names for m, (names, _) in _FOUR_BANDS.items() if self.bands[m].isChecked()}
        text = "Converting; large models take minutes…"
        self._ask("convert_weights", self._checkpoints, self._converted, text, bands=chosen)
        self._converting = True
        self._say(self.hint.text(), button="Cancel")

    def download(self) -> DownloadDialog:
        """Show the dialog for downloads."""
        if self._dialog is None:
            self._dialog = DownloadDialog(self._client, self.window())
            self._dialog.downloaded.connect(lambda path: self.use_files([path]))
        self._dialog.show()
        self._dialog.raise_()
        return self._dialog

    def _activated(self, index: int) -> None:
        text = self.combo.itemText(index)
        self._fill()  # the two entries that open something are never what is chosen
        if text == _FILE:
            folder = str(QgsSettings().value(_LAST_FOLDER, "") or "")
            paths, _ = QFileDialog.getOpenFileNames(self, "Base model", folder, _FILTER)
            if paths:
                QgsSettings().setValue(_LAST_FOLDER, str(Path(paths[0]).parent))
            self.use_files(paths)
        elif text == _DOWNLOAD:
            self.download()
        elif index == 0:
            self.set_path("")
        elif self.combo.itemData(index):
            self.set_path(str(self.combo.itemData(index)))

    def _forget(self) -> None:
        """Nothing is asked any more; a conversion stops."""
        if self._converting:
            self._client.cancel(self._request)
        self._request, self._converting, self._checkpoints = 0, False, []

    def _ask(self, method: str, paths: list[str], on_result: Any, text: str, **more: Any) -> None:
        request = 0

        def current() -> bool:
            return request == self._request

        def done(result: dict[str, Any]) -> None:
            if current():
                self._request, self._converting = 0, False
                on_result(paths, result)

        def failed(failure: Failure) -> None:
            if not current():
                return
            self._request, self._converting = 0, False
            if failure.cancelled:
                self._offer(paths)
                return
            self._checkpoints = []
            self._say(failure.sentence)
            self.changed.emit()

        def told(event: dict[str, Any]) -> None:
            if current() and event["event"] == "progress":
                self.hint.setText(f"{event['text']}: {event['fraction']:.0%}")

        request = self._request = self._client.request(method, {"paths": paths, **more}, done, failed, told)
        self._say(text)
        self.changed.emit()

    def _inspected(self, paths: list[str], result: dict[str, Any]) -> None:
        if result["kind"] == "backbone":
            self.set_path(paths[0])
            return
        self._offer(paths)

    def _offer(self, paths: list[str]) -> None:
        """Ask for the press on Convert."""
        self._checkpoints = paths
        for box in self.bands.values():
            box.setChecked(False)
        names = ", ".join(Path(path).name for path in paths)
        self._say(f"{names}: released weights, which SkySense has to convert once.", button="Convert")
        self.changed.emit()

    def _converted(self, paths: list[str], result: dict[str, Any]) -> None:
        self.set_path(str(result["out"]))
        self._say(" ".join(str(note) for note in result["notes"]))

    def _say(self, text: str, button: str = "") -> None:
        self.hint.setText(text)
        self.hint.setVisible(bool(text))
        self.convert_button.setText(button)
        self.convert_button.setVisible(bool(button))
        for box in self.bands.values():
            box.setVisible(bool(button))
            box.setEnabled(not self._converting)

    def _fill(self) -> None:
        """The entries; what is chosen is shown."""
        self.combo.clear()
        self.combo.addItem(_BUILT_IN)
        known = _adapted()
        for path in known if self._path in known or not self._path else [self._path, *known]:
            self.combo.addItem(model_title(path), path)
            self.combo.setItemData(self.combo.count() - 1, path, Qt.ItemDataRole.ToolTipRole)
        self.combo.insertSeparator(self.combo.count())
        self.combo.addItems([_FILE, _DOWNLOAD])
        self.combo.setCurrentIndex(self.combo.findData(self._path) if self._path else 0)


def model_title(path: str) -> str:
    """How a model file is called: an adapted one lies alone in a folder that bears its name."""
    file = Path(path)
    return file.parent.name if file.name == MODEL_FILE and file.parent.name else file.name


def _adapted() -> list[str]:
    """The adapted models that are still there, the newest first."""
    try:
        paths = json.loads(str(QgsSettings().value(_ADAPTED, "") or "[]"))
    except ValueError:
        paths = []
    return [path for path in paths if isinstance(path, str) and Path(path).is_file()]
