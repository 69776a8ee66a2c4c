import os
import signal
from pathlib import Path

import pytest
from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsFeature,
    QgsGeometry,
    QgsPalettedRasterRenderer,
    QgsProject,
    QgsRasterLayer,
    QgsRectangle,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QUrl
from qgis.PyQt.QtWidgets import QLabel, QPushButton, QWidget
from small_scene import DATES, make_image, make_images, make_labels, make_scene

from skysense_qgis.dock.sources import layer_date
from skysense_qgis.dock.target import INSIDE, VIEW
from skysense_qgis.duration import duration
from skysense_qgis.environment.find import Found
from skysense_qgis.forms import TallScroll


def listen(dock):
    said = {"trained": [], "mapped": [], "failed": []}
    for name, found in said.items():
        getattr(dock, name).connect(found.append)
    return said


def made_ready(dock, tmp_path, wait):
    """A scene, labels and a folder for results; gives what is said from then on."""
    dock.add_paths([str(make_scene(tmp_path))])
    with_labels(dock)
    dock.run.folder.setFilePath(str(tmp_path / "out"))
    wait(lambda: dock.ready)
    return listen(dock)


def with_labels(dock):
    labels = make_labels()
    QgsProject.instance().addMapLayer(labels)
    dock.labels.choose(labels, "class")
    return labels


def test_empty_it_says_what_comes_first(dock):
    assert not dock.ready
    for name in ("acquisitionTable", "addFilesButton", "removeButton", "labelLayerCombo", "classFieldCombo"):
        assert dock.findChild(QWidget, name) is not None, name
    for name in ("trainButton", "mapButton", "cancelButton"):
        button = dock.findChild(QPushButton, name)
        assert not button.isEnabled() and button.toolTip()
    for name in ("progressBar", "modelPathWidget", "outputFolderWidget"):
        assert dock.findChild(QWidget, name) is not None, name
    assert dock.findChild(QLabel, "runStatus").text() == "Add images first."


def test_files_are_described_and_what_is_missing_is_told_in_turn(dock, tmp_path, wait):
    dock.add_paths(make_images(tmp_path))
    assert not dock.ready
    wait(lambda: dock.ready)
    rows = dock.imagery.model.rows
    assert [row.verdict for row in rows] == [("green", "")] * 3
    assert [row.date for row in rows] == list(DATES)
    assert "3 Sentinel-2 dates" in dock.imagery.summary.text()
    assert dock.run.train_button.toolTip() == "Choose the polygon layer with the labels."
    with_labels(dock)
    wait(lambda: dock.ready)
    assert dock.run.train_button.isEnabled()
    assert dock.run.map_button.toolTip() == "Press Train first, or choose a model file."


def test_a_folder_of_images_becomes_its_files(dock, tmp_path, wait):
    make_images(tmp_path)
    dock.add_paths([str(tmp_path)])
    wait(lambda: dock.ready)
    assert len(dock.imagery.model.rows) == 3


def test_a_file_that_is_no_image_is_red_and_stops_both_buttons(dock, tmp_path, wait):
    (tmp_path / "x.tif").write_text("no image")
    dock.add_paths([str(tmp_path / "x.tif")])
    wait(lambda: dock.ready)
    assert dock.imagery.model.rows[0].verdict[0] == "red"
    assert dock.imagery.summary.text().startswith("x.tif: ")
    assert not dock.run.train_button.isEnabled()


def test_a_missing_date_is_asked_for(dock, tmp_path, wait):
    for number, path in enumerate(make_images(tmp_path)):
        os.rename(path, str(tmp_path / f"S2 image {'abc'[number]}.tif"))
    dock.add_paths([str(tmp_path / f"S2 image {name}.tif") for name in "abc"])
    wait(lambda: dock.ready)
    assert [row.verdict[0] for row in dock.imagery.model.rows] == ["red"] * 3
    assert "date" in dock.imagery.model.rows[0].verdict[1]
    for number, date in enumerate(DATES):
        dock.imagery.model.setData(dock.imagery.model.index(number, 2), date)
    wait(lambda: dock.ready)
    assert [row.verdict[0] for row in dock.imagery.model.rows] == ["green"] * 3


def test_train_stop_a_map_resume_it_from_layers(dock, tmp_path, wait):
    layers = [QgsRasterLayer(path, Path(path).stem, "gdal") for path in make_images(tmp_path)]
    QgsProject.instance().addMapLayers(layers)
    dock.add_layers(layers)
    with_labels(dock)
    dock.run.folder.setFilePath(str(tmp_path / "out"))
    wait(lambda: dock.ready)
    said = listen(dock)
    dock.run.train_button.click()
    assert not dock.run.train_button.isEnabled() and dock.run.cancel_button.isEnabled()
    wait(lambda: said["trained"] or said["failed"], 60)
    assert not said["failed"]
    assert [layer_date(layer) for layer in layers] == list(DATES)
    model = Path(said["trained"][0]["model"])
    assert dock.run.model.filePath() == str(model)
    assert {path.name for path in model.parent.iterdir()} >= {
        "labels.gpkg",
        "scene.json",
        "model.safetensors",
    }
    assert dock.run.status.text().endswith("Next: press Map classes.")
    assert "a random forest on the bands:" in dock.run.status.text()
    page = model.parent / "report" / "report.html"
    assert f'<a href="{QUrl.fromLocalFile(str(page)).toString()}">Report</a>' in dock.run.status.text()
    assert "maize" in page.read_text(encoding="utf-8")
    notes = [label.text() for label in dock.messages.findChildren(QLabel)]
    assert not any("random" in note or "not trained" in note for note in notes)
    dock.run.map_button.click()
    dock.run.cancel_button.click()
    wait(lambda: said["failed"], 60)
    assert dock.run.status.text() == "Cancelled." and not dock.results.layers
    dock.findChild(QPushButton, "resumeButton").click()
    wait(lambda: said["mapped"] or len(said["failed"]) > 1, 60)
    assert said["mapped"]
    group = QgsProject.instance().layerTreeRoot().findGroup(dock.results._group.name())
    assert [node.name() for node in group.children()] == ["Classes", "Confidence %"]
    classes = dock.results.layers[0]
    assert isinstance(classes.renderer(), QgsPalettedRasterRenderer)
    assert [item.label for item in classes.renderer().classes()] == ["maize", "wheat"]
    assert (classes.width(), classes.height()) == (64, 64)
    assert Path(said["mapped"][0]["map"]).parent != model.parent
    for _ in range(2):  # the second time in the place of the first
        suggested = []
        dock.suggested.connect(suggested.append)
        dock.run.suggest_button.click()
        wait(lambda: suggested or "places" not in dock.run.status.text(), 60)
        names = [node.name() for node in group.children()]
        assert names == ["Draw here next", "Classes", "Confidence %"]
    places = group.children()[0].layer()
    assert places.featureCount() == len(suggested[0]["points"]) > 0
    assert f"{places.featureCount()} places" in dock.run.status.text()
    _maps_a_part(dock, said, wait)


def _maps_a_part(dock, said, wait):
    """Inside of the label polygons, and then what is in view; the map begins in the middle of the view."""
    labels, canvas = dock.labels.layer, dock._iface.canvas
    canvas.setDestinationCrs(labels.crs())
    extent = labels.extent()
    dock.run.extent.kind.setCurrentText(INSIDE)
    dock.run.extent.polygons.setLayer(labels)
    dock.run.map_button.click()
    wait(lambda: len(said["mapped"]) > 1 or len(said["failed"]) > 1, 60)
    inside = dock.results.layers[0]
    assert extent.buffered(20).contains(inside.extent()) and inside.extent().contains(extent.buffered(-20))
    dock.run.extent.kind.setCurrentText(VIEW)
    canvas.setDestinationCrs(QgsCoordinateReferenceSystem())
    dock.run.map_button.click()
    assert said["failed"].pop().startswith("There is no view to map") and not dock.jobs.busy
    canvas.setDestinationCrs(labels.crs())
    view = QgsRectangle.fromCenterAndSize(extent.center(), 200, 150)
    canvas.setExtent(view)
    dock.run.map_button.click()
    wait(lambda: len(said["mapped"]) > 2 or len(said["failed"]) > 1, 60)
    assert len(said["failed"]) == 1
    options = dock.jobs.recipe["options"]
    assert options["start"] == [canvas.extent().center().x(), canvas.extent().center().y()]
    assert canvas.extent().buffered(20).contains(dock.results.layers[0].extent())


def test_a_small_panel_cuts_nothing_off_and_keeps_its_buttons_in_sight(dock, tmp_path, wait):
    labels = with_labels(dock)
    labels.setName("Labels of the whole county, drawn by several people in the course of a year")
    dock.add_paths(make_images(tmp_path))
    wait(lambda: dock.ready)
    dock.run.dates.choose("even:2")
    dock.run.extent.kind.setCurrentText(INSIDE)
    dock.resize(200, 420)
    scroll = dock.findChild(TallScroll)
    wait(lambda: scroll.widget().width() <= scroll.viewport().width())
    for name in (
        "labelLayerCombo",
        "classFieldCombo",
        "taughtCombo",
        "datesCount",
        "insideLayerCombo",
        "adaptButton",
    ):
        widget = dock.findChild(QWidget, name)
        assert widget.isVisible() and widget.width() >= widget.minimumSizeHint().width(), name
        assert widget.mapTo(scroll.widget(), widget.rect().topRight()).x() < scroll.viewport().width(), name
    for name in ("trainButton", "mapButton", "cancelButton", "progressBar", "runStatus"):
        widget = dock.findChild(QWidget, name)
        assert dock.rect().contains(widget.mapTo(dock, widget.rect().bottomRight())), name


def test_a_killed_worker_leaves_a_sentence_and_a_working_panel(dock, client, tmp_path, wait):
    said = made_ready(dock, tmp_path, wait)
    dock.train()
    wait(lambda: dock.run.bar.isEnabled() and client.running)
    os.kill(client.pid, signal.SIGKILL)
    wait(lambda: said["failed"])
    assert "memory ran out" in said["failed"][0]
    assert dock.run.status.text() == said["failed"][0]
    assert dock.run.train_button.isEnabled() and not dock.run.cancel_button.isEnabled()
    dock.train()
    wait(lambda: said["trained"] or len(said["failed"]) > 1, 60)
    assert said["trained"]


def test_an_output_folder_that_cannot_be_made_is_told(dock, tmp_path, wait):
    dock.add_paths([str(make_scene(tmp_path))])
    with_labels(dock)
    (tmp_path / "file").write_text("")
    dock.run.folder.setFilePath(str(tmp_path / "file" / "below"))
    wait(lambda: dock.ready)
    said = listen(dock)
    dock.train()
    assert "cannot be used" in said["failed"][0]
    assert dock.run.train_button.isEnabled()


def test_the_project_keeps_the_scene_and_moves_with_its_files(dock, tmp_path, wait):
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    scene = make_scene(here)
    project = QgsProject.instance()
    dock.add_paths([str(scene)])
    wait(lambda: dock.ready)
    dock.imagery.model.setData(dock.imagery.model.index(0, 2), "2021-04-12")
    assert project.isDirty()
    assert project.write(str(here / "p.qgs"))
    assert str(here) not in project.readEntry("SkySense", "/scene")[0]  # relative paths
    project.clear()
    assert dock.imagery.model.rows == [] and not project.isDirty()
    os.rename(str(here), str(there))
    assert project.read(str(there / "p.qgs"))
    wait(lambda: dock.ready)
    assert [row.path for row in dock.imagery.model.rows] == [
        str(there / f"S2_small_{date.replace('-', '')}.tif") for date in DATES
    ]
    assert dock.imagery.model.rows[0].date == "2021-04-12"
    assert dock.scene()["name"] == "small"
    assert [row.verdict[0] for row in dock.imagery.model.rows] == ["green"] * 3


def test_a_run_of_a_project_that_was_closed_is_told_of_and_not_shown_in_another(dock, tmp_path, wait):
    dock.add_paths([str(make_scene(tmp_path))])
    with_labels(dock)
    dock.run.folder.setFilePath(str(tmp_path / "out"))
    wait(lambda: dock.ready)
    dock.run.train_button.click()
    assert dock.jobs.busy
    QgsProject.instance().clear()
    assert dock.jobs.busy and not dock.run.train_button.isEnabled() and dock.run.cancel_button.isEnabled()
    wait(lambda: not dock.jobs.busy, 180)
    model = next((tmp_path / "out").glob("*/model.safetensors"))
    told = [label.text() for label in dock.messages.findChildren(QLabel)]
    assert any("project before is finished" in text and str(model) in text for text in told)
    assert not dock.run.model.filePath() and not QgsProject.instance().mapLayers()
    assert dock.run.status.text() == "Add images first." and not dock.run.cancel_button.isEnabled()


def test_what_the_table_says_of_the_images_is_not_said_again(dock, tmp_path, wait):
    images = [make_image(tmp_path / f"S2_L1C_{date.replace('-', '')}.tif", 600) for date in DATES]
    dock.add_paths(list(map(str, images)))
    with_labels(dock)
    dock.run.folder.setFilePath(str(tmp_path / "out"))
    wait(lambda: dock.ready)
    caution = "Level-1C (top of atmosphere), prefer Level-2A."
    assert {row.verdict[1] for row in dock.imagery.model.rows} == {caution}
    said, notes = listen(dock), []
    dock.jobs.noted.connect(notes.append)
    dock.train()
    wait(lambda: said["trained"] or said["failed"], 60)
    assert said["trained"]
    assert [note for note in notes if caution in note] == [
        f"{images[0].name} and {len(images) - 1} others: {caution}"
    ]
    dock.jobs.noted.emit("Something else.")
    told = {label.text() for label in dock.messages.findChildren(QLabel)}
    assert not any(caution in text for text in told) and "Something else." in told


def test_a_real_scene_fills_table_and_labels(dock, shared, wait):
    dock.add_paths([str(shared / "data" / "scenes" / "flanders-crops-2018")])
    wait(lambda: dock.ready, 60)
    rows = dock.imagery.model.rows
    assert len(rows) == 48 and all(row.verdict[0] in ("green", "amber") for row in rows)
    assert dock.labels.field == "class"
    assert dock.run.train_button.isEnabled()


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "1 s"), (40, "40 s"), (170, "3 min"), (4800, "80 min"), (7500, "2 h 5 min")]
)
def test_durations_are_said_as_people_do(seconds, text):
    assert duration(seconds) == text


def test_rows_that_could_not_be_looked_at_are_asked_for_again(dock, client, tmp_path, wait):
    scene = make_scene(tmp_path)
    found, client._find = client._find, lambda: Found("", (), "There is no Python.")
    dock.add_paths([str(scene)])
    rows = dock.imagery.model.rows
    wait(lambda: all(row.described for row in rows))
    assert {row.verdict for row in rows} == {("red", "There is no Python.")}
    kept = [(row.modality, row.date, row.bands) for row in rows]
    client._find = found
    client.restart()
    dock.checker.ask_again()
    wait(lambda: dock.checker.settled)
    assert all(row.verdict[0] == "green" for row in rows)
    assert all(before[:2] == (row.modality, row.date) for before, row in zip(kept, rows))


def test_resume_goes_away_with_the_next_run_and_with_the_project(dock, tmp_path, wait):
    said = made_ready(dock, tmp_path, wait)
    dock.train()
    wait(lambda: said["trained"], 60)
    dock.run.map_button.click()
    dock.run.cancel_button.click()
    wait(lambda: said["failed"], 60)
    assert dock.messages._resumable is not None
    dock.train()
    assert dock.messages._resumable is None
    wait(lambda: len(said["trained"]) == 2, 60)
    dock.run.map_button.click()
    dock.run.cancel_button.click()
    wait(lambda: len(said["failed"]) == 2, 60)
    assert dock.runs._stopped["task"] == "predict" and dock.messages._resumable is not None
    dock.runs.clear()
    assert dock.messages._resumable is None


def test_map_waits_for_polygons_to_map_inside_of(dock):
    layer = QgsVectorLayer("Polygon?crs=EPSG:32632", "inside", "memory")
    QgsProject.instance().addMapLayer(layer)
    extent = dock.run.extent
    extent.kind.setCurrentText(INSIDE)
    extent.polygons.setLayer(layer)
    told = []
    extent.changed.connect(lambda: told.append(extent.missing))
    assert "Draw polygons in" in extent.missing
    layer.startEditing()
    feature = QgsFeature(layer.fields())
    feature.setGeometry(QgsGeometry.fromRect(QgsRectangle(500_000, 5_400_000, 500_100, 5_400_100)))
    layer.addFeature(feature)
    assert told and told[-1] == ""
    QgsProject.instance().removeAllMapLayers()
