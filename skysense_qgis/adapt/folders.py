"""A short list of folders that the user adds to and removes from."""

from __future__ import annotations

from qgis.core import QgsSettings
from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtWidgets import (
    QAbstractItemView,
    QFileDialog,
    QHBoxLayout,
    QListWidget,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

_LINES = 3
_LAST_FOLDER = "skysense/scenes_folder"


class FolderList(QWidget):
    """The folders with their two buttons.

    Signals:
        changed: other folders.
    """

    changed = pyqtSignal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.list = QListWidget(self)
        self.list.setObjectName("adaptFolders")
        self.list.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.list.setToolTip("Folders of scenes or products that the model looks at as well")
        self.list.setFixedHeight(_LINES * self.list.fontMetrics().height() + 4 * self.list.frameWidth() + 6)
        self.add_button = QPushButton("Add folder…", self)
        self.add_button.setObjectName("adaptAddFolderButton")
        self.remove_button = QPushButton("Remove", self)
        self.remove_button.setObjectName("adaptRemoveFolderButton")
        for button in (self.add_button, self.remove_button):
            button.setAutoDefault(False)
        self.add_button.clicked.connect(lambda _=False: self._choose())
        self.remove_button.clicked.connect(lambda _=False: self.remove_selected())
        self.list.itemSelectionChanged.connect(self._update)
        buttons = QVBoxLayout()
        buttons.addWidget(self.add_button)
        buttons.addWidget(self.remove_button)
        buttons.addStretch(1)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.list, 1)
        layout.addLayout(buttons)
        self._update()

    @property
    def paths(self) -> list[str]:
        return [self.list.item(number).text() for number in range(self.list.count())]

    def add(self, path: str) -> None:
        """Add a folder that is not there yet."""
        if path and path not in self.paths:
            self.list.addItem(path)
            self.changed.emit()

    def remove_selected(self) -> None:
        for item in self.list.selectedItems():
            self.list.takeItem(self.list.row(item))
        self._update()
        self.changed.emit()

    def _choose(self) -> None:
        start = str(QgsSettings().value(_LAST_FOLDER, "") or "")
        path = QFileDialog.getExistingDirectory(self, "Folder of images", start)
        if path:
            QgsSettings().setValue(_LAST_FOLDER, path)
            self.add(path)

    def _update(self) -> None:
        self.remove_button.setEnabled(bool(self.list.selectedItems()))
