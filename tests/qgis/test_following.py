"""Mapping while the user draws, with the real worker."""

from pathlib import Path

import pytest
from iface import Iface
from osgeo import gdal
from qgis.core import QgsCoordinateReferenceSystem, QgsFeature, QgsGeometry, QgsProject, QgsRectangle
from qgis.PyQt.QtWidgets import QCheckBox
from small_scene import GSD, SIZE, X0, Y0, make_images, make_labels

from skysense_qgis.dock.dock import SkySenseDock

SIDE = SIZE * GSD


@pytest.fixture
def iface():
    return Iface()


@pytest.fixture
def dock(client, iface):
    dock = SkySenseDock(iface, client)
    dock.show()
    yield dock
    dock.close_down()
    dock.deleteLater()


@pytest.fixture
def drawn(dock, iface, tmp_path, wait):
    """The panel with images and labels, the whole scene in view; gives the label layer and the maps that are shown."""
    canvas = iface.mapCanvas()
    canvas.setDestinationCrs(QgsCoordinateReferenceSystem("EPSG:32631"))
    canvas.resize(400, 400)
    canvas.setExtent(QgsRectangle(X0, Y0 - SIDE, X0 + SIDE, Y0))
    dock.add_paths(make_images(tmp_path))
    labels = make_labels()
    QgsProject.instance().addMapLayer(labels)
    dock.labels.choose(labels, "class")
    wait(lambda: dock.ready)
    shown = []
    dock.following.shown.connect(shown.append)
    return labels, shown


def add(labels, name, col, row):
    feature = QgsFeature(labels.fields())
    x, y = X0 + col * GSD, Y0 - row * GSD
    feature.setGeometry(QgsGeometry.fromRect(QgsRectangle(x, y - 60, x + 60, y)))
    feature.setAttributes([name, ""])
    assert labels.addFeature(feature)


def pixels(path):
    return gdal.Open(str(path)).ReadAsArray()


def test_an_edit_is_followed_by_a_new_map_in_the_same_layer(dock, drawn, wait):
    labels, shown = drawn
    box = dock.findChild(QCheckBox, "followBox")
    box.setChecked(True)
    wait(lambda: shown, 120)
    layer = dock.following.map.layer
    assert layer.source() == shown[0]["map"]
    first = pixels(shown[0]["map"])
    assert {first[30, 10], first[30, 50]} == {1, 2}  # maize and wheat, the halves of the images
    wait(lambda: not dock.following.busy)
    assert dock.run.status.text().startswith("Repainted in ")

    add(labels, "road", 30, 20)
    wait(lambda: len(shown) > 1, 120)
    assert dock.following.map.layer.id() == layer.id() and layer.source() == shown[1]["map"]
    assert [entry.label for entry in layer.renderer().classes()] == ["maize", "road", "wheat"]
    assert not Path(shown[0]["map"]).exists()
    # What it shows is what the button Map would give with the same model.
    model = dock.following._model["model"]
    recipe = {"skysense": 1, "task": "predict", "scene": str(Path(model).with_name("scene.json"))}
    out = Path(model).parent / "whole.tif"
    done = []
    dock.jobs._client.request(
        "run", {"recipe": {**recipe, "model": model, "output": str(out)}}, done.append, done.append
    )
    wait(lambda: done, 120)
    assert (pixels(out) == pixels(shown[1]["map"])).all()


def test_an_edit_while_it_learns_is_learned_too(dock, drawn, wait):
    labels, shown = drawn
    dock.run.follow_box.setChecked(True)
    wait(lambda: dock.following.busy, 60)
    add(labels, "road", 30, 20)
    wait(lambda: shown and not dock.following.busy and dock.following._learned == dock.following._edit, 120)
    assert "road" in [entry.label for entry in dock.following.map.layer.renderer().classes()]


def test_moving_the_map_repaints_without_learning_again(dock, drawn, iface, wait):
    _, shown = drawn
    canvas = iface.mapCanvas()
    canvas.setExtent(QgsRectangle(X0, Y0 - SIDE / 2, X0 + SIDE / 2, Y0))
    dock.run.follow_box.setChecked(True)
    wait(lambda: shown, 120)
    model = dock.following._model["model"]
    canvas.setExtent(QgsRectangle(X0 + SIDE / 2, Y0 - SIDE, X0 + SIDE, Y0 - SIDE / 2))
    wait(lambda: len(shown) > 1, 120)
    assert dock.following._model["model"] == model
    assert pixels(shown[1]["map"]).shape[0] <= SIZE // 2 + 2


def test_switched_off_or_without_two_classes_nothing_is_painted(dock, drawn, wait):
    labels, shown = drawn
    dock.run.follow_box.setChecked(True)
    dock.run.follow_box.setChecked(False)
    add(labels, "road", 30, 20)
    wait(lambda: dock.checker.settled)
    assert not shown and dock.following.map.layer is None
    labels.selectByExpression("class != 'wheat'")
    labels.deleteSelectedFeatures()
    dock.run.follow_box.setChecked(True)
    wait(lambda: "only one class" in dock.run.status.text(), 60)
    assert not shown
