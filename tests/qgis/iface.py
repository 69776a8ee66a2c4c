"""Stands in for QGIS's main window, which tests have none of: a real QMainWindow behind QgisInterface's names."""

from qgis.gui import QgisInterface, QgsMapCanvas
from qgis.PyQt.QtWidgets import QMainWindow, QMenu, QToolBar


class Iface:
    """Only what the plugin calls; every name must be one of QgisInterface's."""

    def __init__(self):
        self.window = QMainWindow()
        self.toolbar = QToolBar(self.window)
        self.menu = QMenu("Raster", self.window)
        self.canvas = QgsMapCanvas(self.window)
        self.docks, self.factories = [], []
        unknown = [
            name for name in vars(Iface) if not name.startswith("_") and not hasattr(QgisInterface, name)
        ]
        assert not unknown, unknown

    def mainWindow(self):
        return self.window

    def mapCanvas(self):
        return self.canvas

    def addRasterToolBarIcon(self, action):
        self.toolbar.addAction(action)

    def removeRasterToolBarIcon(self, action):
        self.toolbar.removeAction(action)

    def addPluginToRasterMenu(self, name, action):
        self.menu.addAction(action)

    def removePluginRasterMenu(self, name, action):
        self.menu.removeAction(action)

    def addDockWidget(self, area, dock):
        self.window.addDockWidget(area, dock)
        self.docks.append(dock)

    def removeDockWidget(self, dock):
        self.window.removeDockWidget(dock)
        self.docks.remove(dock)

    def registerOptionsWidgetFactory(self, factory):
        self.factories.append(factory)

    def unregisterOptionsWidgetFactory(self, factory):
        self.factories.remove(factory)

    def setActiveLayer(self, layer):
        return True

    def actionAddFeature(self):
        return None
