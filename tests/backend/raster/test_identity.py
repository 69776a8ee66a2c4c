import os
import shutil

import numpy as np
import pytest
import rasterio
from skysense.errors import InputError
from skysense.raster.identity import scene_identity
from skysense.scene.scenefile import parse_scene


def write(path, value=7):
    values = np.random.default_rng(0).integers(0, 99, (1, 400, 400)).astype("uint16")
    values[0, 200, 200] = value
    with rasterio.open(
        path, "w", driver="GTiff", width=400, height=400, count=1, dtype="uint16", crs="EPSG:32631",
        transform=rasterio.transform.from_origin(500_000, 5_700_000, 10, 10),
    ) as target:  # fmt: skip
        target.write(values)


def scene(folder, **more):
    row = {"modality": "s2", "path": "a.tif", "date": "2021-06-01", "bands": {"B2": 1}, **more}
    return parse_scene({"version": 1, "name": "s", "acquisitions": [row]}, folder)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "one").mkdir()
    write(tmp_path / "one" / "a.tif")
    return tmp_path / "one"


def test_it_is_that_of_the_files_wherever_they_lie(folder, tmp_path):
    known = scene_identity(scene(folder))
    assert scene_identity(scene(folder)) == known
    shutil.copytree(folder, tmp_path / "two")  # times are kept
    assert scene_identity(scene(tmp_path / "two")) == known


def test_it_changes_with_a_file_its_time_or_what_is_said_of_it(folder):
    known = scene_identity(scene(folder))
    others = {scene_identity(scene(folder, date="2021-06-02")), scene_identity(scene(folder, scale=0.1))}
    os.utime(folder / "a.tif", ns=(1, 1))
    others.add(scene_identity(scene(folder)))
    (folder / "a.tif").write_bytes((folder / "a.tif").read_bytes() + b"more")
    os.utime(folder / "a.tif", ns=(1, 1))
    others.add(scene_identity(scene(folder)))
    assert len(others) == 4 and known not in others


def test_statistics_that_a_viewer_writes_beside_it_do_not_count_but_overviews_do(folder):
    known = scene_identity(scene(folder))
    (folder / "a.tif.aux.xml").write_text(
        '<PAMDataset><PAMRasterBand band="1"><Metadata><MDI key="STATISTICS_MEAN">3</MDI></Metadata></PAMRasterBand></PAMDataset>'
    )
    assert scene_identity(scene(folder)) == known
    time = (folder / "a.tif").stat().st_mtime_ns
    with rasterio.Env(TIFF_USE_OVR=True), rasterio.open(folder / "a.tif", "r+") as dataset:
        dataset.build_overviews([2])
    os.utime(folder / "a.tif", ns=(time, time))
    assert (folder / "a.tif.ovr").is_file()
    assert scene_identity(scene(folder)) != known


def test_a_mosaic_changes_with_its_parts(folder):
    vrt = folder / "m.vrt"
    vrt.write_text(
        '<VRTDataset rasterXSize="400" rasterYSize="400"><SRS>EPSG:32631</SRS>'
        "<GeoTransform>500000, 10, 0, 5700000, 0, -10</GeoTransform>"
        '<VRTRasterBand dataType="UInt16" band="1"><SimpleSource><SourceFilename relativeToVRT="1">a.tif</SourceFilename>'
        "<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    known = scene_identity(scene(folder, path="m.vrt"))
    os.utime(folder / "a.tif", ns=(1, 1))
    assert scene_identity(scene(folder, path="m.vrt")) != known


def test_read_in_whole_it_sees_the_middle_of_a_file_and_not_its_time(folder):
    before, whole = scene_identity(scene(folder)), scene_identity(scene(folder), whole=True)
    time = (folder / "a.tif").stat().st_mtime_ns
    write(folder / "a.tif", value=8)  # as large as before, and other only in the middle
    os.utime(folder / "a.tif", ns=(time, time))
    assert scene_identity(scene(folder)) == before
    assert scene_identity(scene(folder), whole=True) != whole
    write(folder / "a.tif")
    assert scene_identity(scene(folder), whole=True) == whole


def test_a_file_that_is_gone_is_named(folder):
    known = scene(folder)
    (folder / "a.tif").unlink()
    with pytest.raises(InputError, match=r"a\.tif: does not exist"):
        scene_identity(known)
