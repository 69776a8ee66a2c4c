"""Sunlight, trees, clouds."""

import math

import numpy as np
import pytest
from skysense.synthetic.clouds import make_clouds
from skysense.synthetic.light import ELEVATION, cast_shadows, slopes, toward_sun
from skysense.synthetic.noise import stream
from skysense.synthetic.trees import crowns


def test_level_ground_is_one_and_slopes_to_the_sun_are_brighter() -> None:
    assert slopes(np.full((5, 5), 3, np.float32), 1.0) == pytest.approx(1)
    ramp = np.tile(
        np.arange(9, dtype=np.float32)[:, None] * 0.3, (1, 9)
    )  # rises downwards: faces up, away from it
    assert slopes(ramp, 1.0)[4, 4] < 1 < slopes(ramp[::-1], 1.0)[4, 4]


def test_a_tower_shades_the_side_away_from_the_sun() -> None:
    height = np.zeros((41, 41), np.float32)
    height[20, 20] = 10
    dark = cast_shadows(height, 1.0)
    rows, cols = np.nonzero(dark)
    sx, sy = toward_sun()
    assert ((cols - 20) * sx <= 0).all() and ((rows - 20) * sy < 0).all()
    reach = np.hypot(rows - 20, cols - 20).max()
    assert reach == pytest.approx(10 / math.tan(math.radians(ELEVATION)), abs=1.0)


def test_trees_grow_only_where_they_may() -> None:
    density = np.zeros((80, 80), np.float32)
    density[:, 40:] = 1
    canopy, _, needles = crowns(density, np.zeros((80, 80), bool), 1.0, stream(0, "t"), spacing=7, height=20)
    assert (canopy[:, :32] == 0).all() and not needles.any()
    assert (canopy[:, 47:73] > 0).mean() > 0.8
    assert 15 < canopy.max() <= 20


def test_clouds_cover_about_what_was_asked_and_only_shade_the_ground() -> None:
    clouds = make_clouds((96, 96), 0.3, stream(4, "c"))
    assert 0.2 < (clouds.opacity > 0.5).mean() < 0.45
    seen = clouds.over(np.full((10, 96, 96), 0.1, np.float32))
    clear = (clouds.opacity == 0) & (clouds.shadow == 0)
    assert seen[0][clear] == pytest.approx(0.1)
    assert (seen[0][(clouds.opacity == 0) & (clouds.shadow == 1)] < 0.07).all()
    assert (seen[0][clouds.opacity == 1] > 0.4).all()
