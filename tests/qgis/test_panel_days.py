"""Labels that are true on one day each: chosen, learned and mapped in the panel, with the real worker."""

import json
import subprocess
from pathlib import Path

import pytest
from osgeo import gdal
from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsFeature,
    QgsField,
    QgsGeometry,
    QgsProject,
    QgsRectangle,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QDate, QDateTime, Qt, QVariant
from running import map_in_panel
from small_scene import DATES, GSD, SIZE, X0, Y0, make_images, make_labels, make_scene

from skysense_qgis.dock.date_field import date_fields
from skysense_qgis.dock.day import DayChoice
from skysense_qgis.dock.export import LAYER_NAME, export_labels
from skysense_qgis.dock.project import SCOPE

ALL = "all dates"


def entries(combo):
    return [combo.itemText(number) for number in range(combo.count())]


def date_labels(layer, name="when"):
    """Add a field of dates to a layer that is being edited: the first two of the scene by turns."""
    assert layer.addAttribute(QgsField(name, QVariant.Date))
    number = layer.fields().lookupField(name)
    for place, feature in enumerate(sorted(layer.getFeatures(), key=lambda f: f.id())):
        assert layer.changeAttributeValue(
            feature.id(), number, QDate.fromString(DATES[place % 2], "yyyy-MM-dd")
        )
    return layer


@pytest.fixture
def drawn(dock, tmp_path, wait):
    """The panel with images and labels of days, the whole scene in view."""
    canvas, side = dock._iface.mapCanvas(), SIZE * GSD
    canvas.setDestinationCrs(QgsCoordinateReferenceSystem("EPSG:32631"))
    canvas.resize(400, 400)
    canvas.setExtent(QgsRectangle(X0, Y0 - side, X0 + side, Y0))
    dock.add_paths([str(make_scene(tmp_path))])
    labels = date_labels(make_labels())
    QgsProject.instance().addMapLayer(labels)
    dock.labels.choose(labels, "class")
    dock.run.folder.setFilePath(str(tmp_path / "out"))
    wait(lambda: dock.ready)
    return labels


def layer_of(rows, fields="day:date,at:datetime,hour:time,iso:string,name:string,mixed:string,number:int"):
    """A layer whose rows hold the last five of these fields' values."""
    uri = "".join(f"&field={field}" for field in fields.split(","))
    layer = QgsVectorLayer(f"Polygon?crs=EPSG:32631{uri}", "dated", "memory")
    features = []
    for row in rows:
        feature = QgsFeature(layer.fields())
        feature.setGeometry(QgsGeometry.fromRect(QgsRectangle(0, 0, 10, 10)))
        feature.setAttributes([None, None, None, *row])
        features.append(feature)
    layer.dataProvider().addFeatures(features)
    return layer


def test_fields_of_dates_and_texts_that_read_as_dates_are_found(qgis_app):
    assert date_fields(layer_of([])) == ["day", "at"]
    rows = [
        ["2021-04-10", "wheat", "20210410", 20210410],
        [None, "", "May", 3],
        ["2021-06-19 11:30", None, None, 3],
    ]
    assert date_fields(layer_of(rows)) == ["day", "at", "iso"]
    for text in (
        "2021-13-10",
        "2021-02-30",
        "10.04.2021",
        "2021-0410",
        "2021041011",
        "20210410x",
        "x2021-04-10",
        "  ",
    ):
        found = date_fields(layer_of([[text, None, None, None]]))
        assert "iso" not in found, text
    # Texts further down are not looked at: a long table is not read as a whole.
    rows = [["2021-04-10", None, None, None]] * 20 + [["later", None, None, None]]
    assert "iso" in date_fields(layer_of(rows))


def test_the_worker_reads_a_day_in_each_text_that_is_offered(python):
    texts = [
        "2021-04-10",
        "20210410",
        "2021_04_10",
        "2021.04.10",
        "2021-04-10 11:30",
        "2021-04-10T23:30:00+02:00",
    ]
    for text in texts:
        assert "iso" in date_fields(layer_of([[text, None, None, None]])), text
    code = f"from skysense.scene.dates import date_from_name as day; print({{str(day(t)) for t in {texts}}})"
    found = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == "{'2021-04-10'}"


def test_the_row_is_there_while_the_layer_has_such_a_field(dock, wait):
    section = dock.labels
    layer = make_labels()
    QgsProject.instance().addMapLayer(layer)
    section.choose(layer, "class")
    assert not section.date_combo.isVisible() and not section.date_title.isVisible()
    date_labels(layer)
    wait(section.date_combo.isVisible)
    assert section.date_title.isVisible()
    assert entries(section.date_combo) == [ALL, "the day in “when”"]
    assert (section.date_field, section.fields) == ("", {"field": "class"})
    section.date_combo.setCurrentIndex(1)
    assert section.fields == {"field": "class", "date_field": "when"}
    # A text whose first value is spoilt stays chosen: the worker says which row it is.
    number = layer.fields().lookupField("note")
    for feature in list(layer.getFeatures()):
        layer.changeAttributeValue(feature.id(), number, "2021-04-10")
    wait(lambda: section.date_combo.count() == 3)
    section.date_combo.setCurrentIndex(section.date_combo.findData("note"))
    layer.changeAttributeValue(next(layer.getFeatures()).id(), number, "May")
    layer.deleteAttribute(layer.fields().lookupField("when"))
    wait(lambda: section.date_combo.count() == 2)
    assert section.date_field == "note"
    section.choose(layer, "class")
    assert section.date_field == "" and not section.date_combo.isVisible()


def test_a_field_that_is_removed_is_no_longer_chosen(dock, wait):
    layer = date_labels(make_labels())
    QgsProject.instance().addMapLayer(layer)
    dock.labels.choose(layer, "class", "when")
    assert dock.labels.date_field == "when"
    said = []
    dock.labels.changed.connect(lambda: said.append(dock.labels.date_field))
    layer.deleteAttribute(layer.fields().lookupField("when"))
    wait(lambda: said and said[-1] == "")
    assert not dock.labels.date_combo.isVisible()
    QgsProject.instance().removeMapLayer(layer.id())
    assert dock.labels.layer is None and dock.labels.date_field == ""


def test_exported_labels_carry_the_days(tmp_path):
    layer = layer_of([["2021-04-10", "a", None, 1]])
    layer.startEditing()
    time = QDateTime.fromString("2021-06-19T23:30:00", Qt.DateFormat.ISODate)
    first = next(layer.getFeatures()).id()
    layer.changeAttributeValue(first, 0, QDate(2021, 4, 10))
    layer.changeAttributeValue(first, 1, time)
    export_labels(layer, tmp_path / "labels.gpkg")
    written = QgsVectorLayer(f"{tmp_path / 'labels.gpkg'}|layername={LAYER_NAME}", "x", "ogr")
    found = next(written.getFeatures())
    assert (found["day"], found["at"].date(), found["iso"]) == (QDate(2021, 4, 10), time.date(), "2021-04-10")
    assert date_fields(written) == ["day", "at", "iso"]


def test_the_project_keeps_the_field(dock, drawn, tmp_path):
    export_labels(drawn, tmp_path / "kept.gpkg")
    layer = QgsVectorLayer(f"{tmp_path / 'kept.gpkg'}|layername={LAYER_NAME}", "kept", "ogr")
    project = QgsProject.instance()
    project.addMapLayer(layer)
    dock.labels.choose(layer, "class")
    project.setDirty(False)
    dock.labels.date_combo.setCurrentIndex(dock.labels.date_combo.findData("when"))
    assert project.isDirty() and project.write(str(tmp_path / "p.qgs"))
    project.clear()
    assert dock.labels.fields == {"field": ""} and not dock.labels.date_combo.isVisible()
    assert project.read(str(tmp_path / "p.qgs"))
    assert dock.labels.fields == {"field": "class", "date_field": "when"}
    assert dock.labels.date_combo.isVisible()
    # A project from before there was the choice has labels of all dates.
    state = json.loads(project.readEntry(SCOPE, "/scene")[0])
    del state["date_field"]
    project.writeEntry(SCOPE, "/scene", json.dumps(state))
    dock._restore()
    assert dock.labels.fields == {"field": "class"} and dock.labels.date_combo.isVisible()


def test_a_day_stays_chosen_while_the_scene_has_it(qgis_app):
    choice, said = DayChoice(), []
    choice.currentIndexChanged.connect(lambda _: said.append(choice.options))
    choice.offer(DATES)
    assert entries(choice) == ["the newest", *reversed(DATES)] and choice.options == {} and not said
    choice.setCurrentIndex(3)
    assert said == [{"at": DATES[0]}]
    choice.offer(DATES[:2])
    assert choice.options == {"at": DATES[0]} and len(said) == 1
    choice.offer(DATES[1:])
    assert choice.options == {} and said[1:] == [{}]


def test_a_training_on_days_makes_a_model_that_maps_one(dock, drawn, wait):
    dock.labels.date_combo.setCurrentIndex(1)
    assert not dock.run.day.isVisible() and not dock.run.day_title.isVisible()
    wait(lambda: dock.ready)
    said = []
    dock.trained.connect(said.append)
    dock.failed.connect(said.append)
    dock.train()
    wait(lambda: said, 60)
    recipe = json.loads(Path(f"{said[0]['model']}.recipe.json").read_text())
    given = recipe["labels"]
    assert (given["field"], given["date_field"]) == ("class", "when")
    copy = QgsVectorLayer(f"{given['path']}|layername={given['layer']}", "copy", "ogr")
    assert (
        sorted(f["when"].toString("yyyy-MM-dd") for f in copy.getFeatures())
        == [DATES[0]] * 4 + [DATES[1]] * 4
    )
    assert dock.run.day.isVisible() and dock.run.day_title.isVisible()
    assert entries(dock.run.day) == ["the newest", *reversed(DATES)]
    for place, at, day in ((0, None, DATES[-1]), (3, DATES[0], DATES[0])):
        dock.run.day.setCurrentIndex(place)
        result = map_in_panel(dock, wait)
        wait(lambda: not dock.jobs.busy)
        assert gdal.Open(result["map"]).GetMetadataItem("SKYSENSE_AT") == day
        options = json.loads(Path(f"{result['map']}.recipe.json").read_text())["options"]
        assert options.get("at") == at
    # Another model has no such choice, and is not given the one that was made.
    dock.run.model.setFilePath("")
    assert not dock.run.day.isVisible() and dock.run.day_options == {}


def test_a_training_on_all_dates_maps_them_together(dock, drawn, wait):
    said = []
    dock.trained.connect(said.append)
    dock.failed.connect(said.append)
    dock.train()
    wait(lambda: said, 60)
    assert "date_field" not in json.loads(Path(f"{said[0]['model']}.recipe.json").read_text())["labels"]
    assert not dock.run.day.isVisible()
    assert gdal.Open(map_in_panel(dock, wait)["map"]).GetMetadataItem("SKYSENSE_AT") is None


def test_looks_while_drawing_are_of_the_chosen_day(dock, drawn, wait):
    shown = []
    dock.following.shown.connect(shown.append)
    dock.labels.date_combo.setCurrentIndex(1)
    dock.run.follow_box.setChecked(True)
    assert dock.run.day.isVisible()
    wait(lambda: len(shown) == 1, 120)
    at = [gdal.Open(shown[0]["map"]).GetMetadataItem("SKYSENSE_AT")]
    wait(lambda: not dock.following.busy)
    dock.run.day.setCurrentIndex(dock.run.day.findData(DATES[1]))
    wait(lambda: len(shown) == 2, 120)
    at.append(gdal.Open(shown[1]["map"]).GetMetadataItem("SKYSENSE_AT"))
    assert at == [DATES[-1], DATES[1]]
    # Mapped anew with what was learned: the model is the same.
    assert Path(shown[0]["map"]).parent == Path(shown[1]["map"]).parent
    wait(lambda: not dock.following.busy)
    dock.run.follow_box.setChecked(False)
    assert not dock.run.day.isVisible()


def test_days_of_sensors_that_the_model_does_not_see_are_not_offered(dock, tmp_path, wait):
    images = make_images(tmp_path)
    dock.add_paths(images)
    wait(lambda: dock.ready)
    header = {"format": 1, "inputs": {"moment": True, "modalities": ["s2"]}}
    text = json.dumps({"__metadata__": {"skysense": json.dumps(header)}}).encode()
    model = tmp_path / "m.safetensors"
    model.write_bytes(len(text).to_bytes(8, "little") + text)
    dock.run.model.setFilePath(str(model))
    assert entries(dock.run.day) == ["the newest", *reversed(DATES)]
    table = dock.imagery.model
    table.rows[2].modality = "hr"
    table.scene_changed.emit()
    assert entries(dock.run.day) == ["the newest", DATES[1], DATES[0]]
    table.rows[1].date = "yesterday"
    table.scene_changed.emit()
    assert entries(dock.run.day) == ["the newest", DATES[0]]
