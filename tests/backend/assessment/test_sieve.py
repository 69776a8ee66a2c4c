"""The sieve: small areas join the largest neighbour, by area on the ground."""

import numpy as np
import pytest
import rasterio
from map_files import write_map
from skysense.assessment import components
from skysense.assessment.sieve import sieve
from skysense.errors import Cancelled, StorageError
from skysense.raster.classmap import ClassMap
from stopping import StopsAt


def sieved(tmp_path, ids, least_m2, heard, **where):
    with ClassMap(write_map(tmp_path / "m.tif", ids, **where)) as classes:
        kept = sieve(classes, tmp_path / "s.tif", least_m2, heard)
    with rasterio.open(tmp_path / "s.tif") as dataset:
        assert dataset.nodata == 0
        return dataset.read(1), kept


def test_an_island_joins_what_surrounds_it_and_one_on_a_border_the_larger(tmp_path, heard):
    ids = np.ones((12, 12), np.uint8)
    ids[:, 8:] = 2
    ids[3, 3] = 7  # in water
    ids[6:8, 7:9] = 7  # half in each: water is larger
    expected = np.where(np.arange(12) < 8, 1, 2) * np.ones((12, 1), int)
    expected[6:8, 7:9] = 1
    found, kept = sieved(tmp_path, ids, 500, heard)
    assert np.array_equal(found, expected) and kept == 0
    found, _ = sieved(tmp_path, ids, 400, heard)  # four pixels of 10 m are 400.3 m² on the ground
    expected[6:8, 7:9] = 7
    assert np.array_equal(found, expected)


def test_small_areas_side_by_side_become_one_and_not_what_is_not_mapped(tmp_path, heard):
    ids = np.zeros((9, 9), np.uint8)
    ids[1, 1:4] = 1, 2, 2  # three pixels of two classes, nothing else around
    ids[7, 7] = 7
    found, kept = sieved(tmp_path, ids, 1000, heard)
    assert found[1, :5].tolist() == [0, 2, 2, 2, 0] and found[7, 7] == 7
    assert kept == 2 and np.array_equal(found > 0, ids > 0)


def test_what_grows_together_counts_as_one(tmp_path, heard):
    ids = np.full((8, 9), 1, np.uint8)
    ids[:, 5:] = 7
    ids[2:4, 5:] = 2
    ids[3, 5] = 1
    ids[2:4, 0:3] = 2
    # Two halves of field, 16 and 8 pixels, are apart only through 7 pixels of Wälder, which join water: they stay what they are.
    found, _ = sieved(tmp_path, ids, 1000, heard)
    assert np.unique(found).tolist() == [1, 7] and (found[2:4, 5:] == 1).all()
    ids[0:2, 5:] = 7
    ids[:, :5] = 0
    # Without water the 7 pixels join the upper or lower field, and all field is one area.
    found, _ = sieved(tmp_path, ids, 1000, heard)
    assert (found[:, 5:][ids[:, 5:] != 1] == 7).all()


def test_in_degrees_the_same_area_is_meant_at_every_latitude(tmp_path, heard):
    ids = np.ones((1000, 10), np.uint8)
    ids[100, 4:6] = ids[900, 4:6] = 2
    # Two pixels of 0.05 degrees are 26 km² at 65 degrees north and 56 km² at 25.
    found, _ = sieved(tmp_path, ids, 20e6, heard, gsd=0.05, x=10.0, y=70.0, crs="EPSG:4326")
    assert (found == 2).sum() == 4
    found, _ = sieved(tmp_path, ids, 40e6, heard, gsd=0.05, x=10.0, y=70.0, crs="EPSG:4326")
    assert found[100, 4] == 1 and found[900, 4] == 2


@pytest.mark.parametrize("tile", [1024, 16])
@pytest.mark.parametrize("least", [300, 1000, 5000])
def test_nothing_small_is_left_that_has_a_neighbour(tmp_path, heard, monkeypatch, least, tile):
    monkeypatch.setattr(components, "TILE", tile)
    ids = np.random.default_rng(3).choice([0, 1, 2, 7], (60, 70), p=(0.1, 0.5, 0.2, 0.2))
    found, kept = sieved(tmp_path, ids, least, heard)
    assert np.array_equal(found > 0, ids > 0)
    with ClassMap(tmp_path / "s.tif") as classes:
        after = components.find_components(classes, least, heard)
    small = (after.classes > 0) & (after.m2 < least)
    assert len(after.pairs) == 0
    assert small.sum() == kept


def test_nothing_is_left_of_a_sieve_that_stops(tmp_path, heard):
    path = write_map(tmp_path / "m.tif", np.ones((8, 8)))
    with ClassMap(path) as classes:
        with pytest.raises(StorageError, match="written"):
            sieve(classes, tmp_path / "none" / "s.tif", 1, heard)
        with pytest.raises(Cancelled):
            sieve(classes, tmp_path / "s.tif", 1, StopsAt("Merging small areas"))
    assert [item.name for item in tmp_path.iterdir()] == ["m.tif"]
