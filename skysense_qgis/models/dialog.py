"""The dialog that downloads released weights from a hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qgis.gui import QgsAuthConfigSelect, QgsCollapsibleGroupBox
from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtGui import QShowEvent
from qgis.PyQt.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QGroupBox,
    QHBoxLayout,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from ..duration import duration
from ..forms import GrowingDialog, wrapped_label
from ..worker.client import WorkerClient
from ..worker.messages import Failure
from .token import read_token

_INTRODUCTION = (
    "For most work the built-in model is all that is needed. Here the large SkySense models can be fetched, whose "
    "weights their authors have released. They are several gigabytes in size and need a strong graphics card."
)
_TOKEN_HELP = (
    "Only for repositories that ask who you are: a basic authentication whose password is your token"
)


class DownloadDialog(GrowingDialog):
    """Choose a repository and a file, accept the licence, download.

    Args:
        client: the worker, which does the work.

    Signals:
        downloaded(str): the file's path.
    """

    downloaded = pyqtSignal(str)

    def __init__(self, client: WorkerClient, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("downloadDialog")
        self.setWindowTitle("Download a model")
        self._client = client
        self._job = 0
        self._folder = ""  # as long as it is empty, the worker has not said what can be downloaded, and how
        self._introducing = False
        self._listing: dict[str, Any] = {}
        self._build()
        self._connect()
        self._update()
        self._introduce()

    def _build(self) -> None:
        self.repository = _combo(self, "repositoryCombo", "owner/name")
        self.list_button = QPushButton("List files", self)
        self.list_button.setObjectName("listFilesButton")
        self.list_button.setToolTip("Ask the hub which weight files the repository holds")
        self.file = _combo(self, "fileCombo", "press “List files”, or type its path in the repository")
        self.revision = _line(self, "revisionEdit", "main")
        self.revision.setToolTip("A branch, a tag, or a commit, which always gives the very same file")
        self.endpoint = _line(self, "endpointEdit", "")
        self.endpoint.setToolTip("Address of a mirror, where the hub itself cannot be reached")
        self.authentication = QgsAuthConfigSelect(self)
        self.authentication.setObjectName("authenticationSelect")
        self.authentication.setToolTip(_TOKEN_HELP)
        self.place = wrapped_label(self, "placeLabel")
        self.licence = wrapped_label(self, "licenceLabel")
        self.consent = QCheckBox("I agree", self)
        self.consent.setObjectName("licenceCheck")
        self.bar = QProgressBar(self)
        self.bar.setObjectName("downloadProgress")
        self.bar.setRange(0, 1000)
        self.bar.setTextVisible(False)
        self.status = wrapped_label(self, "downloadStatus")
        self.download_button = QPushButton("Download", self)
        self.download_button.setObjectName("downloadButton")
        self.cancel_button = QPushButton("Close", self)
        self.cancel_button.setObjectName("downloadCancelButton")
        for button in (self.list_button, self.download_button, self.cancel_button):
            button.setAutoDefault(False)
        introduction = wrapped_label(self, "downloadIntroduction")
        introduction.setText(_INTRODUCTION)
        line = QHBoxLayout()
        line.addWidget(self.repository, 1)
        line.addWidget(self.list_button)
        form = _form()
        form.addRow("Repository", line)
        form.addRow("File", self.file)
        form.addRow("Saved as", self.place)
        self.advanced = QgsCollapsibleGroupBox("Advanced", self)
        self.advanced.setObjectName("advancedGroup")
        self.advanced.setCollapsed(True)
        more = _form(self.advanced)
        more.addRow("Revision", self.revision)
        more.addRow("Hub or mirror", self.endpoint)
        more.addRow("Authentication", self.authentication)
        terms = QGroupBox("Licence", self)
        column = QVBoxLayout(terms)
        column.addWidget(self.licence)
        column.addWidget(self.consent)
        buttons = QHBoxLayout()
        buttons.addStretch(1)
        buttons.addWidget(self.download_button)
        buttons.addWidget(self.cancel_button)
        layout = QVBoxLayout(self)
        layout.addWidget(introduction)
        layout.addLayout(form)
        layout.addWidget(self.advanced)
        layout.addWidget(terms)
        layout.addWidget(self.bar)
        layout.addWidget(self.status)
        layout.addStretch(1)
        layout.addLayout(buttons)
        self.resize(560, 460)

    def showEvent(self, event: QShowEvent) -> None:
        """The worker may have been unavailable when the dialog was made."""
        super().showEvent(event)
        self._introduce()

    def _introduce(self) -> None:
        """Ask the worker for folder, licence and suggestions, until it has told them once."""
        if self._folder or self._introducing:
            return

        def failed(failure: Failure) -> None:
            self._introducing = False
            self._fail(failure)

        self._introducing = True
        if not self.busy:
            self.status.setText("")
        self._client.request("hub", {}, self._greet, failed)

    def _connect(self) -> None:
        self.repository.currentTextChanged.connect(self._forget_files)
        self.revision.textChanged.connect(self._forget_files)
        self.endpoint.textChanged.connect(self._forget_files)
        self.file.currentTextChanged.connect(self._update)
        self.consent.toggled.connect(self._update)
        self.list_button.clicked.connect(lambda _=False: self.list_files())
        self.download_button.clicked.connect(lambda _=False: self.download())
        self.cancel_button.clicked.connect(lambda _=False: self.cancel() if self._job else self.reject())

    @property
    def busy(self) -> bool:
        return self._job != 0

    def list_files(self) -> None:
        """Ask the hub for the repository's weight files."""
        self._ask("list_weights", {}, self._show_files, "Asking the hub…")

    def download(self) -> None:
        """Download the chosen file, or go on with it."""
        file = self._file
        keys = {"file": file, "out": self.place.text(), "accepted": self.consent.isChecked()}
        # What was listed is what is downloaded, also if the branch has moved since.
        known = {item["file"]: item for item in self._listing.get("files") or []}
        if file in known:
            keys.update(revision=self._listing["revision"], sha256=known[file]["sha256"])
        self._ask("download", keys, self._finish, "Asking the hub…")

    def cancel(self) -> None:
        """Stop; what has arrived is kept for the next time."""
        if self.busy:
            self._client.cancel(self._job)
            self.status.setText("Stopping…")
            self.cancel_button.setEnabled(False)

    def reject(self) -> None:
        """Closing the window stops a download."""
        self.cancel()
        super().reject()

    def _ask(self, method: str, keys: dict[str, Any], on_result: Any, text: str) -> None:
        try:
            token = read_token(self.authentication.configId())
        except ValueError as error:
            self.status.setText(str(error))
            return
        params = {
            "repository": self.repository.currentText(),
            "revision": self.revision.text(),
            "endpoint": self.endpoint.text(),
            "token": token,
            **keys,
        }

        def done(result: dict[str, Any]) -> None:
            self._rest("")
            on_result(result)

        self._job = self._client.request(method, params, done, self._fail, self._event)
        self.status.setText(text)
        self.cancel_button.setText("Cancel")
        self._update()

    def _greet(self, told: dict[str, Any]) -> None:
        self._introducing = False
        self._folder = str(told["folder"])
        self.licence.setText(str(told["licence"]))
        self.endpoint.setPlaceholderText(str(told["endpoint"]))
        typed = self.repository.currentText()
        self.repository.blockSignals(True)  # what has been listed of a typed repository stays
        self.repository.addItems(told["repositories"])
        self.repository.setCurrentIndex(0)
        if typed:
            self.repository.setEditText(typed)
        self.repository.blockSignals(False)
        self._update()

    def _show_files(self, result: dict[str, Any]) -> None:
        self._listing = result
        self.file.clear()
        for item in result["files"]:
            self.file.addItem(f"{item['file']}  ({_size(item['size'])})", item["file"])
        count = len(result["files"])
        self.status.setText(
            f"{count} weight files in the commit {result['revision'][:12]}."
            if count
            else "It holds no weight files."
        )
        self.file.setCurrentIndex(0 if count else -1)
        self._update()

    def _finish(self, result: dict[str, Any]) -> None:
        self.bar.setValue(self.bar.maximum())
        self.status.setText(f"Downloaded and checked: {result['path']}")
        self.downloaded.emit(str(result["path"]))

    def _fail(self, failure: Failure) -> None:
        kept = "Stopped. What has arrived is kept: press Download to go on."
        self._rest(kept if failure.cancelled else failure.sentence)

    def _event(self, event: dict[str, Any]) -> None:
        if event.get("event") != "progress" or not self.cancel_button.isEnabled():
            return
        self.bar.setValue(round(1000 * float(event.get("fraction") or 0)))
        left = event.get("eta_s")
        self.status.setText(f"{event.get('text')}{f', {duration(left)} left' if left else ''}")

    def _rest(self, text: str) -> None:
        """Nothing runs any more."""
        self._job = 0
        self.bar.setValue(0)
        self.status.setText(text)
        self.cancel_button.setText("Close")
        self.cancel_button.setEnabled(True)
        self._update()

    def _forget_files(self, *_: object) -> None:
        """Another repository, revision or hub: what was listed does not count."""
        self._listing = {}
        self.file.clear()
        self.file.clearEditText()
        self._update()

    @property
    def _file(self) -> str:
        """The file's path in the repository: of the chosen entry, or as it was typed."""
        index = self.file.currentIndex()
        text = self.file.currentText().strip()
        return str(self.file.itemData(index)) if index >= 0 and self.file.itemText(index) == text else text

    def _update(self, *_: object) -> None:
        repository, file = self.repository.currentText().strip(), self._file
        parts = [part for part in f"{repository}/{file}".split("/") if part not in ("", ".", "..")]
        whole = bool(self._folder and repository and file)
        self.place.setText(str(Path(self._folder, *parts)) if whole else "–")
        idle = not self.busy
        for widget in (self.repository, self.file, self.advanced, self.consent):
            widget.setEnabled(idle)
        self.list_button.setEnabled(idle and bool(repository))
        self.download_button.setEnabled(
            idle and whole and self.consent.isChecked() and bool(self.licence.text())
        )
        self.download_button.setToolTip(
            "" if self.download_button.isEnabled() else "Choose a file, and agree to the licence"
        )


def _size(size: int | None) -> str:
    if not size:
        return "size unknown"
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _combo(parent: QWidget, name: str, hint: str) -> QComboBox:
    combo = QComboBox(parent)
    combo.setObjectName(name)
    combo.setEditable(True)
    combo.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
    combo.lineEdit().setPlaceholderText(hint)
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    combo.setMinimumContentsLength(20)
    return combo


def _line(parent: QWidget, name: str, hint: str) -> QLineEdit:
    line = QLineEdit(parent)
    line.setObjectName(name)
    line.setPlaceholderText(hint)
    return line


def _form(parent: QWidget | None = None) -> QFormLayout:
    form = QFormLayout(parent)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    return form
