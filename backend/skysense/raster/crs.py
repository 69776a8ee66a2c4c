"""Coordinate systems: their text form, which of them measure true metres, and the way between them."""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pyproj
from pyproj.exceptions import ProjError
from rasterio._err import CPLE_BaseError  # some of GDAL's errors come out as they are
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.warp import transform_bounds

from skysense.errors import InputError
from skysense.raster.grid import Bounds, Grid

#: PROJ's objects belong to a thread, and to make one takes a tenth of a second: one thread makes and uses them all.
_PROJ = ThreadPoolExecutor(1, thread_name_prefix="proj")
_GEODESIC = pyproj.Geod(ellps="WGS84")
#: A projected CRS is metric if its metres are true to this share: national grids and UTM are within 2 %,
#: while Web Mercator is 50 % off in Europe.
_TRUE_METRES = 0.05


def crs_text(crs: CRS) -> str:
    """The text that `Grid.crs` holds: "EPSG:n" where the CRS has a code, else WKT."""
    return _text_of_wkt(str(crs.to_wkt()))


@lru_cache(maxsize=64)  # finding the code takes PROJ up to 30 ms, and a series asks for each of its files
def _text_of_wkt(wkt: str) -> str:
    code = CRS.from_wkt(wkt).to_epsg()
    return f"EPSG:{code}" if code is not None else wkt


def read_crs(text: str, where: str) -> str:
    """Bring a CRS that the user wrote to the form of `Grid.crs`.

    Raises:
        InputError: it is no CRS.
    """
    try:
        return crs_text(CRS.from_user_input(text))
    except (CRSError, ValueError):
        raise InputError(
            f"the coordinate system {text!r} is not known", where, 'Write it as "EPSG:n"'
        ) from None


@dataclass(frozen=True)
class Transformer:
    """The way from one CRS to another, x before y in both; any thread may use it."""

    source: str
    target: str

    def transform(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Coordinates, as numbers or as sequences and arrays of them, in the kind in which they came; inf where there are none."""
        return _PROJ.submit(_transformed, self.source, self.target, x, y).result()


def transformer(source: str, target: str) -> Transformer:
    """The way from one CRS to another.

    Raises:
        InputError: there is none, as from a local CRS or that of another planet.
    """
    try:
        _PROJ.submit(_from_crs, source, target).result()
    except ProjError:
        raise InputError(
            "the coordinate system has no place on the Earth", None, "Assign the one that the image is in"
        ) from None
    return Transformer(source, target)


@lru_cache(maxsize=256)
def _from_crs(source: str, target: str) -> pyproj.Transformer:
    """In PROJ's thread."""
    return pyproj.Transformer.from_crs(source, target, always_xy=True)


def _transformed(source: str, target: str, x: Any, y: Any) -> tuple[Any, Any]:
    """In PROJ's thread."""
    return _from_crs(source, target).transform(x, y)  # type: ignore[no-any-return]


def pixel_metres(grid: Grid) -> tuple[float, float]:
    """Ground length in metres of one pixel along the columns' and the rows' direction, at the grid's centre.

    nan where the place is not on the Earth.
    """
    col, row = grid.width / 2, grid.height / 2
    places = [grid.xy(*place) for place in ((col, row), (col + 1, row), (col, row + 1))]
    lon, lat = transformer(grid.crs, "EPSG:4326").transform([x for x, _ in places], [y for _, y in places])
    if not all(math.isfinite(value) for value in (*lon, *lat)):
        return math.nan, math.nan
    _, _, across = _GEODESIC.inv(lon[0], lat[0], lon[1], lat[1])
    _, _, down = _GEODESIC.inv(lon[0], lat[0], lon[2], lat[2])
    return float(across), float(down)


def is_metric(grid: Grid) -> bool:
    """Whether the grid's CRS is projected and one unit of it is one metre on the ground, within 5 %."""
    if not CRS.from_user_input(grid.crs).is_projected:
        return False
    across, down = pixel_metres(grid)
    a, b, _, d, e, _ = tuple(grid.transform)[:6]
    ratios = across / math.hypot(a, d), down / math.hypot(b, e)
    return all(abs(ratio - 1) < _TRUE_METRES for ratio in ratios)


def utm_crs(grid: Grid) -> str:
    """The UTM zone (WGS 84) of the grid's centre, as "EPSG:n".

    Raises:
        InputError: the centre is not on the Earth.
    """
    x, y = grid.xy(grid.width / 2, grid.height / 2)
    lon, lat = transformer(grid.crs, "EPSG:4326").transform(x, y)
    if not (math.isfinite(lon) and math.isfinite(lat)):
        raise InputError(
            "the centre of the image lies off the Earth", None, "Reproject it, for example to UTM"
        )
    zone = int(((lon + 180) % 360) // 6) + 1
    return f"EPSG:{(32600 if lat >= 0 else 32700) + zone}"


def bounds_in(bounds: Bounds, source: str, target: str) -> Bounds:
    """The rectangle in another CRS around a rectangle, edges densified.

    Raises:
        InputError: the rectangle has no image there.
    """
    if source == target:
        return bounds
    try:
        found = transform_bounds(source, target, *bounds, densify_pts=51)
    except (CRSError, CPLE_BaseError, ValueError, OSError) as error:
        raise InputError(
            f"cannot be brought to {target[:40]} ({error})", None, "Reproject the image first"
        ) from None
    if not all(math.isfinite(value) for value in found):
        raise InputError(
            f"reaches beyond what {target[:40]} can show", None, "Reproject or clip the image first"
        )
    return float(found[0]), float(found[1]), float(found[2]), float(found[3])
