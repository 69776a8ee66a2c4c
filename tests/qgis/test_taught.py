"""What the labels teach, as the panel offers it: classes, a number, or the class of whole polygons, with the real worker."""

import json
from pathlib import Path

import pytest
from osgeo import gdal
from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsFeature,
    QgsGeometry,
    QgsProject,
    QgsRectangle,
    QgsSingleBandPseudoColorRenderer,
    QgsVectorLayer,
)
from running import map_in_panel
from small_scene import GSD, SIZE, X0, Y0, make_scene

from skysense_qgis.dock.class_ids import known_ids, remember_ids
from skysense_qgis.dock.export import export_labels
from skysense_qgis.dock.labels import LabelsSection
from skysense_qgis.dock.project import SCOPE
from skysense_qgis.dock.taught import holds_numbers
from skysense_qgis.processing.finetune import TAUGHT


def plots(rows, fields="fid:integer&field=class:string(40)&field=height:double&field=year:integer"):
    """A scratch layer of a 6 x 6 pixel square for each row of values; half of the first 16 lie in each half of the scene."""
    layer = QgsVectorLayer(f"Polygon?crs=EPSG:32631&field={fields}", "plots", "memory")
    features = []
    for number, row in enumerate(rows):
        col, line = (3, 14, 38, 50)[number % 4], (3, 18, 33, 48)[number // 4 % 4]
        x, y = X0 + col * GSD, Y0 - line * GSD
        feature = QgsFeature(layer.fields())
        feature.setGeometry(QgsGeometry.fromRect(QgsRectangle(x, y - 6 * GSD, x + 6 * GSD, y)))
        feature.setAttributes(list(row))
        features.append(feature)
    layer.dataProvider().addFeatures(features)
    layer.updateExtents()
    QgsProject.instance().addMapLayer(layer)
    return layer


def heights():
    """16 plots: low ones in the left half, high ones in the right, each 0.1 above the one before."""
    return plots(
        [n, "low" if n % 4 < 2 else "high", (2.0 if n % 4 < 2 else 30.0) + 0.1 * n, 2000 + n]
        for n in range(16)
    )


@pytest.fixture
def ready(dock, tmp_path, wait):
    """The panel with the scene, all of it in view, and a layer of heights."""
    canvas, side = dock._iface.mapCanvas(), SIZE * GSD
    canvas.setDestinationCrs(QgsCoordinateReferenceSystem("EPSG:32631"))
    canvas.resize(400, 400)
    canvas.setExtent(QgsRectangle(X0, Y0 - side, X0 + side, Y0))
    dock.add_paths([str(make_scene(tmp_path))])
    dock.run.folder.setFilePath(str(tmp_path / "out"))
    layer = heights()
    wait(lambda: dock.ready)
    return layer


def trained(dock, wait) -> dict:
    """Press Train; the worker's result."""
    said = []
    for signal in (dock.trained, dock.failed):
        signal.connect(said.append)
    wait(lambda: dock.ready)
    assert dock.run.train_button.isEnabled(), dock.run.train_button.toolTip()
    dock.run.train_button.click()
    wait(lambda: said, 120)
    assert isinstance(said[0], dict), said
    return said[0]


def recipe_of(path) -> dict:
    return json.loads(Path(f"{path}.recipe.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("values", "number"),
    [
        ([3] * 40 + [None], False),
        ([n % 11 for n in range(12)], False),  # few classes, hardly drawn yet
        ([n % 12 for n in range(35)], True),
        ([n % 12 for n in range(36)], False),  # a dozen classes of three polygons each
        ([n % 256 for n in range(1000)], True),  # more than there can be classes
        ([None], False),
    ],
)
def test_whole_numbers_are_classes_while_each_has_polygons(qgis_app, values, number):
    layer = plots([0, "x", 1.0, value] for value in values)
    assert holds_numbers(layer, "year") is number
    assert not holds_numbers(layer, "class")
    assert not holds_numbers(layer, "none") and not holds_numbers(None, "")


@pytest.mark.parametrize(
    ("values", "number"), [([2.5, 3.0], True), ([1.0, 2.0, 3.0] * 10, False), ([None], True)]
)
def test_decimal_fields_hold_numbers_unless_they_hold_ids(qgis_app, values, number):
    assert holds_numbers(plots([0, "x", value, 1] for value in values), "height") is number


def test_an_unknown_number_of_rows_makes_no_numbers_of_ids(qgis_app, monkeypatch):
    layer = plots([0, "x", 1.0, n % 15] for n in range(300))
    monkeypatch.setattr(layer, "featureCount", lambda: -1)
    assert not holds_numbers(layer, "year")


def test_the_field_tells_what_it_teaches_and_the_user_may_say_otherwise(qgis_app):
    section = LabelsSection()
    said = []
    section.changed.connect(lambda: said.append(section.target))
    words = [section.taught.itemText(number) for number in range(section.taught.count())]
    assert words == [TAUGHT[name] for name in ("classes", "values", "polygons")]  # as in Processing
    section.choose(heights(), "")
    assert (section.field, section.target, section.options) == ("class", "classes", {})
    assert section.field_title.text() == "Class field"
    section.field_combo.setField("height")
    assert (section.target, section.options, said[-1]) == ("values", {"target": "values"}, "values")
    assert section.field_title.text() == "Number field" and not section.missing
    section.field_combo.setField("class")
    assert section.target == "classes"
    section.taught.choose("polygons")
    section.field_combo.setField("fid")  # 16 rows, 16 values
    assert section.target == "values"
    section.taught.choose("classes")
    assert (section.target, said[-1]) == ("classes", "classes")
    section.field_combo.setField("class")
    section.taught.choose("values")
    assert (
        section.missing
        == "The field “class” holds text: choose a field of numbers, or let the labels teach classes."
    )
    section.new_button.click()
    assert (section.field, section.target) == ("value", "values")
    assert section.missing == "Draw polygons of small and of large numbers."
    section.layer.rollBack()


def test_a_layer_without_a_field_of_classes_gives_its_numbers(qgis_app, tmp_path):
    section = LabelsSection()
    section.choose(plots([[1, 2.5]], "fid:integer&field=height:double"), "")
    assert section.field == "fid"  # of a scratch layer any field may be meant
    path = tmp_path / "labels.gpkg"
    export_labels(plots([[2.5]], "height:double"), path)
    layer = QgsVectorLayer(f"{path}|layername=labels", "stored", "ogr")
    QgsProject.instance().addMapLayer(layer)
    section.choose(layer, "")
    assert [field.name() for field in layer.fields()] == ["skysense_fid", "height"]
    assert (section.field, section.target) == ("height", "values")
    QgsProject.instance().removeAllMapLayers()


def test_days_go_with_classes_only(qgis_app):
    layer = plots([["a", 1.5, None]], "class:string(9)&field=height:double&field=day:date")
    section = LabelsSection()
    section.choose(layer, "class", "day")
    assert section.fields == {"field": "class", "date_field": "day"}
    section.field_combo.setField("height")
    assert section.fields == {"field": "height"} and section.date_combo.isHidden()
    section.field_combo.setField("class")
    assert section.fields == {"field": "class", "date_field": "day"} and not section.date_combo.isHidden()


def test_another_field_in_the_place_of_a_lost_one_tells_what_it_teaches(qgis_app, wait):
    layer = plots([[1, 2.5]] * 9, "key:integer&field=height:double")
    section = LabelsSection()
    section.choose(layer, "height")
    assert (section.field, section.target) == ("height", "values")
    layer.dataProvider().deleteAttributes([1])
    layer.updateFields()
    wait(lambda: (section.field, section.target) == ("key", "classes"))
    QgsProject.instance().removeAllMapLayers()


def test_a_number_is_trained_mapped_and_shown(dock, ready, wait):
    dock.labels.choose(ready, "height")
    assert dock.labels.taught.isVisible()
    result = trained(dock, wait)
    assert result["field"] == "height" and recipe_of(result["model"])["options"]["target"] == "values"
    said = dock.run.status.text()
    assert "Typical error on polygons it had not seen (RMSE): " in said
    assert "Share of their differences that it explains (R²): " in said
    assert said.count("(a random forest on the bands: ") == 2
    assert Path(result["page"]).is_file() and ">Report</a>" in said
    assert said.endswith("Next: press Map numbers.") and dock.run.map_button.text() == "Map numbers"
    mapped = map_in_panel(dock, wait)
    assert [layer.name() for layer in dock.results.layers] == ["height", "Uncertainty (±)"]
    renderer = dock.results.layers[0].renderer()
    assert isinstance(renderer, QgsSingleBandPseudoColorRenderer)
    assert (renderer.classificationMin(), renderer.classificationMax()) == (2.0, 31.5)
    pixels = gdal.Open(mapped["map"]).ReadAsArray()
    assert pixels[10, 10] < 8 and pixels[10, 50] > 24
    assert "target" not in recipe_of(mapped["map"])["options"]
    assert not dock.run.suggest_button.isEnabled()
    assert dock.run.suggest_button.toolTip() == "Press Map first, with a model of classes"


def test_numbers_are_painted_while_the_user_draws(dock, ready, wait):
    shown = []
    dock.following.shown.connect(shown.append)
    dock.labels.choose(ready, "height")
    dock.run.follow_box.setChecked(True)
    wait(lambda: shown, 120)
    layer = dock.following.map.layer
    assert layer.name() == "height (as you draw)"
    assert isinstance(layer.renderer(), QgsSingleBandPseudoColorRenderer)
    assert layer.renderer().classificationMin() == 2.0
    dock.labels.field_combo.setField("class")
    wait(lambda: len(shown) > 1, 120)
    assert dock.following.map.layer.id() == layer.id() and layer.name() == "Classes (as you draw)"
    assert [entry.label for entry in layer.renderer().classes()] == ["high", "low"]
    layer.setName("mine")
    dock.following.repaint()
    wait(lambda: len(shown) > 2, 120)
    assert layer.name() == "mine"


def test_whole_polygons_are_trained_and_not_painted_while_the_user_draws(dock, ready, wait):
    dock.labels.choose(ready, "class")
    box = dock.run.follow_box
    box.setChecked(True)
    dock.labels.taught.choose("polygons")
    assert not box.isEnabled() and not box.isChecked()
    assert box.toolTip() == "Not for the class of whole polygons: train, then classify them."
    result = trained(dock, wait)
    assert "Mean F1 on polygons it had not seen: " in dock.run.status.text()
    assert dock.run.map_button.text() == "Classify polygons"
    dock.run.extent.polygons.setLayer(ready)
    assert map_in_panel(dock, wait)["classified"] == 16
    assert recipe_of(result["model"])["options"]["target"] == "polygons"
    dock.labels.taught.choose("classes")
    assert box.isEnabled() and box.toolTip().startswith("After each edit")


def test_the_project_keeps_what_is_taught(dock, ready, tmp_path):
    dock.labels.choose(ready, "fid")
    assert dock.labels.target == "values"
    project = QgsProject.instance()
    for target in ("classes", "values"):
        dock.labels.taught.choose(target)
        assert project.isDirty() and project.write(str(tmp_path / "p.qgs"))
        project.clear()
        assert dock.labels.target == "classes" and not project.isDirty()
        assert project.read(str(tmp_path / "p.qgs"))
        assert (dock.labels.field, dock.labels.target) == ("fid", target)
    # In a project from before there was a choice all labels teach classes.
    state = json.loads(project.readEntry(SCOPE, "/scene")[0])
    del state["target"]
    project.writeEntry(SCOPE, "/scene", json.dumps(state))
    dock._restore()
    assert (dock.labels.field, dock.labels.target) == ("fid", "classes")


def test_ids_of_classes_stay_with_the_layer_and_its_field(qgis_app, tmp_path):
    layer = heights()
    assert known_ids(layer, "class") == {}
    remember_ids(layer, "class", [{"id": 1, "name": "maize"}, {"id": 2, "name": "wheat"}])
    remember_ids(layer, "class", [{"id": 2, "name": "road"}, {"id": 3, "name": "water"}])
    assert known_ids(layer, "class") == {
        "maize": 1,
        "road": 2,
        "water": 3,
    }  # each number once: the newest counts
    assert known_ids(layer, "kind") == {}
    remember_ids(layer, "year", [{"id": 5, "name": "class 5"}])  # numbers are ids themselves
    assert known_ids(layer, "year") == {}
    project, path = QgsProject.instance(), str(tmp_path / "p.qgs")
    assert project.write(path) and project.read(path)
    (layer,) = project.mapLayers().values()
    assert known_ids(layer, "class") == {"maize": 1, "road": 2, "water": 3}
    other, qml = heights(), str(tmp_path / "other.qml")
    other.saveNamedStyle(qml)
    layer.loadNamedStyle(qml)  # a style brings properties of its own, and of another layer
    assert (
        known_ids(layer, "class") == {"maize": 1, "road": 2, "water": 3} and known_ids(other, "class") == {}
    )
    project.writeEntry(SCOPE, "/class_ids", "no JSON")
    assert known_ids(layer, "class") == {}


def test_a_class_keeps_its_id_in_the_next_training(dock, ready, tmp_path, wait):
    dock.labels.choose(ready, "class")
    named = lambda result: {item["name"]: item["id"] for item in result["classes"]}  # noqa: E731
    first = trained(dock, wait)
    assert named(first) == {"high": 1, "low": 2} and "ids" not in recipe_of(first["model"])["options"]
    # By name alone "bare" would come first; and "low" is drawn no more, but will be again.
    field = ready.fields().lookupField("class")
    changed = {n + 1: {field: "bare"} for n in range(16) if n % 4 < 2}
    ready.dataProvider().changeAttributeValues(changed)
    second = trained(dock, wait)
    assert named(second) == {"high": 1, "bare": 3}
    assert recipe_of(second["model"])["options"]["ids"] == {"high": 1, "low": 2}
    ready.dataProvider().changeAttributeValues({1: {field: "low"}, 6: {field: "low"}, 9: {field: "air"}})
    project = QgsProject.instance()
    layer_id = ready.id()
    assert known_ids(project.mapLayer(layer_id), "class") == {"high": 1, "low": 2, "bare": 3}
    third = trained(dock, wait)
    assert named(third) == {"high": 1, "low": 2, "bare": 3, "air": 4}
    dock.run.follow_box.setChecked(True)  # so do the looks
    wait(lambda: dock.following._model is not None, 120)
    assert named(dock.following._model) == named(third)
