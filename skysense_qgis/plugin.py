"""The plugin: a button, a menu entry, the panel, the options page and the Processing provider."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qgis.core import QgsApplication
from qgis.gui import QgisInterface
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtGui import QIcon
from qgis.PyQt.QtWidgets import QAction

from .paths import icon_path

if TYPE_CHECKING:
    from .dock.dock import SkySenseDock

MENU = "SkySense"
_DOCK_WIDTH = 580  # pixels at first: the table's five columns


class SkySensePlugin:
    """What QGIS loads. The panel is built when it is first shown; the worker starts when it is first needed.

    Args:
        iface: QGIS's interface; None under qgis_process.
    """

    def __init__(self, iface: QgisInterface | None) -> None:
        self._iface = iface
        self._action: QAction | None = None
        self._provider = None
        self._options = None
        self._client = None
        self.dock: SkySenseDock | None = None

    def initProcessing(self) -> None:
        """Register the algorithms; qgis_process calls only this."""
        from .processing.provider import SkySenseProvider

        self._provider = SkySenseProvider()
        QgsApplication.processingRegistry().addProvider(self._provider)

    def initGui(self) -> None:
        from .environment.options import SkySenseOptionsFactory

        self._action = QAction(QIcon(icon_path("skysense.svg")), "SkySense", self._iface.mainWindow())
        self._action.setObjectName("skysenseAction")
        self._action.setToolTip("Show the SkySense panel: from imagery and polygons to a map")
        self._action.setCheckable(True)
        self._action.toggled.connect(self._toggle)
        self._iface.addRasterToolBarIcon(self._action)
        self._iface.addPluginToRasterMenu(MENU, self._action)
        self._options = SkySenseOptionsFactory(self._restart_worker)
        self._iface.registerOptionsWidgetFactory(self._options)
        self.initProcessing()

    def unload(self) -> None:
        """Leave nothing behind."""
        if self.dock is not None:
            self.dock.close_down()
            self._iface.removeDockWidget(self.dock)
            self.dock.deleteLater()
            self.dock = None
        if self._client is not None:
            self._client.shutdown()
        self._client = None
        if self._options is not None:
            self._iface.unregisterOptionsWidgetFactory(self._options)
            self._options = None
        if self._action is not None:
            self._iface.removePluginRasterMenu(MENU, self._action)
            self._iface.removeRasterToolBarIcon(self._action)
            self._action.deleteLater()
            self._action = None
        if self._provider is not None:
            QgsApplication.processingRegistry().removeProvider(self._provider)
            self._provider = None

    def show_dock(self) -> SkySenseDock:
        """Show the panel, building it the first time."""
        if self.dock is None:
            from .dock.dock import SkySenseDock
            from .worker.client import WorkerClient

            self._client = WorkerClient()
            self.dock = SkySenseDock(self._iface, self._client, self._iface.mainWindow())
            self._iface.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, self.dock)
            self._iface.mainWindow().resizeDocks([self.dock], [_DOCK_WIDTH], Qt.Orientation.Horizontal)
            self.dock.visibilityChanged.connect(self._dock_seen)
        self.dock.setUserVisible(True)
        return self.dock

    def _toggle(self, on: bool) -> None:
        if on:
            self.show_dock()
        elif self.dock is not None:
            self.dock.setUserVisible(False)

    def _dock_seen(self, *_: object) -> None:
        """Closing the panel by its cross releases the button."""
        if self._action is None or self.dock is None:
            return
        self._action.blockSignals(True)
        self._action.setChecked(not self.dock.isHidden())
        self._action.blockSignals(False)

    def _restart_worker(self) -> None:
        """The next request starts a worker with the present options."""
        if self._client is not None:
            self._client.restart()
        if self.dock is not None:
            self.dock.checker.ask_again()
