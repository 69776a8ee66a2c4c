import numpy as np
import pytest
from raster_files import shared_scene
from skysense.raster.clouds import is_classification, mask_invalid, series_clouds
from skysense.raster.layout import plan_layout
from skysense.raster.reader import SceneReader


def series(blue, band=0):
    """One pixel's series with only one band, and what `series_clouds` takes."""
    values = np.zeros((len(blue), 10, 1, 1), np.float32)
    values[:, band, 0, 0] = blue
    present = np.zeros((len(blue), 10), bool)
    present[:, band] = True
    return values, np.ones((len(blue), 1, 1), bool), present


@pytest.mark.parametrize(
    ("blue", "cloudy"),
    [
        ([300, 400, 350, 5000, 320], [3]),
        ([300, 400, 350, 1200, 320], []),  # a ploughed field
        ([300, 5000, 5000, 5000, 320, 310], [1, 2, 3]),
        ([3000, 3300, 3500, 3200, 3100], []),  # a white roof
        ([5000, 300, 320], [0]),
        ([1800, 300, 320], []),
        ([9000], []),
        ([9000, 9500], []),
    ],
)
def test_clouds_are_bright_and_brighter_than_usual(blue, cloudy):
    assert np.flatnonzero(series_clouds(*series(blue))).tolist() == cloudy


def test_without_blue_the_next_band_serves():
    assert np.flatnonzero(series_clouds(*series([900, 1200, 1000, 5000, 2500], band=3))).tolist() == [3]
    values, valid, present = series([300, 400, 350, 5000, 320])
    assert not series_clouds(values, valid, np.zeros_like(present)).any()


def test_invalid_dates_neither_count_nor_are_clouds():
    values, valid, present = series([0, 5000, 0, 0, 5200])
    valid[[0, 2, 3]] = False
    assert not series_clouds(values, valid, present).any()


def test_a_pixel_does_not_depend_on_its_neighbours():
    random = np.random.default_rng(0)
    values = random.uniform(200, 6000, (12, 10, 6, 7)).astype(np.float32)
    valid = random.random((12, 6, 7)) < 0.8
    present = np.ones((12, 10), bool)
    whole = series_clouds(values, valid, present)
    assert whole.any() and not whole.all()
    assert np.array_equal(series_clouds(values[:, :, 2:3, 4:], valid[:, 2:3, 4:], present), whole[:, 2:3, 4:])


def test_masks():
    classes = np.arange(12, dtype=np.uint8)
    assert np.flatnonzero(mask_invalid(classes, True)).tolist() == [0, 1, 3, 8, 9, 10]
    assert np.flatnonzero(mask_invalid(classes, False)).tolist() == list(range(1, 12))
    assert is_classification("T31UDQ_SCL_20m.tif", np.zeros(0))
    assert is_classification("mask.tif", np.array([4, 5, 9, 0]))
    assert not is_classification("mask.tif", np.array([0, 1]))
    assert not is_classification("mask.tif", np.array([0, 255]))


def test_sample_scenes_keep_their_clear_dates_and_lose_the_cloudy_ones():
    for name, cloudy in (
        ("boadella-water", {"2020-01-18"}),
        ("flanders-crops-2018", {"2017-11-25", "2018-05-16"}),
    ):
        scene = shared_scene(name)
        layout = plan_layout(scene)
        with SceneReader(scene, layout) as reader:
            stack = reader.read("s2", layout.output)
        share = {str(day): float(valid.mean()) for day, valid in zip(stack.dates, stack.valid, strict=True)}
        assert {day for day, valid in share.items() if valid < 0.05} == cloudy
        partly = {"2020-01-23", "2018-09-13"}
        assert all(valid > 0.95 for day, valid in share.items() if day not in cloudy | partly)
        assert all(share[day] < 0.6 for day in partly & set(share))
