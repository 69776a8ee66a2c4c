import json
import time
from pathlib import Path

import pytest
from osgeo import gdal, osr
from qgis.core import QgsPalettedRasterRenderer, QgsProject, QgsRasterLayer, QgsSingleBandPseudoColorRenderer
from qgis.PyQt.QtCore import QTimer

from skysense_qgis.dock.sources import layer_date
from skysense_qgis.results.display import ResultDisplay
from skysense_qgis.results.live import LiveMap
from skysense_qgis.results.load import add_group, load_maps
from skysense_qgis.results.style import classes_of_file

CLASSES = [{"id": 1, "name": "water", "color": "#4e79a7"}, {"id": 7, "name": "maïs", "color": "#f28e2b"}]


def make_map(path, value=1, x=0, names=None):
    dataset = gdal.GetDriverByName("GTiff").Create(str(path), 8, 8, 1, gdal.GDT_Byte)
    dataset.SetGeoTransform((500_000 + 80 * x, 10, 0, 5_600_000, 0, -10))
    crs = osr.SpatialReference()
    crs.ImportFromEPSG(32631)
    dataset.SetProjection(crs.ExportToWkt())
    band = dataset.GetRasterBand(1)
    band.SetNoDataValue(0)
    table = gdal.ColorTable()
    table.SetColorEntry(1, (78, 121, 167, 255))
    table.SetColorEntry(7, (242, 142, 43, 255))
    band.SetColorTable(table)
    band.Fill(value)
    if names:
        dataset.SetMetadataItem("SKYSENSE_CLASSES", json.dumps(names))
    dataset.FlushCache()
    return str(path)


@pytest.fixture
def result(tmp_path):
    return {
        "map": make_map(tmp_path / "map.tif"),
        "confidence": make_map(tmp_path / "map_confidence.tif", 80),
        "run": str(tmp_path / "map.tif.run.json"),
        "classes": CLASSES,
    }


def legend(layer):
    return [(c.value, c.label, c.color.name(), c.color.alpha()) for c in layer.renderer().classes()]


def test_maps_come_in_a_group_with_names_and_colours(result, tmp_path):
    project = QgsProject.instance()
    group = add_group(project, "valley")
    assert group.name().startswith("SkySense valley ")
    classes, confidence = load_maps(
        project, group, result, {"model": "/m/x.safetensors"}, ["2021-06-01", "2021-04-01"]
    )
    assert [node.name() for node in group.children()] == ["Classes", "Confidence %"]
    assert isinstance(classes.renderer(), QgsPalettedRasterRenderer)
    assert legend(classes) == [(1, "water", "#4e79a7", 255), (7, "maïs", "#f28e2b", 255)]
    renderer = confidence.renderer()
    assert isinstance(renderer, QgsSingleBandPseudoColorRenderer)
    items = renderer.shader().rasterShaderFunction().colorRampItemList()
    assert [(item.value, item.label) for item in items][0::4] == [(1.0, "1 %"), (100.0, "100 %")]
    assert (renderer.classificationMin(), renderer.classificationMax()) == (1.0, 100.0)
    assert "/m/x.safetensors" in classes.metadata().abstract()
    assert "2021-04-01 to 2021-06-01" in classes.metadata().abstract()
    assert classes.customProperty("skysense/recipe") == result["map"] + ".recipe.json"
    assert layer_date(classes) == ""  # a range of two months, not a date
    assert classes.temporalProperties().isActive()


def test_a_map_of_one_day_of_a_series_is_of_that_day(result):
    result["dates"] = ["2021-05-02", "2021-05-02"]
    group = add_group(QgsProject.instance(), "v")
    classes, _ = load_maps(QgsProject.instance(), group, result, {}, ["2021-06-01", "2021-04-01"])
    assert layer_date(classes) == "2021-05-02" and "2021-05-02" in classes.metadata().abstract()


def test_the_style_is_saved_beside_the_map(result):
    load_maps(QgsProject.instance(), add_group(QgsProject.instance(), "v"), result, {}, [])
    assert Path(result["map"]).with_suffix(".qml").exists()
    again = QgsRasterLayer(result["map"], "again", "gdal")  # QGIS takes the .qml by itself
    assert legend(again) == [(1, "water", "#4e79a7", 255), (7, "maïs", "#f28e2b", 255)]


@pytest.mark.parametrize("sure", [True, False])
def test_a_map_of_numbers_is_named_by_its_field_and_graduated(tmp_path, sure):
    result = {
        "map": make_map(tmp_path / "map.tif"),
        "uncertainty": make_map(tmp_path / "map_uncertainty.tif") if sure else None,
        "run": "",
        "field": "height",
        "range": [2.0, 11.0, 30.0],
    }
    group = add_group(QgsProject.instance(), "v")
    layers = load_maps(QgsProject.instance(), group, result, {}, [])
    assert [layer.name() for layer in layers] == ["height", "Uncertainty (±)"][: 1 + sure]
    ranges = [
        (layer.renderer().classificationMin(), layer.renderer().classificationMax()) for layer in layers
    ]
    assert ranges == [(2.0, 30.0), (0.0, 14.0)][: 1 + sure]
    assert [node.itemVisibilityChecked() for node in group.children()] == [True, False][: 1 + sure]
    assert "Shows: height" in layers[0].metadata().abstract()


def test_a_map_that_cannot_be_opened_is_a_sentence(tmp_path):
    result = {"map": str(tmp_path / "no.tif"), "confidence": str(tmp_path / "no2.tif"), "classes": []}
    with pytest.raises(ValueError, match="QGIS cannot open it"):
        load_maps(QgsProject.instance(), add_group(QgsProject.instance(), "v"), result, {}, [])


def test_a_map_file_tells_its_classes(tmp_path):
    named = make_map(tmp_path / "a.tif", names={"1": "water", "7": "maïs"})
    assert classes_of_file(named) == CLASSES
    plain = make_map(tmp_path / "b.tif")
    assert [item["name"] for item in classes_of_file(plain)] == ["class 1", "class 7"]
    assert classes_of_file(str(tmp_path / "none.tif")) == []


def test_the_live_layer_grows_through_new_files(tmp_path, wait):
    project = QgsProject.instance()
    live = LiveMap(project, add_group(project, "v"), CLASSES)
    live.add({"class": make_map(tmp_path / "c0.tif")})
    layer = live.layer
    first, width = layer.source(), layer.width()
    live.add({"class": make_map(tmp_path / "c1.tif", 7, x=1)})
    live.add({"class": make_map(tmp_path / "c2.tif", 7, x=2)})
    assert layer.source() == first  # not before two seconds
    wait(lambda: layer.source() != first, 4)
    assert (width, layer.width()) == (8, 24)
    assert Path(first).exists()
    assert legend(layer)[1][1] == "maïs"
    folder = Path(first).parent
    live.close()
    assert live.layer is None and not folder.exists()


def test_a_live_layer_that_the_user_removed_stays_removed(tmp_path, wait):
    project = QgsProject.instance()
    live = LiveMap(project, add_group(project, "v"), CLASSES)
    live.add({"class": make_map(tmp_path / "c0.tif")})
    folder = Path(live.layer.source()).parent
    files = sorted(folder.iterdir())
    project.removeMapLayer(live.layer.id())
    live.add({"class": make_map(tmp_path / "c1.tif", 7, x=1)})
    start = time.monotonic()
    wait(lambda: time.monotonic() > start + 2.5, 4)
    assert live.layer is None and not project.mapLayers() and sorted(folder.iterdir()) == files
    live.close()
    assert not folder.exists()


def test_many_chunks_at_once_are_taken_a_few_at_a_time(tmp_path, wait):
    project = QgsProject.instance()
    live = LiveMap(project, add_group(project, "v"), CLASSES)
    live.add({"class": make_map(tmp_path / "c0.tif")})
    layer, ticks = live.layer, []
    for x in range(1, 200):
        live.add({"class": make_map(tmp_path / f"c{x}.tif", 7, x=x)})
    timer = QTimer()
    timer.timeout.connect(lambda: ticks.append(time.monotonic()))
    timer.start(0)
    wait(lambda: layer.width() == 1600, 10)
    timer.stop()
    assert layer.extent().width() == 16_000
    pauses = [ticks[i + 1] - ticks[i] for i in range(len(ticks) - 1)]
    assert len(ticks) > 6 and max(pauses) < 0.5  # the window answered all the while
    live.close()


def test_the_final_maps_take_the_place_of_the_growing_one(result, tmp_path):
    project = QgsProject.instance()
    display = ResultDisplay(project)
    display.grow({"class": make_map(tmp_path / "c0.tif")}, "valley", "m")
    group = project.layerTreeRoot().children()[0]
    assert [node.name() for node in group.children()] == ["Classes (growing)"]
    assert display.finish(result, {}, [], "valley") is group
    assert [node.name() for node in group.children()] == ["Classes", "Confidence %"]
    assert len(project.mapLayers()) == 2


def test_the_user_may_delete_the_group_meanwhile(result, tmp_path):
    project = QgsProject.instance()
    display = ResultDisplay(project)
    display.grow({"class": make_map(tmp_path / "c0.tif")}, "valley", "m")
    project.clear()
    group = display.finish(result, {}, [], "valley")
    assert [node.name() for node in group.children()] == ["Classes", "Confidence %"]


def test_a_run_without_a_map_leaves_nothing(tmp_path):
    project = QgsProject.instance()
    display = ResultDisplay(project)
    display.grow({"class": make_map(tmp_path / "c0.tif")}, "valley", "m")
    display.drop()
    assert not project.mapLayers() and not project.layerTreeRoot().children()
