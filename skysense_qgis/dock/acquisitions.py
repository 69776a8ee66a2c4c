"""Section "1 Imagery": the table of acquisitions and the buttons that fill it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qgis.core import QgsMapLayer, QgsMimeDataUtils, QgsProject, QgsRasterLayer
from qgis.PyQt.QtCore import QEvent, QModelIndex, QObject, Qt, pyqtSignal
from qgis.PyQt.QtGui import QDragEnterEvent, QDragMoveEvent, QDropEvent, QPainter, QPaintEvent
from qgis.PyQt.QtWidgets import (
    QAbstractItemView,
    QAction,
    QComboBox,
    QFileDialog,
    QGridLayout,
    QHeaderView,
    QLabel,
    QMenu,
    QPushButton,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from .row import Row, RowError
from .sources import read_scene_file, row_from_layer, scene_file_of
from .table import BANDS, DATE, LAYER, SENSOR, SENSOR_TITLES, STATUS, AcquisitionModel

_FILTER = "Images and scene files (*.tif *.tiff *.jp2 *.vrt *.img *.nc *.zip scene.json);;All files (*)"
_EMPTY = (
    "Drop layers or files here,\nor press “Add layers…” or “Add files…”.\n\n"
    "An aerial or satellite picture, Sentinel-2 and Sentinel-1\nimages of several dates: any one of them is enough."
)


class AcquisitionsSection(QWidget):
    """The table with its buttons.

    Signals:
        message(str): something for the message bar.
        selected: other rows are selected.
        scene_loaded(SceneFile): a scene file has filled the table.
    """

    message = pyqtSignal(str)
    selected = pyqtSignal()
    scene_loaded = pyqtSignal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.model = AcquisitionModel(self)
        self.model.refused.connect(self.message)
        self.view = _Table(self.model, self)
        self.view.dropped_paths.connect(self.add_paths)
        self.view.dropped_layers.connect(self.add_layers)
        self.summary = QLabel(self)
        self.summary.setObjectName("sceneSummary")
        self.summary.setWordWrap(True)
        self.summary.hide()
        self._menu = QMenu(self)
        self._menu.aboutToShow.connect(self._fill_menu)
        layers = self._button("Add layers…", "addLayersButton", "Add raster layers of this project")
        layers.setMenu(self._menu)
        files = self._button("Add files…", "addFilesButton", "Add image files, or a scene.json")
        files.clicked.connect(self._choose_files)
        folder = self._button(
            "Add folder…",
            "addFolderButton",
            "Add the folder of a product (for example a .SAFE folder) or of a scene",
        )
        folder.clicked.connect(self._choose_folder)
        self.remove_button = self._button(
            "Remove", "removeButton", "Remove the selected rows (the files stay)"
        )
        self.remove_button.clicked.connect(self.remove_selected)
        buttons = QGridLayout()
        for column, button in enumerate((layers, files, folder, self.remove_button)):
            buttons.addWidget(button, 0, column)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(buttons)
        layout.addWidget(self.view, 1)
        layout.addWidget(self.summary)
        self._show_action = QAction("Show on the map", self)
        self._show_action.setToolTip("Add the selected images to the project")
        self._show_action.triggered.connect(self.show_selected)
        self.view.addAction(self._show_action)
        self.view.selectionModel().selectionChanged.connect(self._update_buttons)
        self.model.rowsRemoved.connect(self._update_buttons)
        self._update_buttons()

    def add_paths(self, paths: list[str]) -> None:
        """Add files and folders; a scene file (or its folder) fills the table and the labels."""
        rows = []
        for path in paths:
            scene_file = scene_file_of(path)
            if scene_file is None:
                rows.append(Row(path=path if path.startswith("/vsi") else str(Path(path).absolute())))
                continue
            try:
                scene = read_scene_file(scene_file)
            except RowError as error:
                self.message.emit(str(error))
                continue
            self.scene_loaded.emit(scene)
            self.model.add(scene.rows)
        self.model.add(rows)

    def add_layers(self, layers: list[QgsRasterLayer]) -> None:
        """Add raster layers of the project."""
        rows = []
        for layer in layers:
            try:
                rows.append(row_from_layer(layer))
            except RowError as error:
                self.message.emit(str(error))
        self.model.add(rows)

    def selected_rows(self) -> list[Row]:
        return [self.model.rows[index.row()] for index in self.view.selectionModel().selectedRows()]

    def say(self, text: str) -> None:
        """Show a text under the table."""
        self.summary.setText(text)
        self.summary.setVisible(bool(text))

    def remove_selected(self) -> None:
        self.model.remove(index.row() for index in self.view.selectionModel().selectedRows())

    def show_selected(self, *_: Any) -> None:
        """Load the selected images into the project, those that are not there yet."""
        project = QgsProject.instance()
        for row in self.selected_rows():
            if row.layer_id and project.mapLayer(row.layer_id):
                continue
            layer = QgsRasterLayer(row.path, row.title, "gdal")
            if not layer.isValid():
                self.message.emit(
                    f"{row.title} cannot be shown: QGIS opens single files, not product folders."
                )
                continue
            project.addMapLayer(layer)
            row.layer_id = layer.id()

    def _button(self, text: str, name: str, tip: str) -> QPushButton:
        button = QPushButton(text, self)
        button.setObjectName(name)
        button.setToolTip(tip)
        return button

    def _update_buttons(self, *_: Any) -> None:
        self.remove_button.setEnabled(self.view.selectionModel().hasSelection())
        self.selected.emit()

    def _choose_files(self) -> None:
        files, _ = QFileDialog.getOpenFileNames(self, "Add images", "", _FILTER)
        self.add_paths(files)

    def _choose_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Add a product's or scene's folder")
        if folder:
            self.add_paths([folder])

    def _fill_menu(self) -> None:
        self._menu.clear()
        layers = [
            layer for layer in QgsProject.instance().mapLayers().values() if isinstance(layer, QgsRasterLayer)
        ]
        layers = [layer for layer in layers if not layer.customProperty("skysense/result")]
        if not layers:
            self._menu.addAction("The project has no raster layers").setEnabled(False)
            return
        for layer in sorted(layers, key=lambda layer: layer.name().lower()):
            action = QAction(layer.name(), self._menu)
            action.triggered.connect(lambda _=False, layer=layer: self.add_layers([layer]))
            self._menu.addAction(action)
        if len(layers) > 1:
            self._menu.addSeparator()
            action = QAction("All raster layers", self._menu)
            action.triggered.connect(lambda _=False: self.add_layers(layers))
            self._menu.addAction(action)


class _StatusDelegate(QStyledItemDelegate):
    """Cuts the reason at its end; names, in the other columns, are cut in the middle."""

    def initStyleOption(self, option: QStyleOptionViewItem, index: QModelIndex) -> None:
        super().initStyleOption(option, index)
        option.textElideMode = Qt.TextElideMode.ElideRight


class _SensorDelegate(QStyledItemDelegate):
    """Edits the sensor with a list of the three."""

    def createEditor(self, parent: QWidget, option: QStyleOptionViewItem, index: QModelIndex) -> QWidget:
        combo = QComboBox(parent)
        for modality, title in SENSOR_TITLES.items():
            combo.addItem(title, modality)
        # A bound method, not a closure over `combo`: nothing in Python keeps that one alive.
        combo.activated.connect(self._chosen)
        return combo

    def setEditorData(self, editor: QWidget, index: QModelIndex) -> None:
        editor.setCurrentIndex(editor.findData(index.data(Qt.ItemDataRole.EditRole)))

    def setModelData(self, editor: QWidget, model: AcquisitionModel, index: QModelIndex) -> None:
        if editor.currentIndex() >= 0:
            model.setData(index, editor.currentData())

    def _chosen(self, *_: int) -> None:
        editor = self.sender()
        self.commitData.emit(editor)
        self.closeEditor.emit(editor)


class _Table(QTableView):
    """The view: takes drops, and says what to do while it is empty.

    Signals:
        dropped_paths(list[str]), dropped_layers(list[QgsRasterLayer])
    """

    dropped_paths = pyqtSignal(list)
    dropped_layers = pyqtSignal(list)

    def __init__(self, model: AcquisitionModel, parent: QWidget) -> None:
        super().__init__(parent)
        self.setModel(model)
        self.setObjectName("acquisitionTable")
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setEditTriggers(
            QAbstractItemView.EditTrigger.DoubleClicked | QAbstractItemView.EditTrigger.EditKeyPressed
        )
        self.setAcceptDrops(True)
        self.viewport().setAcceptDrops(True)
        self.setItemDelegateForColumn(SENSOR, _SensorDelegate(self))
        self.setItemDelegateForColumn(STATUS, _StatusDelegate(self))
        self.setAlternatingRowColors(True)
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.verticalHeader().hide()
        metrics = self.fontMetrics()
        self.verticalHeader().setDefaultSectionSize(metrics.height() + 6)
        header = self.horizontalHeader()
        header.setHighlightSections(False)
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        header.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        header.setMinimumSectionSize(metrics.horizontalAdvance("Status") + 24)
        for column, sample in (
            (LAYER, "S2_site_20180817.tif"),
            (SENSOR, "High resolution"),
            (DATE, "2018-08-17"),
            (BANDS, "VV VH B"),
        ):
            self.setColumnWidth(column, metrics.horizontalAdvance(sample) + 18)
        header.setSectionResizeMode(STATUS, QHeaderView.ResizeMode.Stretch)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.ActionsContextMenu)
        self.setMinimumHeight(7 * (metrics.height() + 6))
        for signal in (model.rowsInserted, model.rowsRemoved):
            signal.connect(lambda *_: self.viewport().update())

    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)
        if self.model().rowCount() == 0:
            painter = QPainter(self.viewport())
            painter.setPen(self.palette().placeholderText().color())
            painter.drawText(
                self.viewport().rect().adjusted(8, 8, -8, -8),
                int(Qt.AlignmentFlag.AlignCenter) | int(Qt.TextFlag.TextWordWrap),
                _EMPTY,
            )
            painter.end()

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if _droppable(event):
            event.acceptProposedAction()

    def dragMoveEvent(self, event: QDragMoveEvent) -> None:
        if _droppable(event):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        layers, paths = dropped(event.mimeData())
        event.acceptProposedAction()
        if layers:
            self.dropped_layers.emit(layers)
        if paths:
            self.dropped_paths.emit(paths)


def _droppable(event: QEvent) -> bool:
    mime = event.mimeData()
    return mime.hasUrls() or QgsMimeDataUtils.isUriList(mime)


def dropped(mime: QObject) -> tuple[list[QgsMapLayer], list[str]]:
    """Layers of the project and paths that mime data holds (from the layer tree, the browser, a file manager)."""
    layers, paths = [], []
    if QgsMimeDataUtils.isUriList(mime):
        for uri in QgsMimeDataUtils.decodeUriList(mime):
            layer = QgsProject.instance().mapLayer(uri.layerId) if uri.layerId else None
            if isinstance(layer, QgsRasterLayer):
                layers.append(layer)
            elif uri.layerType == "raster" and uri.uri:
                paths.append(uri.uri)
    if not layers and not paths and mime.hasUrls():
        paths = [url.toLocalFile() for url in mime.urls() if url.isLocalFile()]
    return layers, paths
