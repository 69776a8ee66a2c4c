from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from affine import Affine
from rasterio.crs import CRS
from skysense.errors import InputError
from skysense.raster import crs
from skysense.raster.crs import bounds_in, crs_text, is_metric, pixel_metres, read_crs, transformer, utm_crs
from skysense.raster.grid import Grid


def test_the_text_of_a_crs():
    assert crs_text(CRS.from_epsg(25832)) == "EPSG:25832"
    assert crs_text(CRS.from_wkt(CRS.from_epsg(32631).to_wkt())) == "EPSG:32631"
    own = CRS.from_proj4("+proj=tmerc +lat_0=1 +lon_0=7 +k=1 +x_0=3 +y_0=0 +datum=WGS84 +units=m")
    assert CRS.from_wkt(crs_text(own)) == own
    assert read_crs("epsg:4326", "area") == "EPSG:4326"
    with pytest.raises(InputError, match="'nonsense' is not known"):
        read_crs("nonsense", "area")


@pytest.mark.parametrize(
    ("crs", "x", "y", "metric"),
    [
        ("EPSG:32631", 500000, 5600000, True),
        ("EPSG:2154", 700000, 6600000, True),
        ("EPSG:3035", 4321000, 3210000, True),
        ("EPSG:3857", 300000, 6600000, False),
        ("EPSG:3857", 3600000, 40000, True),
        ("EPSG:4326", 3, 50, False),
        ("EPSG:2263", 1000000, 200000, False),  # feet
    ],
)
def test_which_units_are_metres_on_the_ground(crs, x, y, metric):
    side = 1e-4 if crs == "EPSG:4326" else 10
    assert is_metric(Grid(crs, Affine(side, 0, x, 0, -side, y), 10, 10)) is metric


def test_pixel_sizes_and_zones():
    grid = Grid("EPSG:4326", Affine(1e-5, 0, 2.99, 0, -1e-5, 50), 100, 100)
    across, down = pixel_metres(grid)
    assert across == pytest.approx(1.1132 * np.cos(np.radians(50)), rel=5e-3) and down == pytest.approx(
        1.112, rel=5e-3
    )
    assert utm_crs(grid) == "EPSG:32631"
    assert utm_crs(Grid("EPSG:4326", Affine(1, 0, 179, 0, -1, -10), 4, 4)) == "EPSG:32701"


def test_bounds_in_another_crs_hold_the_rectangle():
    west, south, east, north = bounds_in((500000, 5600000, 600000, 5700000), "EPSG:32631", "EPSG:4326")
    assert (west, south) == (pytest.approx(3.0), pytest.approx(50.55, abs=0.02))
    assert east > 4.4 and north > 51.45
    with pytest.raises(InputError):
        bounds_in((0, 91, 10, 95), "EPSG:4326", "EPSG:32631")


@pytest.mark.parametrize(
    "crs",
    [
        'LOCAL_CS["site",UNIT["metre",1]]',
        "+proj=longlat +a=1737400 +b=1737400 +no_defs",  # the Moon
        "nonsense",
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_there_is_no_way_from_a_crs_without_a_place_on_the_earth(crs, turned):
    pair = ("EPSG:4326", crs) if turned else (crs, "EPSG:4326")
    with pytest.raises(InputError, match="The coordinate system has no place on the Earth"):
        transformer(*pair)


def test_threads_share_one_way():
    """To make one takes PROJ a tenth of a second, and lanes are other threads in every job."""
    known = crs._from_crs.cache_info().misses

    def north(_):
        x, y = transformer("EPSG:32631", "EPSG:32735").transform(np.array([500000.0]), [5600000.0])
        return float(x[0]), float(y[0])

    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(north, range(20)))
    assert len(found) == 1 and crs._from_crs.cache_info().misses == known + 1
