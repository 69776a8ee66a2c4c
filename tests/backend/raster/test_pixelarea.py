"""Areas of pixels against formulas worked out by hand and against geodesic polygons."""

import math

import numpy as np
import pyproj
import pytest
from affine import Affine
from skysense.raster.crs import transformer
from skysense.raster.grid import Grid, Window
from skysense.raster.pixelarea import pixel_areas

GEOD = pyproj.Geod(ellps="WGS84")


def geodesic_area(grid, window, points=400):
    """m² of a window's outline, its edges followed with many points, after Karney (2013)."""
    t = np.linspace(0, 1, points, endpoint=False)
    sides = [(t, 0 * t), (0 * t + 1, t), (1 - t, 0 * t + 1), (0 * t, 1 - t)]
    cols = window.col + window.width * np.concatenate([c for c, _ in sides])
    rows = window.row + window.height * np.concatenate([r for _, r in sides])
    lon, lat = transformer(grid.crs, "EPSG:4326").transform(*grid.xy(cols, rows))
    return abs(GEOD.polygon_area_perimeter(lon, lat)[0])


def grid_of(crs, gsd, x, y, height=512, width=600):
    return Grid(crs, Affine(gsd, 0, x, 0, -gsd, y), width, height)


def test_degree_cells_have_the_area_of_their_band():
    # Area between two parallels on the ellipsoid: b² / 2 dlon [sin p / (1 - e² sin² p) + ln((1 + e sin p) / (1 - e sin p)) / 2e].
    a, f = 6378137.0, 1 / 298.257223563
    b, e = a * (1 - f), math.sqrt(f * (2 - f))

    def zone(lat):
        s = math.sin(math.radians(lat))
        return s / (1 - (e * s) ** 2) + math.log((1 + e * s) / (1 - e * s)) / (2 * e)

    found = pixel_areas(grid_of("EPSG:4326", 1.0, 10, 61, 2, 3), Window(0, 0, 2, 3))
    by_hand = [b**2 / 2 * math.radians(1) * (zone(lat + 1) - zone(lat)) for lat in (60, 59)]
    assert found.shape == (2, 1)
    np.testing.assert_allclose(found[:, 0], by_hand, rtol=1e-12)
    # On a sphere of the same area, radius 6371007.2 m, the cell would have 6125 km²; the ellipsoid is flatter there.
    assert by_hand[0] == pytest.approx(6371007.181**2 * math.radians(1) * 0.00860, rel=0.01)


def test_the_whole_earth():
    world = grid_of("EPSG:4326", 1.0, -180, 90, 180, 360)
    assert pixel_areas(world, world.window).sum() * 360 == pytest.approx(510_065_621.724e6, rel=1e-12)


def test_web_mercator_at_60_degrees_is_a_quarter():
    # The scale is 1 / cos 60 in both directions; the ellipsoid adds 0.4 % (M N / a² at 60 degrees = 1.00333).
    grid = grid_of("EPSG:3857", 10.0, 300_000, 8_399_737.9 + 5, 1, 1)
    assert pixel_areas(grid, grid.window)[0, 0] == pytest.approx(25.0, rel=5e-3)


@pytest.mark.parametrize(
    ("crs", "gsd", "x", "y"),
    [
        ("EPSG:32631", 10, 500_000, 5_600_000),
        ("EPSG:32631", 1000, 300_000, 6_500_000),
        ("EPSG:32733", 20, 166_000, 7_000_000),
        ("EPSG:3857", 10, 300_000, 8_399_737),
        ("EPSG:3857", 1000, 300_000, 18_399_737),
        ("EPSG:2154", 20, 700_000, 6_600_000),
        ("EPSG:3035", 100, 4_321_000, 3_210_000),
        ("EPSG:3413", 100, -25_600, 25_600),  # the pole lies inside
        ("EPSG:3832", 1000, 3_000_000, 6_000_000),  # across the antimeridian
        ("EPSG:2263", 30, 1_000_000, 200_000),  # feet
        ("EPSG:4267", 0.001, -90, 60),  # another datum's degrees
        ("+proj=sinu +R=6371007.181", 463.3127, -1_000_000, 5_000_000),
    ],
)
def test_any_crs_agrees_with_geodesic_polygons(crs, gsd, x, y):
    grid = grid_of(crs, gsd, x, y)
    window = Window(3, 7, 500, 590)
    areas = np.broadcast_to(pixel_areas(grid, window), (500, 590))
    assert areas.sum() == pytest.approx(geodesic_area(grid, window, 4000), rel=1e-6)
    for row, col in ((0, 0), (499, 589), (250, 290), (123, 456)):
        pixel = Window(3 + row, 7 + col, 1, 1)
        assert areas[row, col] == pytest.approx(geodesic_area(grid, pixel), rel=1e-6)


def test_a_rotated_grid():
    turned = Affine.translation(500_000, 5_600_000) @ Affine.rotation(30) @ Affine.scale(10, -10)
    grid = Grid("EPSG:32631", turned, 100, 80)
    assert pixel_areas(grid, grid.window).sum() == pytest.approx(geodesic_area(grid, grid.window), rel=1e-6)


def test_the_edge_of_the_earth_does_not_reach_its_neighbours():
    # Half of this block lies beyond the disc of the Earth as it is seen from above (0, 0).
    grid = grid_of("+proj=ortho +lat_0=0 +lon_0=0 +ellps=WGS84", 1000, 6_078_137, 256_000, 512, 600)
    areas = pixel_areas(grid, grid.window)
    finite = np.isfinite(areas)
    assert 0.4 < finite.mean() < 0.6 and finite[256, :295].all() and not finite[256, 305:].any()
    assert areas[256, 200] == pytest.approx(geodesic_area(grid, Window(256, 200, 1, 1)), rel=1e-5)


def test_a_window_has_the_pixels_of_the_whole():
    grid = grid_of("EPSG:3857", 10.0, 300_000, 8_400_000, 700, 700)
    whole, part = pixel_areas(grid, grid.window), pixel_areas(grid, Window(100, 200, 300, 400))
    np.testing.assert_allclose(part, whole[100:400, 200:600], rtol=1e-7)
