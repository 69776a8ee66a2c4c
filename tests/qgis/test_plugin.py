import configparser
from pathlib import Path

from iface import Iface
from qgis.core import QgsApplication

import skysense_qgis

ROOT = Path(__file__).resolve().parents[2]


def providers():
    return [provider.id() for provider in QgsApplication.processingRegistry().providers()]


def test_load_show_and_unload_leave_nothing_behind():
    iface = Iface()
    iface.window.show()
    plugin = skysense_qgis.classFactory(iface)
    plugin.initGui()
    assert plugin.dock is None and not iface.docks  # built when it is first shown
    assert len(iface.toolbar.actions()) == len(iface.menu.actions()) == len(iface.factories) == 1
    assert "skysense" in providers()
    action = iface.menu.actions()[0]
    assert not action.icon().isNull()
    action.trigger()
    assert plugin.dock.objectName() == "SkySenseDock" and plugin.dock.isVisible()
    plugin.dock.close()
    assert not action.isChecked()
    assert plugin.show_dock() is plugin.dock and action.isChecked()
    plugin.unload()
    assert plugin.dock is None and not iface.docks and not iface.factories
    assert not iface.toolbar.actions() and not iface.menu.actions()
    assert "skysense" not in providers()


def test_loading_twice_works():
    for _ in range(2):
        plugin = skysense_qgis.classFactory(Iface())
        plugin.initGui()
        plugin.show_dock()
        plugin.unload()


def test_processing_alone_needs_no_interface():
    plugin = skysense_qgis.classFactory(None)
    plugin.initProcessing()
    assert "skysense" in providers()
    QgsApplication.processingRegistry().removeProvider("skysense")


def test_metadata_is_what_the_repository_asks_for():
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "skysense_qgis" / "metadata.txt", encoding="utf-8")
    general = parser["general"]
    for key in ("name", "description", "version", "author", "email", "about", "tracker", "repository"):
        assert general[key].strip()
    assert (general["qgisMinimumVersion"], general["qgisMaximumVersion"]) == ("3.22", "4.99")
    assert "supportsQt6" not in general
    assert general["hasProcessingProvider"] == "yes"
    assert "PyTorch" in general["about"]
    assert (ROOT / "skysense_qgis" / general["icon"]).exists()
    assert (ROOT / "skysense_qgis" / "LICENSE").exists()
