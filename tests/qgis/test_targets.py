"""Numbers, whole polygons and changes, as Processing and the panel map and show them with the real worker."""

import json
import math
from pathlib import Path

import pytest
from osgeo import gdal
from qgis.core import (
    QgsCategorizedSymbolRenderer,
    QgsFeature,
    QgsGeometry,
    QgsPointXY,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingUtils,
    QgsProject,
    QgsRasterLayer,
    QgsRectangle,
    QgsSingleBandPseudoColorRenderer,
    QgsVectorLayer,
)
from qgis.PyQt.QtWidgets import QPushButton
from running import choose_in_panel, map_in_panel, run
from small_scene import GSD, SIZE, X0, Y0, make_scene

from skysense_qgis.dock.target import EACH


@pytest.fixture
def scene(tmp_path) -> str:
    """Two halves that differ, on three days of 2021."""
    return str(make_scene(tmp_path))


def squares(value, places=((5, 5), (5, 25), (5, 45), (18, 15), (37, 5), (37, 25), (50, 15), (50, 45))):
    """A scratch layer of squares of 6 pixels; `value` gives what is in the fields from the column."""
    layer = QgsVectorLayer(
        "Polygon?crs=EPSG:32631&field=name:string&field=height:double&field=fid:integer", "plots", "memory"
    )
    for number, (col, row) in enumerate(places):
        x, y = X0 + col * GSD, Y0 - row * GSD
        feature = QgsFeature(layer.fields())
        feature.setGeometry(QgsGeometry.fromRect(QgsRectangle(x, y - 6 * GSD, x + 6 * GSD, y)))
        feature.setAttributes([*value(col, number), 7])
        layer.dataProvider().addFeature(feature)
    QgsProject.instance().addMapLayer(layer)
    return layer


def loading(*outputs: str) -> QgsProcessingContext:
    """A context that loads these outputs, as the toolbox's does."""
    context = QgsProcessingContext()
    for output in outputs:
        details = QgsProcessingContext.LayerDetails("Result", QgsProject.instance(), "OUTPUT")
        context.addLayerToLoadOnCompletion(output, details)
    return context


def loaded(context: QgsProcessingContext, path: str):
    """The layer as the toolbox shows it: opened and styled."""
    layer = QgsProcessingUtils.mapLayerFromString(path, context)
    details = context.layersToLoadOnCompletion()[path]
    details.postProcessor().postProcessLayer(layer, context, QgsProcessingFeedback(False))
    return layer


def value(path: str, col: int, row: int) -> float:
    layer = QgsRasterLayer(path, "layer")
    place = QgsPointXY(X0 + (col + 0.5) * GSD, Y0 - (row + 0.5) * GSD)
    found, ok = layer.dataProvider().sample(place, 1)
    return found if ok else math.nan


def test_a_map_of_numbers_is_graduated_with_its_uncertainty_beside_it(provider, dock, scene, tmp_path, wait):
    places = [(col, row) for col in (3, 14, 38, 50) for row in (3, 18, 33, 48)]
    plots = squares(lambda col, number: ["x", (2.0 if col < SIZE // 2 else 30.0) + 0.1 * number], places)
    model, output = str(tmp_path / "m.safetensors"), str(tmp_path / "v.tif")
    given = {"SCENE": scene, "LABELS": plots.id(), "TARGET": 1, "OUTPUT": model}
    with pytest.raises(QgsProcessingException, match="holds no number but 'x' in row 1"):
        run("finetune", {**given, "FIELD": "name"})
    result = run("finetune", {**given, "FIELD": "height"})
    assert result["RMSE"] < 5 and result["R2"] > 0.8 and math.isnan(result["OA"])
    context = loading(output)
    result = run("predict", {"SCENE": scene, "MODEL": model, "OUTPUT": output}, context)
    beside = str(tmp_path / "v_uncertainty.tif")
    assert result == {"OUTPUT": output, "UNCERTAINTY": beside} and value(beside, 10, 10) > 0
    assert value(output, 10, 10) < 8 and value(output, 50, 10) > 24
    renderer = loaded(context, output).renderer()
    assert isinstance(renderer, QgsSingleBandPseudoColorRenderer)
    assert renderer.classificationMin() == 2.0 and renderer.classificationMax() == pytest.approx(31.5)
    renderer = loaded(context, beside).renderer()
    assert isinstance(renderer, QgsSingleBandPseudoColorRenderer) and renderer.classificationMin() == 0
    assert context.layersToLoadOnCompletion()[beside].name == "Uncertainty"

    choose_in_panel(dock, wait, scene, model, tmp_path / "out")
    assert dock.run.map_button.text() == "Map numbers"
    assert dock.run.map_button.toolTip().startswith("Give every pixel a number")
    again = map_in_panel(dock, wait)["map"]
    assert [layer.name() for layer in dock.results.layers] == ["height", "Uncertainty (±)"]
    assert value(again, 50, 10) == value(output, 50, 10)


def test_polygons_are_classified_and_coloured(provider, dock, scene, tmp_path, wait):
    drawn = squares(lambda col, number: ["wheat" if col < SIZE // 2 else "maize", None])
    model, output = str(tmp_path / "m.safetensors"), str(tmp_path / "c.gpkg")
    run("finetune", {"SCENE": scene, "LABELS": drawn.id(), "FIELD": "name", "TARGET": 2, "OUTPUT": model})
    parcels = squares(lambda col, number: [f"parcel {number}", 1.5], ((10, 34), (44, 34), (400, 400)))
    given = {"SCENE": scene, "MODEL": model, "POLYGONS": parcels.id()}
    with pytest.raises(QgsProcessingException, match=r"ends in \.gpkg"):
        run("classifypolygons", {**given, "OUTPUT": str(tmp_path / "c.shp")})
    context = loading(output)
    result = run("classifypolygons", {**given, "OUTPUT": output}, context)
    assert result == {"OUTPUT": output, "CLASSIFIED": 2, "EMPTY": 1}
    layer = loaded(context, output)
    assert layer.crs().authid() == "EPSG:32631" and layer.featureCount() == 3
    rows = {feature["name"]: feature for feature in layer.getFeatures()}
    assert rows["parcel 0"]["class"] == "wheat" and rows["parcel 1"]["class"] == "maize"
    assert rows["parcel 0"]["fid"] == 7 and rows["parcel 0"]["height"] == 1.5
    assert 1 <= rows["parcel 1"]["confidence"] <= 100 and not rows["parcel 2"]["class"]
    renderer = layer.renderer()
    assert isinstance(renderer, QgsCategorizedSymbolRenderer) and renderer.classAttribute() == "class"
    colours = {category.label(): category.symbol().color().name() for category in renderer.categories()}
    assert set(colours) == {"wheat", "maize", "no class"} and colours["wheat"] == "#e6b422"
    # A map of pixels cannot be made of it.
    with pytest.raises(QgsProcessingException, match="classifies whole polygons"):
        run("predict", {"SCENE": scene, "MODEL": model, "OUTPUT": str(tmp_path / "m.tif")})

    parcels.setName("parcels")
    choose_in_panel(dock, wait, scene, model, tmp_path / "out")
    extent = dock.run.extent
    assert (dock.run.map_button.text(), dock.run.where.text()) == ("Classify polygons", "Polygons")
    assert extent.kind.currentText() == EACH and not extent.kind.isVisible() and extent.polygons.isVisible()
    extent.polygons.setLayer(parcels)
    assert dock.run.status.text() == "Next: press Classify polygons."
    empty = QgsVectorLayer("Polygon?crs=EPSG:32631", "none yet", "memory")
    QgsProject.instance().addMapLayer(empty)
    extent.polygons.setLayer(empty)
    assert dock.run.status.text() == "The layer “none yet” has no polygons to classify."
    assert not dock.run.map_button.isEnabled()
    extent.polygons.setLayer(parcels)
    assert map_in_panel(dock, wait)["classified"] == 2
    (layer,) = dock.results.layers
    assert layer.name() == "Classified polygons" and QgsProject.instance().mapLayer(layer.id()) is layer
    assert {feature["name"]: feature["class"] or None for feature in layer.getFeatures()} == {
        "parcel 0": "wheat",
        "parcel 1": "maize",
        "parcel 2": None,
    }
    assert [item.label() for item in layer.renderer().categories()] == list(colours)
    # Above the polygons that it was made of, which would hide it.
    tree = QgsProject.instance().layerTreeRoot()
    assert tree.children()[0] is tree.findLayer(layer.id()).parent()
    assert dock.run.status.text().startswith("2 polygons classified in ")
    assert model in layer.metadata().abstract() and Path(layer.customProperty("skysense/recipe")).is_file()
    again = QgsVectorLayer(layer.source(), "again", "ogr")  # QGIS takes the style beside it by itself
    assert again.renderer().classAttribute() == "class"
    assert "class" not in [field.name() for field in parcels.fields()]
    # What a run that was stopped has found is kept, so it can go on.
    said = []
    dock.failed.connect(said.append)
    dock.mapped.connect(said.append)
    dock.run.map_button.click()
    dock.run.cancel_button.click()
    wait(lambda: said, 60)
    assert dock.run.status.text() == "Cancelled." and not isinstance(said[0], dict)
    dock.findChild(QPushButton, "resumeButton").click()
    wait(lambda: len(said) > 1, 60)
    assert isinstance(said[1], dict) and said[1]["classified"] == 2
    # Without a model the panel is for pixels again.
    dock.run.model.setFilePath("")
    assert dock.run.map_button.text() == "Map" and extent.kind.isVisible() and not extent.polygons.isVisible()


@pytest.fixture
def changed(scene, tmp_path) -> str:
    """The scene, and the same a year later with a bright square in the south-east."""
    data = json.loads(Path(scene).read_text())
    later = []
    for row in data["acquisitions"]:
        name = f"later_{row['path']}"
        copy = gdal.GetDriverByName("GTiff").CreateCopy(
            str(tmp_path / name), gdal.Open(str(tmp_path / row["path"]))
        )
        for band in range(1, copy.RasterCount + 1):
            bright = (7000 + 100 * band).to_bytes(2, "little") * 144
            copy.GetRasterBand(band).WriteRaster(44, 44, 12, 12, bright, 12, 12, gdal.GDT_UInt16)
        copy.FlushCache()
        later.append({**row, "path": name, "date": row["date"].replace("2021", "2022")})
    path = Path(scene)
    path.write_text(json.dumps({**data, "acquisitions": data["acquisitions"] + later}))
    return str(path)


def test_changes_are_found_and_learned(provider, dock, changed, tmp_path, wait):
    output = str(tmp_path / "change.tif")
    given = {"SCENE": changed, "OUTPUT": output}
    for split, told in (
        ("", "first day of the second period"),
        ("May", "is no day"),
        ("2030-01-01", "no Sentinel-2 image from"),
    ):
        with pytest.raises(QgsProcessingException, match=told):
            run("change", {**given, "SPLIT": split})
    context = loading(output)
    assert run("change", {**given, "SPLIT": "2022-01-01"}, context) == {"OUTPUT": output}
    assert value(output, 50, 50) > 95 and value(output, 10, 10) < 95
    assert isinstance(loaded(context, output).renderer(), QgsSingleBandPseudoColorRenderer)
    crew = tmp_path / "crew.tif"
    run("change", {**given, "SPLIT": "2022-01-01", "WORKERS": 2, "OUTPUT": str(crew)})
    assert crew.read_bytes() == Path(output).read_bytes()

    places = ((45, 45), (49, 49), (5, 5), (5, 30), (24, 10), (38, 8))
    drawn = squares(lambda col, number: ["built" if number < 2 else "no change", None], places)
    model, output = str(tmp_path / "m.safetensors"), str(tmp_path / "map.tif")
    given = {"SCENE": changed, "LABELS": drawn.id(), "FIELD": "name", "OUTPUT": model}
    with pytest.raises(QgsProcessingException, match="give the first day"):
        run("finetune", {**given, "TARGET": 3})
    with pytest.raises(QgsProcessingException, match="do not teach changes"):
        run("finetune", {**given, "SPLIT": "2022-01-01"})
    run("finetune", {**given, "TARGET": 3, "SPLIT": "2022-01-01"})
    run("predict", {"SCENE": changed, "MODEL": model, "OUTPUT": output})
    assert [value(output, *place) for place in ((50, 50), (10, 10), (60, 20))] == [1, 2, 2]

    choose_in_panel(dock, wait, changed, model, tmp_path / "out")
    assert dock.run.map_button.text() == "Map changes"
    again = map_in_panel(dock, wait)["map"]
    assert [value(again, *place) for place in ((50, 50), (10, 10), (60, 20))] == [1, 2, 2]
    assert [item.label for item in dock.results.layers[0].renderer().classes()] == ["built", "no change"]
