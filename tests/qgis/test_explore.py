"""Suggestions, similarity and clusters, as Processing runs them with the real worker."""

import json
import math
from pathlib import Path

import pytest
from osgeo import gdal, osr
from qgis.core import (
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
    QgsVectorLayer,
)
from running import run
from small_scene import X0, Y0, make_scene

X, Y, SIDE = 500_000.0, 5_600_000.0, 96


def create(path, bands, kind, **tags):
    """A raster of 96 x 96 pixels of 10 m; bands: packed values."""
    dataset = gdal.GetDriverByName("GTiff").Create(str(path), SIDE, SIDE, len(bands), kind)
    dataset.SetGeoTransform((X, 10.0, 0, Y, 0, -10.0))
    crs = osr.SpatialReference()
    crs.ImportFromEPSG(32631)
    dataset.SetProjection(crs.ExportToWkt())
    dataset.SetMetadata(tags)
    for number, values in enumerate(bands, start=1):
        dataset.GetRasterBand(number).WriteRaster(
            0, 0, SIDE, SIDE, values, SIDE, SIDE, gdal.GDT_Float64 if kind == gdal.GDT_Float32 else kind
        )
    dataset.FlushCache()
    return str(path)


@pytest.fixture
def embedding(tmp_path) -> str:
    """West and east differ in the first feature; the square in the south-east, of 32 pixels, in the second."""
    from array import array

    first = array("d", ([0.0] * 48 + [4.0] * 48) * SIDE)
    second = array(
        "d",
        [9.0 if r >= 64 and c >= 64 else 0.01 * ((7 * r + 3 * c) % 11) for r in range(96) for c in range(96)],
    )
    told = {"SKYSENSE_FEATURES": json.dumps({"fused": 2})}
    return create(tmp_path / "e.tif", [first.tobytes(), second.tobytes()], gdal.GDT_Float32, **told)


@pytest.fixture
def labels() -> QgsVectorLayer:
    """Four polygons of 6 x 6 pixels, none in the square; not saved anywhere."""
    layer = QgsVectorLayer("Polygon?crs=EPSG:32631&field=class:string", "labels", "memory")
    for x, y in ((50, 50), (100, 700), (600, 50), (700, 300)):
        feature = QgsFeature(layer.fields())
        feature.setGeometry(QgsGeometry.fromRect(QgsRectangle(X + x, Y - y - 60, X + x + 60, Y - y)))
        layer.dataProvider().addFeature(feature)
    QgsProject.instance().addMapLayer(layer)
    return layer


def value(path: str, row: int, col: int) -> float:
    layer = QgsRasterLayer(path, "layer")
    found, ok = layer.dataProvider().sample(QgsPointXY(X + 10 * col + 5, Y - 10 * row - 5), 1)
    return found if ok else math.nan


def test_clusters_are_styled(provider, python, embedding, tmp_path):
    output, context = str(tmp_path / "c.tif"), QgsProcessingContext()
    context.addLayerToLoadOnCompletion(
        output, QgsProcessingContext.LayerDetails("Clusters", QgsProject.instance(), "OUTPUT")
    )
    assert run("clusters", {"EMBEDDING": embedding, "CLASSES": 3, "OUTPUT": output}, context) == {
        "OUTPUT": output
    }
    assert [value(output, *place) for place in ((5, 5), (5, 90), (90, 90))] == [1, 2, 3]
    layer = QgsProcessingUtils.mapLayerFromString(output, context)
    context.layersToLoadOnCompletion()[output].postProcessor().postProcessLayer(
        layer, context, QgsProcessingFeedback(False)
    )
    assert [item.label for item in layer.renderer().classes()] == ["cluster 1", "cluster 2", "cluster 3"]


def test_similar_to_a_click_and_to_a_layer(provider, python, embedding, labels, tmp_path):
    output = str(tmp_path / "s.tif")
    place = f"{X + 905},{Y - 905} [EPSG:32631]"
    run("similarity", {"EMBEDDING": embedding, "PLACE": place, "OUTPUT": output})
    assert value(output, 90, 90) == 100 == value(output, 70, 70) and value(output, 5, 5) == 0
    run("similarity", {"EMBEDDING": embedding, "LABELS": labels.id(), "OUTPUT": output})
    assert value(output, 6, 6) >= 99 and value(output, 90, 90) < 50


def test_suggestions(provider, python, embedding, labels, tmp_path):
    path = create(
        tmp_path / "m.tif", [b"\1" * SIDE**2], gdal.GDT_Byte, SKYSENSE_CLASSES=json.dumps({"1": "Wälder"})
    )
    output = str(tmp_path / "p.gpkg")
    given = {"MAP": path, "POINTS": 4, "OUTPUT": output}

    def refused(parameters, told):
        with pytest.raises(QgsProcessingException) as raised:
            run("suggest", parameters)
        assert told in str(raised.value) and "\n" not in str(raised.value).strip()

    refused(given, "m_confidence.tif")
    create(tmp_path / "m_confidence.tif", [b"\x50" * SIDE**2], gdal.GDT_Byte)
    assert run("suggest", given) == {"OUTPUT": output, "FOUND": 4}
    refused({**given, "EMBEDDING": embedding}, "both the embedding and the polygons")
    refused({**given, "EMBEDDING": path, "LABELS": labels.id()}, "is no embedding")
    refused({**given, "EMBEDDING": "/nowhere/e.tif", "LABELS": labels.id()}, "embedding cannot be opened")
    run("suggest", {**given, "EMBEDDING": embedding, "LABELS": labels.id()})
    points = QgsVectorLayer(output, "points", "ogr")
    first = min(points.getFeatures(), key=lambda feature: feature["rank"])
    place = first.geometry().asPoint()
    assert first["why"] == "unlike anything labelled, shown as Wälder" and first["confidence"] == 80
    assert place.x() > X + 640 and place.y() < Y - 640


def test_from_a_scene_to_its_clusters(provider, python, tmp_path):
    scene, output = str(make_scene(tmp_path)), str(tmp_path / "e.tif")
    extent = f"{X0 + 160},{X0 + 480},{Y0 - 320},{Y0} [EPSG:32631]"
    result = run("embed", {"SCENE": scene, "EXTENT": extent, "OUTPUT": output})
    layer = QgsRasterLayer(output, "embedding")
    assert result == {"OUTPUT": output, "FEATURES": layer.bandCount()} and layer.bandCount() > 30
    assert (layer.width(), layer.height(), layer.crs().authid()) == (32, 32, "EPSG:32631")
    assert json.loads((tmp_path / "e.tif.recipe.json").read_text())["task"] == "embed"
    crew = tmp_path / "crew.tif"
    run("embed", {"SCENE": scene, "EXTENT": extent, "WORKERS": 2, "OUTPUT": str(crew)})
    assert crew.read_bytes() == Path(output).read_bytes()
    assert json.loads((tmp_path / "crew.tif.recipe.json").read_text())["options"]["workers"] == 2
    clusters = str(tmp_path / "c.tif")
    run("clusters", {"EMBEDDING": output, "CLASSES": 2, "OUTPUT": clusters})
    layer = QgsRasterLayer(clusters, "clusters")
    ids = {x: layer.dataProvider().sample(QgsPointXY(X0 + x, Y0 - 165), 1)[0] for x in (185, 215, 425, 455)}
    # The image's left half differs from its right one.
    assert ids[185] == ids[215] != ids[425] == ids[455]
    with pytest.raises(QgsProcessingException, match="does not exist"):
        run("embed", {"SCENE": scene, "MODEL": "/nowhere/m.safetensors", "OUTPUT": output})


def test_a_picture_of_the_embedding_is_loaded_and_styled(provider, python, tmp_path):
    scene, output, context = str(make_scene(tmp_path)), str(tmp_path / "e.tif"), QgsProcessingContext()
    given = {
        "SCENE": scene,
        "EXTENT": f"{X0 + 160},{X0 + 480},{Y0 - 320},{Y0} [EPSG:32631]",
        "OUTPUT": output,
    }
    details = QgsProcessingContext.LayerDetails("Embedding", QgsProject.instance(), "OUTPUT")
    context.addLayerToLoadOnCompletion(output, details)
    result = run("embed", {**given, "COMPONENTS": 4}, context)
    picture = str(tmp_path / "e_pca_rgb.tif")
    assert (result["PCA"], result["PICTURE"]) == (str(tmp_path / "e_pca.tif"), picture)
    assert QgsRasterLayer(result["PCA"], "components").bandCount() == 4
    assert set(context.layersToLoadOnCompletion()) == {output, picture}
    layer = QgsProcessingUtils.mapLayerFromString(picture, context)
    waiting = context.layersToLoadOnCompletion()[picture]
    assert waiting.name == "Picture of the embedding"
    waiting.postProcessor().postProcessLayer(layer, context, QgsProcessingFeedback(False))
    renderer = layer.renderer()
    assert (renderer.redBand(), renderer.greenBand(), renderer.blueBand()) == (1, 2, 3)
    assert renderer.redContrastEnhancement() is None and layer.dataProvider().sourceNoDataValue(1) == 0
    context = QgsProcessingContext()
    context.addLayerToLoadOnCompletion(output, details)
    assert set(run("embed", {**given, "COMPONENTS": 2}, context)) == {"OUTPUT", "FEATURES", "PCA"}
    assert set(context.layersToLoadOnCompletion()) == {output, result["PCA"]}


def test_what_is_missing_is_told(provider, python, embedding, tmp_path):
    for name, parameters, told in (
        ("clusters", {"EMBEDDING": ""}, "Choose the embedding"),
        ("similarity", {"EMBEDDING": embedding}, "Choose a place"),
        ("similarity", {"EMBEDDING": embedding, "PLACE": "0,0 [EPSG:32631]"}, "outside the embedding"),
    ):
        with pytest.raises(QgsProcessingException, match=told):
            run(name, {**parameters, "OUTPUT": str(tmp_path / "o.tif")})
