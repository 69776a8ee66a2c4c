import datetime

import numpy as np
import pytest
from skysense.finetune.gaps import learn_gaps
from skysense.finetune.series import Anchors, interpolate, seen_series, series_of, whole_years_between
from skysense.raster.reader import Stack
from skysense.scene.sensors import SENSORS


def _series(values, valid, days, anchors):
    """One band, one pixel."""
    x = np.array(values, np.float32)[:, None, None, None]
    ok = np.array(valid, bool)[:, None, None]
    out = interpolate(x, ok, np.array(days), np.array(anchors))
    return out[:, 0, 0, 0].tolist()


def test_an_anchor_on_a_valid_date_gives_that_observation_exactly():
    assert _series([1, 5, 2], [1, 1, 1], [0, 10, 30], [0, 10, 30]) == [1, 5, 2]


def test_a_gap_is_bridged_linearly_between_its_valid_neighbours():
    assert _series([1, 99, 5], [1, 0, 1], [0, 10, 40], [10, 20]) == [2, 3]


def test_before_the_first_and_after_the_last_valid_date_the_value_is_carried_on():
    assert _series([9, 4, 6, 9], [0, 1, 1, 0], [0, 10, 20, 30], [-5, 0, 30, 90]) == [4, 4, 6, 6]


def test_a_pixel_without_valid_observation_is_zero_and_what_lies_under_never_matters():
    assert _series([7, 8], [0, 0], [0, 10], [0, 5]) == [0, 0]
    assert _series([7, 8], [1, 0], [0, 10], [0, 5]) == _series([7, -1e30], [1, 0], [0, 10], [0, 5])


def test_two_acquisitions_of_one_day():
    assert _series([1, 3], [1, 1], [5, 5], [5])[0] in (1, 3)
    assert _series([1, 3], [0, 1], [5, 5], [5]) == [3]


def test_pixels_are_independent():
    random = np.random.default_rng(0)
    x, ok = random.normal(size=(6, 3, 4, 5)).astype(np.float32), random.random((6, 4, 5)) > 0.4
    days, anchors = np.array([0, 3, 9, 20, 21, 40]), np.array([1, 9, 35])
    whole = interpolate(x, ok, days, anchors)
    part = interpolate(x[:, :, 1:3, 2:4], ok[:, 1:3, 2:4], days, anchors)
    assert np.array_equal(whole[:, :, 1:3, 2:4], part)


@pytest.mark.parametrize(("shift", "expected"), [(0, 0), (400, 365), (-700, -730), (150, 0)])
def test_a_series_of_another_year_is_moved_by_whole_years(shift, expected):
    anchors = np.array([17000, 17100, 17200])
    assert whole_years_between(anchors + shift, anchors) == expected


def test_bands_of_different_dates_keep_their_places_and_are_normalised():
    """B8A lacks the middle date, where it is bridged; the columns are those of the anchors, in their order."""
    s2, names = SENSORS["s2"], ("B8A", "B2", "B4")
    place = [s2.bands.index(name) for name in names]
    mean, std = (np.array(numbers, np.float32)[place] for numbers in (s2.mean, s2.std))
    shown = np.array([[0, 1, 2], [9, 3, 4], [4, 5, 6]], np.float32)  # dates x names, in standard deviations
    values = np.zeros((3, len(s2.bands), 2, 2), np.float32)
    values[:, place] = (shown * std + mean)[..., None, None]
    present = np.ones((3, len(s2.bands)), bool)
    present[1, place[0]] = False
    dates = tuple(datetime.date(1970, 1, day) for day in (1, 11, 21))
    stack = Stack(values, np.ones((3, 2, 2), bool), present, dates)
    found = series_of("s2", stack, Anchors(names, (0, 10, 20)))
    assert found.shape == (9, 2, 2)
    np.testing.assert_allclose(found[:, 0, 0], [0, 1, 2, 2, 3, 4, 4, 5, 6], atol=1e-3)
    assert (found == found[:, :1, :1]).all()


def _stack(days, valid, values=None):
    """Sentinel-1 of (T,) days and valid (T, N); values (T, N) of both bands, in standard deviations."""
    s1, valid = SENSORS["s1"], np.array(valid, bool)[:, None]
    mean, std = (np.array(numbers, np.float32)[:, None, None] for numbers in (s1.mean, s1.std))
    shown = np.zeros(valid.shape, np.float32) if values is None else np.array(values, np.float32)[:, None]
    dates = tuple(datetime.date(1970, 1, 1) + datetime.timedelta(days=day) for day in days)
    return Stack(shown[:, None] * std + mean, valid, np.ones((len(days), 2), bool), dates)


def _seen(days, valid, anchors):
    _, seen = seen_series("s1", _stack(days, valid), Anchors(("VV", "VH"), anchors))
    assert (seen[::2] == seen[1::2]).all()
    return seen[::2, 0].astype(int).tolist()


def test_two_granules_of_a_day_show_their_parts_of_it():
    assert _seen([0, 0, 20], [[1, 0, 0], [0, 1, 0], [1, 1, 1]], (0, 20)) == [[1, 1, 0], [1, 1, 1]]


def test_dates_that_a_scene_lacks_are_gaps():
    assert _seen([0, 22], [[1], [1]], (0, 10, 20, 30)) == [[1], [0], [1], [0]]


def test_in_a_scene_of_other_dates_the_nearest_tells_of_an_anchor():
    assert _seen([8, 28], [[1, 0], [1, 1]], (0, 20)) == [[1, 0], [1, 1]]


def test_gaps_are_filled_from_the_other_dates_and_pixels_that_were_never_seen_stay_empty():
    random = np.random.default_rng(0)
    # Each date shows the same state of a pixel: a line between its neighbours would not.
    x = random.normal(size=(500, 1)) * [1, -1, 1] + 0.05 * random.normal(size=(500, 3))
    gaps = learn_gaps(x.repeat(2, axis=1).astype(np.float32), np.ones((500, 6), bool))
    stack = _stack([0, 10, 20], [[1, 1, 0], [0, 1, 0], [1, 1, 0]], [[2, 2, 9], [7, -2, 9], [2, 2, 9]])
    found = series_of("s1", stack, Anchors(("VV", "VH"), (0, 10, 20), gaps))
    assert found[[0, 1, 4, 5], 0, 0] == pytest.approx(2, abs=1e-3)
    assert found[2:4, 0, 0] == pytest.approx(-2, abs=0.2)
    stack.values[~np.broadcast_to(stack.valid[:, None], stack.values.shape)] = np.nan
    assert np.array_equal(series_of("s1", stack, Anchors(("VV", "VH"), (0, 10, 20), gaps)), found)
    lines = series_of("s1", stack, Anchors(("VV", "VH"), (0, 10, 20)))
    assert np.array_equal(found[:, 0, 1:], lines[:, 0, 1:])
    assert lines[2:4, 0, 0] == pytest.approx(2, abs=1e-3)
    assert (found[:, 0, 2] == 0).all()
