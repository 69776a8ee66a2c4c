"""From a class map to styled polygons, as Processing runs it with the real worker."""

import json
import math

import pytest
from osgeo import gdal, osr
from qgis.core import (
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingUtils,
    QgsProject,
    QgsRasterLayer,
)
from running import run

NAMES = {"1": "water", "2": "Wälder"}


@pytest.fixture
def layer(tmp_path) -> QgsRasterLayer:
    """60 x 60 pixels of 10 m: a third water with a single pixel of Wälder in it, the rest Wälder, a row not mapped."""
    path = str(tmp_path / "map.tif")
    dataset = gdal.GetDriverByName("GTiff").Create(path, 60, 60, 1, gdal.GDT_Byte)
    dataset.SetGeoTransform((500_000.0, 10.0, 0, 5_600_000.0, 0, -10.0))
    crs = osr.SpatialReference()
    crs.ImportFromEPSG(32631)
    dataset.SetProjection(crs.ExportToWkt())
    dataset.SetMetadataItem("SKYSENSE_CLASSES", json.dumps(NAMES))
    band = dataset.GetRasterBand(1)
    table = gdal.ColorTable()
    table.SetColorEntry(1, (78, 121, 167, 255))
    table.SetColorEntry(2, (89, 161, 79, 255))
    band.SetColorTable(table)
    band.SetNoDataValue(0)
    band.WriteRaster(0, 0, 60, 59, (b"\1" * 20 + b"\2" * 40) * 59)
    band.WriteRaster(5, 5, 1, 1, b"\2")
    dataset.FlushCache()
    del band, dataset
    layer = QgsRasterLayer(path, "map")
    QgsProject.instance().addMapLayer(layer)
    return layer


@pytest.mark.parametrize("least", [0, 500])
def test_a_map_becomes_polygons_in_its_colours(provider, python, layer, tmp_path, least):
    output = str(tmp_path / "p.gpkg")
    context = QgsProcessingContext()
    context.addLayerToLoadOnCompletion(
        output, QgsProcessingContext.LayerDetails("Polygons", QgsProject.instance(), "OUTPUT")
    )
    given = {"MAP": layer.id(), "MIN_AREA": least, "SIMPLIFY": 20, "OUTPUT": output}
    assert run("vectorize", given, context) == {"OUTPUT": output, "COUNT": 2 if least else 3}
    loaded = QgsProcessingUtils.mapLayerFromString(output, context)
    context.layersToLoadOnCompletion()[output].postProcessor().postProcessLayer(
        loaded, context, QgsProcessingFeedback(False)
    )
    assert loaded.crs().authid() == "EPSG:32631"
    found = sorted((feature["class_id"], feature["class"], feature["m2"]) for feature in loaded.getFeatures())
    # UTM's scale on the central meridian is 0.9996.
    pixels = (
        [(1, "water", 1180), (2, "Wälder", 2360)]
        if least
        else [(1, "water", 1179), (2, "Wälder", 1), (2, "Wälder", 2360)]
    )
    assert [item[:2] for item in found] == [item[:2] for item in pixels]
    for (_, _, m2), (_, _, number) in zip(found, pixels):
        assert math.isclose(m2, number * 100 / 0.9996**2, rel_tol=1e-5)
    colors = {item.value(): item.symbol().color().name() for item in loaded.renderer().categories()}
    assert colors["water"] == "#4e79a7" and colors["Wälder"] == "#59a14f"


def test_what_is_wrong_is_one_sentence(provider, python, layer, tmp_path):
    for given, told in (
        ({"MAP": "/nowhere/map.tif", "OUTPUT": str(tmp_path / "p.gpkg")}, "class map"),
        ({"MAP": layer.id(), "OUTPUT": str(tmp_path / "p.shp")}, ".gpkg"),
        ({"MAP": layer.id(), "OUTPUT": str(tmp_path / "none" / "p.gpkg")}, "cannot be written"),
    ):
        with pytest.raises(QgsProcessingException) as raised:
            run("vectorize", given)
        assert told in str(raised.value) and "\n" not in str(raised.value).strip()
