"""Objects, as Processing learns, and it and the panel find and show them with the real worker."""

import json
import math
import random

import pytest
from osgeo import gdal, osr
from qgis.core import (
    QgsCategorizedSymbolRenderer,
    QgsFeature,
    QgsGeometry,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingUtils,
    QgsProject,
    QgsRectangle,
    QgsVectorLayer,
)
from running import choose_in_panel, map_in_panel, run

from skysense_qgis.dock.target import ALL, VIEW
from skysense_qgis.results.style import style_objects

SIZE, GSD, X0, Y0 = 320, 0.5, 500_000.0, 5_600_000.0
#: Columns and rows of the corners of bright rectangles of 28 x 14 pixels.
PLACES = [(col + 5 * (row % 3), row) for col in range(14, SIZE - 40, 62) for row in range(14, SIZE - 20, 49)]


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> str:
    """Bright rectangles on dark noise."""
    folder, dice = tmp_path_factory.mktemp("roofs"), random.Random(0)
    dataset = gdal.GetDriverByName("GTiff").Create(str(folder / "hr.tif"), SIZE, SIZE, 3, gdal.GDT_Byte)
    dataset.SetGeoTransform((X0, GSD, 0, Y0, 0, -GSD))
    crs = osr.SpatialReference()
    crs.ImportFromEPSG(32631)
    dataset.SetProjection(crs.ExportToWkt())
    for number in range(3):
        picture = bytearray(dice.choices(range(50, 110), k=SIZE * SIZE))
        for col, row in PLACES:
            for line in range(row, row + 14):
                picture[line * SIZE + col : line * SIZE + col + 28] = bytes([170 - 20 * number] * 28)
        dataset.GetRasterBand(number + 1).WriteRaster(0, 0, SIZE, SIZE, bytes(picture))
    dataset.FlushCache()
    row = {"modality": "hr", "path": "hr.tif", "date": None, "bands": {"R": 1, "G": 2, "B": 3}}
    path = folder / "scene.json"
    path.write_text(json.dumps({"version": 1, "name": "roofs", "acquisitions": [row]}))
    return str(path)


def rectangles(corners, width: int, height: int) -> QgsVectorLayer:
    """A scratch layer of them, of the class "roof"."""
    layer = QgsVectorLayer("Polygon?crs=EPSG:32631&field=class:string", "drawn", "memory")
    for col, row in corners:
        x, y = X0 + col * GSD, Y0 - row * GSD
        feature = QgsFeature(layer.fields())
        feature.setGeometry(QgsGeometry.fromRect(QgsRectangle(x, y - height * GSD, x + width * GSD, y)))
        feature.setAttributes(["roof"])
        layer.dataProvider().addFeature(feature)
    QgsProject.instance().addMapLayer(layer)
    return layer


def test_objects_are_learned_found_and_outlined(provider, dock, scene, tmp_path, wait):
    drawn, areas = rectangles(PLACES, 28, 14), rectangles([(0, 0)], SIZE, SIZE)
    model, output = str(tmp_path / "m.safetensors"), str(tmp_path / "found.gpkg")
    given = {"SCENE": scene, "LABELS": drawn.id(), "FIELD": "class", "AREAS": areas.id(), "OUTPUT": model}
    with pytest.raises(QgsProcessingException, match="do not teach objects"):
        run("finetune", given)
    result = run("finetune", {**given, "TARGET": 4})
    assert result["F1"] > 0.9 and result["AP"] > 0.9 and math.isnan(result["OA"])
    recipe = json.loads((tmp_path / "m.safetensors.recipe.json").read_text())
    assert recipe["labels"]["areas"] == f"{model}.areas.gpkg"

    given = {"SCENE": scene, "MODEL": model}
    with pytest.raises(QgsProcessingException, match=r"ends in \.gpkg"):
        run("detectobjects", {**given, "OUTPUT": str(tmp_path / "found.shp")})
    with pytest.raises(QgsProcessingException, match="objects are to be found"):
        run("predict", {**given, "OUTPUT": str(tmp_path / "map.tif")})
    context = QgsProcessingContext()
    details = QgsProcessingContext.LayerDetails("Found", QgsProject.instance(), "OUTPUT")
    context.addLayerToLoadOnCompletion(output, details)
    found = run("detectobjects", {**given, "OUTPUT": output}, context)
    layer = QgsProcessingUtils.mapLayerFromString(output, context)
    assert found == {"OUTPUT": output, "COUNT": layer.featureCount()}
    assert abs(layer.featureCount() - len(PLACES)) <= 2 and layer.crs().authid() == "EPSG:32631"
    feature = next(layer.getFeatures())
    assert feature["class"] == "roof" and feature["class_id"] == 1
    assert abs(feature["width_m"] - 14) < 3 and abs(feature["height_m"] - 7) < 2
    context.layersToLoadOnCompletion()[output].postProcessor().postProcessLayer(
        layer, context, QgsProcessingFeedback(False)
    )
    renderer = layer.renderer()
    assert isinstance(renderer, QgsCategorizedSymbolRenderer) and renderer.classAttribute() == "class"
    assert [category.label() for category in renderer.categories()] == ["roof"]

    extent = f"{X0},{X0 + 80},{Y0 - 80},{Y0} [EPSG:32631]"
    part = run("detectobjects", {**given, "EXTENT": extent, "OUTPUT": str(tmp_path / "part.gpkg")})
    assert 0 < part["COUNT"] < found["COUNT"]

    choose_in_panel(dock, wait, scene, model, tmp_path / "out")
    assert (dock.run.map_button.text(), dock.run.where.text()) == ("Find objects", "Find in")
    kind = dock.run.extent.kind
    assert [kind.itemText(row) for row in range(kind.count())] == [ALL, VIEW]
    assert map_in_panel(dock, wait)["count"] == found["COUNT"]
    (layer,) = dock.results.layers
    assert layer.name() == "Objects" and layer.featureCount() == found["COUNT"]
    assert [category.label() for category in layer.renderer().categories()] == ["roof"]
    assert dock.run.status.text().startswith(f"{found['COUNT']} objects found in ")
    canvas = dock._iface.canvas
    canvas.setDestinationCrs(layer.crs())
    canvas.setExtent(QgsRectangle(X0, Y0 - 80, X0 + 80, Y0))
    kind.setCurrentText(VIEW)
    assert 0 < map_in_panel(dock, wait)["count"] < found["COUNT"]


def test_points_are_dots_in_the_colours_of_their_classes(qgis_app):
    layer = QgsVectorLayer("Point?crs=EPSG:32631&field=class:string", "found", "memory")
    style_objects(layer, [{"id": 1, "name": "car", "color": "#112233"}])
    (category,) = layer.renderer().categories()
    assert category.value() == "car" and category.symbol().color().name() == "#112233"
