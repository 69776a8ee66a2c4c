import json
import zipfile

import pytest
from qgis.core import QgsLayerTreeModel, QgsProject, QgsRasterLayer
from qgis.PyQt.QtCore import QMimeData, QUrl
from small_scene import make_image, make_scene

from skysense_qgis.dock.acquisitions import dropped
from skysense_qgis.dock.row import RowError
from skysense_qgis.dock.sources import (
    images_in,
    layer_date,
    read_scene_file,
    row_from_layer,
    scene_file_of,
    set_layer_dates,
)


@pytest.fixture
def layer(tmp_path):
    layer = QgsRasterLayer(str(make_image(tmp_path / "S2_20210410.tif", 500)), "April", "gdal")
    QgsProject.instance().addMapLayer(layer)
    return layer


def test_a_layer_gives_its_file_and_its_date(layer, tmp_path):
    row = row_from_layer(layer)
    assert (row.path, row.title, row.date) == (str(tmp_path / "S2_20210410.tif"), "April", "")
    set_layer_dates(layer, "2021-04-11", "2021-04-11")
    assert layer_date(layer) == "2021-04-11"
    row = row_from_layer(layer)
    assert (row.date, row.stated, row.layer_id) == ("2021-04-11", {"date"}, layer.id())


def test_a_layer_in_a_zip_file_is_taken_as_it_lies_there(tmp_path):
    make_image(tmp_path / "S2_20210410.tif", 500)
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.write(tmp_path / "S2_20210410.tif", "april/S2_20210410.tif")
    inside = f"/vsizip/{tmp_path}/all.zip/april/S2_20210410.tif"
    layer = QgsRasterLayer(inside, "zipped", "gdal")
    assert layer.isValid() and row_from_layer(layer).path == inside


def test_a_range_of_a_year_is_no_acquisition_date(layer):
    set_layer_dates(layer, "2021-01-01", "2021-12-31")
    assert layer_date(layer) == ""


def test_a_web_map_is_refused_with_advice():
    layer = QgsRasterLayer("type=xyz&url=file:///none/{z}/{x}/{y}.png", "web", "wms")
    with pytest.raises(RowError, match=r"“web” is not a file \(wms\)"):
        row_from_layer(layer)


def test_a_scene_file_is_found_and_read(tmp_path):
    path = make_scene(tmp_path)
    assert scene_file_of(str(tmp_path)) == path == scene_file_of(str(path))
    scene = read_scene_file(path)
    assert (scene.name, len(scene.rows), scene.labels) == ("small", 3, None)
    assert scene.rows[0].path == str(tmp_path / "S2_small_20210410.tif")


def test_labels_of_a_scene_file_get_absolute_paths(tmp_path):
    path = tmp_path / "scene.json"
    path.write_text(
        json.dumps({"acquisitions": [], "labels": {"path": "l.gpkg", "field": "f"}, "info": "kept"})
    )
    scene = read_scene_file(path)
    assert scene.labels == {"path": str(tmp_path / "l.gpkg"), "field": "f"}
    assert scene.extra == {"info": "kept"}


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"acquisitions": 1}', '{"acquisitions": [{"modality": "s2"}]}']
)
def test_what_is_no_scene_file_is_told(tmp_path, content):
    path = tmp_path / "scene.json"
    path.write_text(content)
    with pytest.raises(RowError, match="scene file"):
        read_scene_file(path)


def test_images_of_a_folder(tmp_path):
    for name in ("b.tif", "a.TIF", "notes.txt"):
        (tmp_path / name).write_text("")
    assert [path.rsplit("/", 1)[-1] for path in images_in(str(tmp_path))] == ["a.TIF", "b.tif"]
    assert images_in(str(tmp_path / "b.tif")) == []


def test_drops_from_the_layer_tree_and_from_a_file_manager(layer, tmp_path):
    root = QgsProject.instance().layerTreeRoot()
    tree = QgsLayerTreeModel(root)
    mime = tree.mimeData([tree.node2index(root.findLayer(layer))])
    assert dropped(mime) == ([layer], [])
    files = QMimeData()
    files.setUrls([QUrl.fromLocalFile(str(tmp_path / "x.tif")), QUrl("https://example.org/y.tif")])
    assert dropped(files) == ([], [str(tmp_path / "x.tif")])


def test_images_on_servers_and_in_zip_files_have_no_folder(tmp_path):
    rows = [
        {"modality": "s2", "path": "https://host/a.tif", "mask": "/vsicurl/https://host/m.tif"},
        {"modality": "s2", "path": "/vsizip//data/a.zip/b.tif"},
        {"modality": "s2", "path": "c.tif"},
    ]
    path = tmp_path / "scene.json"
    path.write_text(json.dumps({"acquisitions": rows}))
    scene = read_scene_file(path)
    assert [row.path for row in scene.rows] == [
        "/vsicurl/https://host/a.tif",
        "/vsizip//data/a.zip/b.tif",
        str(tmp_path / "c.tif"),
    ]
    assert scene.rows[0].extra["mask"] == "/vsicurl/https://host/m.tif"


def test_bands_that_are_a_list_are_told(tmp_path):
    path = tmp_path / "scene.json"
    path.write_text(json.dumps({"acquisitions": [{"modality": "hr", "path": "a.tif", "bands": ["R", "G"]}]}))
    with pytest.raises(RowError, match="no list of name and number"):
        read_scene_file(path)
