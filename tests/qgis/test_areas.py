"""From a map to its areas, a sample and the estimate, as Processing runs them with the real worker."""

import csv
import json
import math
from pathlib import Path

import pytest
from osgeo import gdal, osr
from qgis.core import (
    QgsApplication,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingUtils,
    QgsProject,
    QgsRasterLayer,
    QgsVectorLayer,
)

NAMES = {"1": "water", "2": "Wälder"}


class Feedback(QgsProcessingFeedback):
    def __init__(self) -> None:
        super().__init__(False)
        self.told: list = []

    def pushInfo(self, info: str) -> None:
        self.told.append(info)


@pytest.fixture
def path(tmp_path) -> str:
    """60 x 60 pixels of 10 m: a third water, the rest Wälder."""
    path = str(tmp_path / "map.tif")
    dataset = gdal.GetDriverByName("GTiff").Create(path, 60, 60, 1, gdal.GDT_Byte)
    dataset.SetGeoTransform((500_000.0, 10.0, 0, 5_600_000.0, 0, -10.0))
    crs = osr.SpatialReference()
    crs.ImportFromEPSG(32631)
    dataset.SetProjection(crs.ExportToWkt())
    dataset.SetMetadataItem("SKYSENSE_CLASSES", json.dumps(NAMES))
    dataset.GetRasterBand(1).SetNoDataValue(0)
    dataset.GetRasterBand(1).WriteRaster(0, 0, 60, 60, (b"\1" * 20 + b"\2" * 40) * 60)
    dataset.FlushCache()
    return path


def run(name: str, parameters: dict, context=None, feedback=None) -> dict:
    """Check and run as Processing does; a failure raises QgsProcessingException."""
    chosen = QgsApplication.processingRegistry().createAlgorithmById(f"skysense:{name}")
    context = context or QgsProcessingContext()
    context.setProject(QgsProject.instance())
    ok, message = chosen.checkParameterValues(parameters, context)
    if not ok:
        raise QgsProcessingException(message)
    results, ok = chosen.run(parameters, context, feedback or QgsProcessingFeedback(False), {}, False)
    assert ok
    return results


def judged(path: str, wrong: int) -> QgsVectorLayer:
    """The sample, opened for editing and filled in with the map's class but for `wrong` points of Wälder; not saved."""
    layer = QgsVectorLayer(path, "sample", "ogr")
    layer.startEditing()
    column = layer.fields().lookupField("reference")
    for feature in layer.getFeatures():
        truth = feature["map_class"]
        if truth == "Wälder" and wrong:
            truth, wrong = "water", wrong - 1
        layer.changeAttributeValue(feature.id(), column, truth)
    QgsProject.instance().addMapLayer(layer)
    return layer


def test_areas_of_a_layer(provider, python, path, tmp_path):
    layer = QgsRasterLayer(path, "map")
    QgsProject.instance().addMapLayer(layer)
    feedback = Feedback()
    result = run("areas", {"MAP": layer.id(), "OUTPUT": str(tmp_path / "a.csv")}, feedback=feedback)
    # UTM's scale on the central meridian is 0.9996: 0.36 km² on the sheet are 0.08 % more on the ground.
    assert math.isclose(result["HECTARES"], 36.0 / 0.9996**2, rel_tol=1e-5)
    rows = list(csv.DictReader(Path(result["OUTPUT"]).open(encoding="utf-8")))
    assert [(row["class"], row["pixels"]) for row in rows] == [("water", "1200"), ("Wälder", "2400")]
    assert any("Wälder: 24.02 ha, 66.7%" in line for line in feedback.told)


def test_from_the_sample_to_the_estimate(provider, python, path, tmp_path):
    output = str(tmp_path / "sample.gpkg")
    context = QgsProcessingContext()
    details = QgsProcessingContext.LayerDetails("Sample", QgsProject.instance(), "OUTPUT")
    context.addLayerToLoadOnCompletion(output, details)
    given = {"MAP": path, "POINTS": 60, "MINIMUM": 15, "SEED": 4, "OUTPUT": output}
    assert run("verificationsample", given, context) == {"OUTPUT": output, "DRAWN": 60}
    loaded = QgsProcessingUtils.mapLayerFromString(output, context)
    context.layersToLoadOnCompletion()[output].postProcessor().postProcessLayer(
        loaded, context, QgsProcessingFeedback(False)
    )
    setup = loaded.editorWidgetSetup(loaded.fields().lookupField("reference"))
    assert setup.type() == "ValueMap"
    assert setup.config()["map"] == [{"": ""}, {"water": "water"}, {"Wälder": "Wälder"}]
    assert loaded.featureCount() == 60 and loaded.crs().authid() == "EPSG:32631"

    layer = judged(output, wrong=4)  # what is not saved yet counts
    feedback = Feedback()
    given = {"MAP": path, "SAMPLE": layer.id(), "FIELD": "reference", "OUTPUT": str(tmp_path / "e.csv")}
    result = run("adjustedareas", given, feedback=feedback)
    assert math.isclose(result["OA"], 1 / 3 + 2 / 3 * 36 / 40, rel_tol=1e-6)
    error = 2 / 3 * math.sqrt(0.9 * 0.1 / 39)  # Olofsson et al. 2014, eq. 5: one stratum of 40 points errs
    assert math.isclose(result["OA_CI95"], 1.96 * error, rel_tol=1e-6)
    rows = list(csv.DictReader(Path(result["OUTPUT"]).open(encoding="utf-8")))
    assert math.isclose(float(rows[0]["estimated_ha"]), 36.0288 * (1 / 3 + 2 / 30), rel_tol=1e-4)
    assert any("water: 14.41 ±" in line and "the map shows 12.01 ha" in line for line in feedback.told)


def test_work_is_kept_and_what_is_wrong_is_one_sentence(provider, python, path, tmp_path):
    output = str(tmp_path / "sample.gpkg")
    draw = {"MAP": path, "POINTS": 30, "MINIMUM": 5, "OUTPUT": output}
    run("verificationsample", draw)
    estimate = {"MAP": path, "SAMPLE": output, "FIELD": "reference", "OUTPUT": str(tmp_path / "e.csv")}

    def refused(name, parameters, told):
        with pytest.raises(QgsProcessingException) as raised:
            run(name, parameters)
        assert told in str(raised.value) and "\n" not in str(raised.value).strip()

    refused("adjustedareas", estimate, "empty in every point")
    refused("adjustedareas", {**estimate, "FIELD": "truth"}, "truth")
    refused("adjustedareas", {**estimate, "SAMPLE": "/nowhere/s.gpkg"}, "cannot be opened")
    refused("areas", {"MAP": "/nowhere/map.tif", "OUTPUT": str(tmp_path / "a.csv")}, "class map")
    refused("verificationsample", {**draw, "POINTS": 8}, "too few")
    refused("verificationsample", {**draw, "OUTPUT": str(tmp_path / "s.shp")}, ".gpkg")
    layer = judged(output, wrong=0)
    refused("verificationsample", draw, "being edited")
    assert layer.commitChanges()
    del layer
    QgsProject.instance().clear()
    refused("verificationsample", draw, "filled-in points")
    kept = QgsVectorLayer(output, "kept", "ogr")
    assert {feature["reference"] for feature in kept.getFeatures()} == {"water", "Wälder"}
