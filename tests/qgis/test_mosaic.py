"""The mosaic of a growing map: each pixel in its place at every scale, and files that come and go."""

import random

import pytest
from osgeo import gdal, osr
from qgis.core import QgsRasterLayer

from skysense_qgis.results.mosaic import Mosaic

X, Y, GSD = 500_000.0, 5_600_000.0, 10.0
#: Rows and columns at which the chunks are cut: the first ones are narrow, as at the edge of a scene, and some pages are crossed.
CUTS = [0, 123, 571, 1019, 1467, 1915, 2363, 2811, 3259, 3707, 4155, 4603, 5051, 5055]


def value(row, col):
    """The class of the chunk in a row and column of chunks."""
    return 1 + (row * 7 + col * 3) % 5


def make_chunk(folder, row, col):
    top, left = CUTS[row], CUTS[col]
    path = str(folder / f"r{row}_c{col} & more_class.tif")
    size = CUTS[col + 1] - left, CUTS[row + 1] - top
    dataset = gdal.GetDriverByName("GTiff").Create(path, *size, 1, gdal.GDT_Byte)
    dataset.SetGeoTransform((X + GSD * left, GSD, 0, Y - GSD * top, 0, -GSD))
    crs = osr.SpatialReference()
    crs.ImportFromEPSG(32631)
    dataset.SetProjection(crs.ExportToWkt())
    table = gdal.ColorTable()
    for number in range(1, 6):
        table.SetColorEntry(number, (40 * number, 10, 20, 255))
    dataset.GetRasterBand(1).SetColorTable(table)
    dataset.GetRasterBand(1).SetNoDataValue(0)
    dataset.GetRasterBand(1).Fill(value(row, col))
    dataset.FlushCache()
    dataset.BuildOverviews("NEAREST", [2, 4, 8])
    return path


@pytest.fixture(scope="module")
def chunks(tmp_path_factory):
    """Path of each chunk by row and column, 13 x 13 of them."""
    folder = tmp_path_factory.mktemp("map.tif.parts")
    places = [(row, col) for row in range(len(CUTS) - 1) for col in range(len(CUTS) - 1)]
    return {place: make_chunk(folder, *place) for place in places}


def grow(mosaic, paths):
    for path in paths:
        mosaic.add(path)
    while mosaic.take():
        pass
    return mosaic.write()


def whole(cuts_row, cuts_col):
    """The rows of the map, as bytes."""
    rows = []
    for row in range(len(cuts_row) - 1):
        line = b"".join(
            bytes([value(row, col)]) * (cuts_col[col + 1] - cuts_col[col]) for col in range(len(cuts_col) - 1)
        )
        rows += [line] * (cuts_row[row + 1] - cuts_row[row])
    return b"".join(rows)


def test_every_pixel_is_in_its_place_whatever_the_order(chunks, tmp_path):
    paths = list(chunks.values())
    random.Random(1).shuffle(paths)
    mosaic = Mosaic(tmp_path)
    for start in range(0, len(paths), 50):  # in steps: pages are added to, and grow to the left and upwards
        path = grow(mosaic, paths[start : start + 50])
    dataset = gdal.Open(path)
    assert dataset.GetGeoTransform() == (X, GSD, 0, Y, 0, -GSD)
    assert (dataset.RasterXSize, dataset.RasterYSize) == (5055, 5055)
    assert dataset.ReadRaster() == whole(CUTS, CUTS)
    assert dataset.GetRasterBand(1).GetColorTable().GetColorEntry(3) == (120, 10, 20, 255)
    assert dataset.GetRasterBand(1).GetNoDataValue() == 0


@pytest.mark.parametrize("scale", [8, 16, 37, 100])
def test_seen_from_afar_it_is_the_same_map_without_seams(chunks, tmp_path, scale):
    dataset = gdal.Open(grow(Mosaic(tmp_path), chunks.values()))
    assert dataset.GetRasterBand(1).GetOverviewCount() == 1
    size = 5055 // scale
    seen = dataset.ReadRaster(buf_xsize=size, buf_ysize=size)
    assert 0 not in seen
    exact, wrong = whole(CUTS, CUTS), 0
    for row in range(size):
        for col in range(size):
            y, x = int((row + 0.5) * 5055 / size), int((col + 0.5) * 5055 / size)
            # GDAL draws each page from a whole pixel of the screen on.
            reach = (-scale, 0, scale)
            near = {
                exact[min(max(y + i, 0), 5054) * 5055 + min(max(x + j, 0), 5054)]
                for i in reach
                for j in reach
            }
            wrong += seen[row * size + col] not in near
    assert wrong == 0


def test_the_preview_alone_serves_what_is_seen_from_afar(chunks, tmp_path):
    folder = tmp_path / "parts"
    folder.mkdir()
    paths = [make_chunk(folder, *place) for place in ((1, 1), (1, 2))]
    path = grow(Mosaic(tmp_path), paths)
    for chunk in folder.iterdir():
        chunk.unlink()
    dataset = gdal.Open(path)
    assert dataset.ReadRaster(buf_xsize=2, buf_ysize=1) == bytes([value(1, 1), value(1, 2)])


def test_what_a_viewer_holds_is_not_written_again_and_old_files_go(chunks, tmp_path):
    mosaic, paths = Mosaic(tmp_path), list(chunks.values())
    first = grow(mosaic, paths[:1])
    layer = QgsRasterLayer(first, "first", "gdal")
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    steps = [grow(mosaic, [path]) for path in paths[1:5]]
    assert len({first, *steps}) == 5
    after = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert {name: after[name] for name in before} == before
    assert layer.dataProvider().sample(layer.extent().center(), 1) == (float(value(0, 0)), True)
    for path in paths[5:11]:
        grow(mosaic, [path])
    assert not before.keys() & {path.name for path in tmp_path.iterdir()}
    assert len(list(tmp_path.iterdir())) <= 6 * 4  # the newest step and five before it


@pytest.fixture(params=[False, True])
def exceptions(request):
    """As another plugin may have switched them."""
    if request.param:
        gdal.UseExceptions()
    yield
    gdal.DontUseExceptions()


def test_a_chunk_that_cannot_be_opened_is_left_out(chunks, tmp_path, exceptions):
    mosaic = Mosaic(tmp_path)
    assert grow(mosaic, [str(tmp_path / "none.tif")]) == ""
    (tmp_path / "bad.tif").write_bytes(b"II*\0")
    path = grow(mosaic, [str(tmp_path / "bad.tif"), chunks[2, 2]])
    assert gdal.Open(path).ReadRaster() == bytes([value(2, 2)]) * 448 * 448


def test_a_folder_that_cannot_be_written_is_an_os_error(chunks, tmp_path, exceptions):
    mosaic = Mosaic(tmp_path / "gone")
    mosaic.add(chunks[2, 2])
    with pytest.raises(OSError):
        mosaic.take()
