"""The acquisition table's model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from qgis.PyQt.QtCore import QAbstractTableModel, QModelIndex, QObject, Qt, pyqtSignal
from qgis.PyQt.QtGui import QColor, QIcon, QPainter, QPixmap

from .row import AMBER, GREEN, RED, WAITING, Row, RowError, bands_text, parse_bands, parse_date

LAYER, SENSOR, DATE, BANDS, STATUS = range(5)
_HEADERS = ("Layer or file", "Sensor", "Date", "Bands", "Status")
_HEADER_TIPS = (
    "The image: a layer of the project, a file, or the folder of a product",
    "Double-click to choose the sensor",
    "Day on which the image was taken, year-month-day. Double-click to change it.",
    "Which bands the model will use. Double-click to assign them, for example R=1, G=2, B=3.",
    "Green: ready. Amber: can be used, with a reservation. Red: must be mended. Point at it for the reason.",
)
#: What people call the modalities, in the order of the choice.
SENSOR_TITLES = {"hr": "High resolution", "s2": "Sentinel-2", "s1": "Sentinel-1"}

_COLORS = {GREEN: "#3a9d3a", AMBER: "#e69f00", RED: "#d0312d", WAITING: "#9a9a9a"}
_WORDS = {GREEN: "Ready", AMBER: "Usable", RED: "Not usable", WAITING: "Looking…"}

_Item = Qt.ItemDataRole


class AcquisitionModel(QAbstractTableModel):
    """The rows of the scene.

    Signals:
        described_needed: some rows must be described (anew) by the worker.
        scene_changed: the scene is another than before: rows, dates, bands or sensors.
        refused(str): what was typed cannot be used; a sentence.
    """

    described_needed = pyqtSignal()
    scene_changed = pyqtSignal()
    refused = pyqtSignal(str)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.rows: list[Row] = []
        self._icons: dict[str, QIcon] = {}

    def add(self, rows: Iterable[Row]) -> int:
        """Append rows whose path is not there yet; returns how many."""
        present = {row.path for row in self.rows}
        new = []
        for row in rows:
            if row.path not in present:
                present.add(row.path)
                new.append(row)
        if new:
            first = len(self.rows)
            self.beginInsertRows(QModelIndex(), first, first + len(new) - 1)
            self.rows.extend(new)
            self.endInsertRows()
            self.described_needed.emit()
            self.scene_changed.emit()
        return len(new)

    def remove(self, numbers: Iterable[int]) -> None:
        """Remove rows by their number from 0."""
        doomed = sorted(set(numbers), reverse=True)
        for number in doomed:
            self.beginRemoveRows(QModelIndex(), number, number)
            del self.rows[number]
            self.endRemoveRows()
        if doomed:
            self.scene_changed.emit()

    def clear(self) -> None:
        self.remove(range(len(self.rows)))

    def replace(self, row: Row, new: list[Row]) -> None:
        """Put other rows in the place of one (at the end of the table)."""
        self.remove([number for number, present in enumerate(self.rows) if present is row])
        self.add(new)

    def describe_row(self, row: Row, found: dict[str, Any]) -> None:
        """Take the worker's description, unless the row has gone meanwhile."""
        for number, present in enumerate(self.rows):
            if present is row:
                row.take_description(found)
                self._show(number)

    def set_checks(self, checks: dict[int, tuple[str, str]]) -> None:
        """Take the scene check's verdicts, by row number; rows that are not in it have none."""
        for number, row in enumerate(self.rows):
            row.checked = checks.get(number)
        if self.rows:
            self.dataChanged.emit(self.index(0, 0), self.index(len(self.rows) - 1, STATUS))

    def _show(self, number: int) -> None:
        self.dataChanged.emit(self.index(number, 0), self.index(number, STATUS))

    # Qt's interface -------------------------------------------------------------------------------------------------

    def rowCount(self, parent: QModelIndex = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(self.rows)

    def columnCount(self, parent: QModelIndex = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(_HEADERS)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = _Item.DisplayRole) -> Any:
        if orientation == Qt.Orientation.Vertical:
            return section + 1 if role == _Item.DisplayRole else None
        if role == _Item.DisplayRole:
            return _HEADERS[section]
        return _HEADER_TIPS[section] if role == _Item.ToolTipRole else None

    def flags(self, index: QModelIndex) -> Qt.ItemFlag:
        flags = Qt.ItemFlag.ItemIsSelectable | Qt.ItemFlag.ItemIsEnabled
        return flags | Qt.ItemFlag.ItemIsEditable if index.column() in (SENSOR, DATE, BANDS) else flags

    def data(self, index: QModelIndex, role: int = _Item.DisplayRole) -> Any:
        if not index.isValid() or index.row() >= len(self.rows):
            return None
        row, column = self.rows[index.row()], index.column()
        status, reason = row.verdict
        if role in (_Item.DisplayRole, _Item.EditRole):
            return self._text(row, column, role == _Item.EditRole)
        if role == _Item.DecorationRole and column == LAYER:
            return self._dot(status)
        if role == _Item.ToolTipRole:
            verdict = reason or _WORDS.get(status, status)
            if column == LAYER:
                return f"{verdict}\n{row.path}"
            return verdict if column == STATUS else _tip(row, column)
        return None

    def setData(self, index: QModelIndex, value: Any, role: int = _Item.EditRole) -> bool:
        if role != _Item.EditRole or not index.isValid():
            return False
        row, column = self.rows[index.row()], index.column()
        if column == DATE:
            text = str(value or "").strip()
            if text == row.date:
                return False
            row.date = text
            row.stated.add("date")
            self._check_date(row)
        elif column == SENSOR:
            if value not in SENSOR_TITLES or value == row.modality:
                return False
            row.modality = value
            row.stated.add("modality")
            row.stated.discard("bands")
            row.bands, row.described = {}, False
            self.described_needed.emit()
        elif column == BANDS:
            try:
                bands = parse_bands(str(value or ""))
            except RowError as error:
                self.refused.emit(str(error))
                return False
            if bands == row.bands:
                return False
            row.bands = bands
            if bands:
                row.stated.add("bands")
            else:  # emptied: as the file says
                row.stated.discard("bands")
                row.described = False
                self.described_needed.emit()
        self._show(index.row())
        self.scene_changed.emit()
        return True

    def _check_date(self, row: Row) -> None:
        try:
            row.date = parse_date(row.date) or ""
        except RowError as error:
            self.refused.emit(f"{row.title}: {error}")

    def _text(self, row: Row, column: int, edit: bool) -> str:
        if column == LAYER:
            return row.title
        if column == SENSOR:
            return (row.modality or "") if edit else SENSOR_TITLES.get(row.modality or "", "choose…")
        if column == DATE:
            return row.date
        if column == BANDS:
            return bands_text(row.bands, edit)
        status, reason = row.verdict
        return reason if reason and status in (RED, AMBER) else _WORDS.get(status, status)

    def _dot(self, status: str) -> QIcon:
        if status not in self._icons:
            pixmap = QPixmap(32, 32)
            pixmap.fill(QColor(0, 0, 0, 0))
            painter = QPainter(pixmap)
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(QColor(_COLORS.get(status, _COLORS[WAITING])))
            painter.drawEllipse(5, 5, 22, 22)
            painter.end()
            self._icons[status] = QIcon(pixmap)
        return self._icons[status]


def _tip(row: Row, column: int) -> str:
    if column == DATE and row.found.get("date_source") and "date" not in row.stated:
        return f"Found in: {row.found['date_source']}"
    if column == BANDS:
        return bands_text(row.bands, True)
    return _HEADER_TIPS[column]
