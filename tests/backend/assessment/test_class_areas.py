import csv
import math
import tracemalloc

import numpy as np
import pytest
from map_files import write_map
from skysense.assessment.areas import class_areas, measure_map
from skysense.errors import Cancelled, InputError, StorageError
from skysense.jobs.control import JobControl
from skysense.raster.classmap import ClassMap


def test_a_degree_map_by_hand(tmp_path, heard):
    # One row at 60..61 N, one at 59..60 N; the ellipsoid's zones, b² / 2 dlon [sin p / (1 - e² sin² p) + artanh(e sin p) / e].
    path = write_map(tmp_path / "m.tif", [[1, 1, 2], [2, 0, 2]], 1.0, 10, 61, "EPSG:4326")
    b2, e = 6356752.314245**2, 0.081819190842621

    def zone(lat):
        s = math.sin(math.radians(lat))
        return s / (1 - (e * s) ** 2) + math.atanh(e * s) / e

    north, south = (b2 / 2 * math.radians(1) * (zone(p + 1) - zone(p)) for p in (60, 59))
    found = measure_map(path, None, heard)
    assert [item["id"] for item in found["classes"]] == [1, 2, 7]
    assert [item["pixels"] for item in found["classes"]] == [2, 3, 0]
    assert [item["m2"] for item in found["classes"]] == pytest.approx([2 * north, north + 2 * south, 0])
    assert found["ha"] == pytest.approx((3 * north + 2 * south) / 1e4)
    assert sum(item["share"] for item in found["classes"]) == pytest.approx(1)


def test_several_blocks_and_crs_agree(tmp_path, heard):
    """The same ground in UTM and in Web Mercator has the same area, whatever the size of the pixels there."""
    ids = np.zeros((1100, 5000), np.uint8)
    ids[:, :2500], ids[600:, 2500:] = 1, 7
    with ClassMap(write_map(tmp_path / "utm.tif", ids)) as classes:
        found = class_areas(classes, heard)
        assert [window.height for window, _ in classes.blocks()] == [512, 512, 512, 512, 76, 76]
    pixels = {item.id: item.pixels for item in found.classes}
    assert pixels == {1: 1100 * 2500, 2: 0, 7: 500 * 2500}
    # UTM's scale is 0.9996 on the central meridian, where the map begins: more ground than 100 m² a pixel.
    assert found.classes[0].m2 == pytest.approx(pixels[1] * 100 * (1 / 0.9996) ** 2, rel=1e-5)
    assert found.is_even
    stretched = write_map(tmp_path / "web.tif", np.ones((100, 100)), 10.0, 300_000, 8_400_238, "EPSG:3857")
    m2 = measure_map(stretched, None, heard)["m2"]
    assert m2 == pytest.approx(100 * 100 * 100 / 4, rel=5e-3)


def test_the_table(tmp_path, heard):
    path = write_map(tmp_path / "m.tif", [[1, 1, 2], [2, 0, 2]])
    found = measure_map(path, tmp_path / "areas.csv", heard)
    rows = list(csv.reader((tmp_path / "areas.csv").read_text(encoding="utf-8").splitlines()))
    assert rows[0] == ["class_id", "class", "pixels", "m2", "ha", "share"]
    assert [row[:3] for row in rows[1:]] == [["1", "water", "2"], ["2", "Wälder", "3"], ["7", "field", "0"]]
    assert float(rows[2][3]) == pytest.approx(found["classes"][1]["m2"], abs=0.01)
    assert float(rows[2][4]) == pytest.approx(found["classes"][1]["m2"] / 1e4, abs=1e-6)
    assert found["csv"] == str(tmp_path / "areas.csv") and heard.notes == []
    with pytest.raises(StorageError):
        measure_map(path, tmp_path / "nowhere" / "areas.csv", heard)


def test_a_filtered_map_without_names_and_of_another_type(tmp_path, heard):
    path = write_map(tmp_path / "m.tif", [[1, 1, -5], [9, 0, -5]], names=None, nodata=-5, dtype="int32")
    found = measure_map(path, None, heard)
    assert [(item["name"], item["pixels"]) for item in found["classes"]] == [("class 1", 2), ("class 9", 1)]
    assert len(heard.notes) == 1 and "class names" in heard.notes[0]


@pytest.mark.parametrize(
    ("ids", "more", "told"),
    [
        ([[1, 77]], {}, "77"),  # a confidence layer: percents are no classes
        ([[1, 300]], {"dtype": "int16", "names": None}, "300"),
        ([[1, -3]], {"dtype": "int16", "names": None}, "-3"),
        ([[0, 0]], {}, "no mapped pixels"),
        ([[1.0, 2.0]], {"dtype": "float32"}, "class ids"),
        ([[1, 2]], {"crs": None}, "coordinate system"),
        ([[1, 1]], {"crs": "+proj=ortho +lat_0=0 +lon_0=0", "x": 9e6}, "off the Earth"),
    ],
)
def test_what_is_no_class_map(tmp_path, heard, ids, more, told):
    with pytest.raises(InputError) as raised:
        measure_map(write_map(tmp_path / "m.tif", ids, **more), None, heard)
    assert told in str(raised.value) and "m.tif" in str(raised.value)


def test_no_file(tmp_path, heard):
    with pytest.raises(InputError, match="does not exist"):
        measure_map(tmp_path / "m.tif", None, heard)


def test_cancel_stops_it(tmp_path):
    control = JobControl(lambda event: None)
    control.cancel()
    with pytest.raises(Cancelled):
        measure_map(write_map(tmp_path / "m.tif", np.ones((8, 8))), None, control)


def test_memory_does_not_grow_with_the_map(tmp_path, heard):
    def peak(width):
        path = write_map(tmp_path / f"{width}.tif", np.ones((1024, width), np.uint8))
        tracemalloc.start()
        measure_map(path, None, heard)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    small, large = peak(10_000), peak(40_000)
    assert large < 1.1 * small and large < 150e6, (small, large)
