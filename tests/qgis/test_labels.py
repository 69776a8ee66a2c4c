import pytest
from qgis.core import (
    QgsFeature,
    QgsGeometry,
    QgsPointXY,
    QgsProject,
    QgsRectangle,
    QgsVectorFileWriter,
    QgsVectorLayer,
)
from small_scene import make_labels

from skysense_qgis.dock.export import LAYER_NAME, export_labels
from skysense_qgis.dock.labels import LabelsSection
from skysense_qgis.dock.row import RowError


def read(path):
    layer = QgsVectorLayer(f"{path}|layername={LAYER_NAME}", "x", "ogr")
    assert layer.isValid()
    return layer


def test_a_scratch_layer_is_written_with_edits_that_are_not_saved(tmp_path):
    layer = make_labels()
    assert layer.isModified() and layer.featureCount() == 8
    export_labels(layer, tmp_path / "labels.gpkg")
    written = read(tmp_path / "labels.gpkg")
    assert written.featureCount() == 8
    assert written.crs().authid() == "EPSG:32631"
    assert {field.name() for field in written.fields()} == {"skysense_fid", "class", "note"}
    assert sorted(f["class"] for f in written.getFeatures()) == ["maize"] * 4 + ["wheat"] * 4


def test_a_geopackage_with_new_and_changed_polygons(tmp_path):
    path = str(tmp_path / "mine.gpkg")
    options = QgsVectorFileWriter.SaveVectorOptions()
    source = make_labels()
    context = QgsProject.instance().transformContext()
    QgsVectorFileWriter.writeAsVectorFormatV3(source, path, context, options)
    layer = QgsVectorLayer(path, "mine", "ogr")
    layer.startEditing()
    first = next(layer.getFeatures())
    layer.changeAttributeValue(first.id(), layer.fields().lookupField("class"), "barley")
    for _ in range(2):
        feature = QgsFeature(layer.fields())
        feature.setGeometry(QgsGeometry.fromRect(QgsRectangle(0, 0, 10, 10)))
        feature["class"] = "water"
        layer.addFeature(feature)
    export_labels(layer, tmp_path / "labels.gpkg")
    names = [f["class"] for f in read(tmp_path / "labels.gpkg").getFeatures()]
    assert (len(names), names.count("water"), names.count("barley")) == (10, 2, 1)
    layer.rollBack()


def test_an_empty_layer_and_a_bad_folder_are_sentences(tmp_path):
    with pytest.raises(RowError, match="no polygons yet"):
        export_labels(QgsVectorLayer("Polygon?crs=EPSG:4326", "empty", "memory"), tmp_path / "labels.gpkg")
    with pytest.raises(RowError, match="cannot be written"):
        export_labels(make_labels(), tmp_path / "no" / "such" / "labels.gpkg")


def test_the_section_says_what_is_missing_and_guesses_the_field(tmp_path):
    section = LabelsSection()
    assert section.missing == "Choose the polygon layer with the labels."
    empty = QgsVectorLayer("Polygon?crs=EPSG:4326&field=note:string&field=Class:string", "new", "memory")
    QgsProject.instance().addMapLayer(empty)
    section.choose(empty, "")
    assert section.field == "Class"
    assert section.missing == "Draw a few polygons for each class."
    labels = make_labels()
    QgsProject.instance().addMapLayer(labels)
    section.choose(labels, "note")
    assert (section.field, section.missing, section.as_file()) == ("note", "", None)
    export_labels(labels, tmp_path / "labels.gpkg")
    assert section.open_file(str(tmp_path / "labels.gpkg"), "", "class")
    assert section.as_file() == {"path": str(tmp_path / "labels.gpkg"), "field": "class"}
    QgsProject.instance().removeAllMapLayers()
    assert section.missing == "Choose the polygon layer with the labels."


def test_layers_of_points_can_be_chosen_and_lines_cannot(tmp_path):
    points = QgsVectorLayer("Point?crs=EPSG:32632&field=class:string", "plots", "memory")
    for number in range(3):
        feature = QgsFeature(points.fields())
        feature.setGeometry(QgsGeometry.fromPointXY(QgsPointXY(500_000 + 10 * number, 5_400_000)))
        feature["class"] = "wheat"
        points.dataProvider().addFeature(feature)
    lines = QgsVectorLayer("LineString?crs=EPSG:32632&field=class:string", "roads", "memory")
    QgsProject.instance().addMapLayers([points, lines])
    section = LabelsSection()
    assert [section.layer_combo.layer(i) for i in range(section.layer_combo.count())] == [None, points]
    section.choose(points, "class")
    assert (section.layer, section.field, section.missing) == (points, "class", "")
    assert section.hint.text() == "3 drawn. Edits that are not saved yet count too."
    export_labels(points, tmp_path / "labels.gpkg")
    assert read(tmp_path / "labels.gpkg").featureCount() == 3
    QgsProject.instance().removeAllMapLayers()


def test_new_makes_a_layer_and_starts_drawing():
    section = LabelsSection()
    made = []
    section.new_layer.connect(made.append)
    section.new_button.click()
    assert made[0].isEditable() and section.field == "class"
    made[0].rollBack()


def test_the_colours_that_the_user_has_given_the_classes():
    from qgis.core import QgsCategorizedSymbolRenderer, QgsFillSymbol, QgsRendererCategory, QgsVectorLayer

    from skysense_qgis.dock.export import class_colors

    layer = QgsVectorLayer("Polygon?crs=EPSG:32632&field=class:string", "l", "memory")
    assert class_colors(layer, "class") == {}
    water = QgsRendererCategory("water", QgsFillSymbol.createSimple({"color": "#0102ff"}), "water")
    rest = QgsRendererCategory(None, QgsFillSymbol.createSimple({"color": "#ffffff"}), "the rest")
    layer.setRenderer(QgsCategorizedSymbolRenderer("class", [water, rest]))
    assert class_colors(layer, "class") == {"water": "#0102ff"}
    assert class_colors(layer, "kind") == {}


def test_the_layer_that_a_scene_names_is_taken_among_those_of_its_file(tmp_path):
    path = tmp_path / "labels.gpkg"
    export_labels(make_labels(), path)
    options = QgsVectorFileWriter.SaveVectorOptions()
    options.layerName = "roads"
    options.actionOnExistingFile = QgsVectorFileWriter.CreateOrOverwriteLayer
    context = QgsProject.instance().transformContext()
    QgsVectorFileWriter.writeAsVectorFormatV3(make_labels(), str(path), context, options)
    other = QgsVectorLayer(f"{path}|layername=roads", "roads", "ogr")
    assert other.isValid()
    QgsProject.instance().addMapLayer(other)
    section = LabelsSection()
    assert section.open_file(str(path), LAYER_NAME, "class")
    assert section.layer is not other and section.as_file()["layer"] == LAYER_NAME
    assert section.open_file(str(path), "roads", "class") and section.layer is other
    assert len(QgsProject.instance().mapLayers()) == 2
    QgsProject.instance().removeAllMapLayers()
