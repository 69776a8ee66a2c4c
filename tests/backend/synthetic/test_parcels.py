"""Cutting land into parcels."""

import numpy as np
import pytest
from shapely import LineString, box, unary_union
from skysense.synthetic.parcels import long_axis, polygons, split


def test_long_axis_of_a_rectangle() -> None:
    angle, length, width = long_axis(box(0, 0, 10, 40))
    assert abs(np.sin(angle)) == pytest.approx(1) and (length, width) == pytest.approx((40, 10))


def test_parcels_tile_the_land_without_overlap() -> None:
    land = box(0, 0, 800, 500)
    parcels = split(land, 20_000, np.random.default_rng(0))
    assert 12 <= len(parcels) <= 40
    assert sum(p.area for p in parcels) == pytest.approx(land.area)
    assert unary_union(parcels).area == pytest.approx(land.area)


def test_gaps_stay_free() -> None:
    parcels = split(box(0, 0, 300, 300), 10_000, np.random.default_rng(1), gap=6)
    nearest = min(a.distance(b) for i, a in enumerate(parcels) for b in parcels[:i])
    assert nearest == pytest.approx(6, abs=0.01)


def test_polygons_of_a_mixture() -> None:
    mixture = unary_union([box(0, 0, 1, 1), box(5, 5, 8, 8), LineString([(10, 0), (11, 0)])])
    assert sorted(p.area for p in polygons(mixture)) == [1, 9]
    assert [p.area for p in polygons(mixture, 2)] == [9]
