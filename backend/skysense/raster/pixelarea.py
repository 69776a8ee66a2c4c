"""The true area of a raster's pixels: on the ellipsoid of WGS 84, in any CRS.

Pixel count times pixel size is the area on the map sheet: in Web Mercator it is four times the ground's at 60 degrees north, and in
UTM up to 0.1 % off. Here pixels are laid on the authalic sphere, on which every region has the area that it has on the
ellipsoid (Snyder 1987, Map Projections: a Working Manual, USGS Professional Paper 1395, p. 16, eq. 3-11 to 3-13).

Measured against geodesic polygons (pyproj.Geod) in UTM, Web Mercator, Lambert, polar and sinusoidal maps the area of a pixel of 1 km
or less is right to 1e-6 of itself; in longitude and latitude it is exact.
"""

import math

import numpy as np
from numpy.typing import NDArray
from rasterio.crs import CRS

from skysense.raster.crs import pixel_metres, transformer
from skysense.raster.grid import Grid, Window

#: Semi-major axis (m) and flattening of the WGS 84 ellipsoid.
_A, _F = 6_378_137.0, 1 / 298.257_223_563
_E = math.sqrt(_F * (2 - _F))
#: Area per pixel is computed on nodes this far apart on the ground (m) and interpolated between them: the
#: scale of a projection changes slowly.
_NODES_M = 1_000.0
_MOST_STEP = 512


def _q(lat: NDArray[np.float64]) -> NDArray[np.float64]:
    """Snyder's q of latitudes in degrees (eq. 3-12)."""
    sine = np.sin(np.radians(lat))
    return np.asarray((1 - _E**2) * (sine / (1 - (_E * sine) ** 2) + np.arctanh(_E * sine) / _E))


_Q_POLE = float(_q(np.array(90.0)))
#: Square of the authalic sphere's radius, m² (eq. 3-13).
_R2 = _A**2 * _Q_POLE / 2


def pixel_areas(grid: Grid, window: Window) -> NDArray[np.float64]:
    """Ellipsoidal area of each pixel of a window of a grid.

    Args:
        grid: any CRS, rotated or not.
        window: inside the grid.

    Returns:
        (height, width) m²; not finite where a pixel lies off the Earth. In longitude and latitude (height, 1), which
        broadcasts: the area depends on the row alone.
    """
    part = grid.sub(window)
    if _is_lon_lat(part):
        edges = part.transform.f + part.transform.e * np.arange(window.height + 1)
        # Beyond a pole is nothing.
        bands = np.abs(np.diff(_q(edges.clip(-90, 90)))) / _Q_POLE
        return np.asarray(_R2 * math.radians(abs(part.transform.a)) * bands[:, None])
    metres = max(pixel_metres(part))
    step = min(max(int(_NODES_M / metres), 1), _MOST_STEP) if math.isfinite(metres) and metres > 0 else 1
    areas = _interpolated(part, step)
    # A node off the Earth says nothing of its neighbours: there every pixel is a node.
    return areas if step == 1 or np.isfinite(areas).all() else _interpolated(part, 1)


def _is_lon_lat(grid: Grid) -> bool:
    """Whether rows are parallels and the coordinates are degrees of WGS 84 or of a datum taken as equal to it."""
    if not (grid.transform.b == 0 == grid.transform.d and CRS.from_user_input(grid.crs).is_geographic):
        return False
    xs, ys = np.transpose([grid.xy(0, 0), grid.xy(grid.width, grid.height)])
    lon, lat = transformer(grid.crs, "EPSG:4326").transform(xs, ys)
    return bool(np.allclose(lon, xs, rtol=0, atol=1e-9) and np.allclose(lat, ys, rtol=0, atol=1e-9))


def _interpolated(grid: Grid, step: int) -> NDArray[np.float64]:
    """(height, width) m², from cells of step x step pixels around every step-th pixel, bilinear between them."""
    rows, cols = (-(-(size - 1) // step) + 1 for size in grid.shape)
    # The cells' corners: a cell reaches half a step to each side of its pixel's centre.
    row, col = np.meshgrid(
        *((np.arange(n + 1) - 0.5) * step + 0.5 for n in (rows, cols)), indexing="ij", sparse=True
    )
    a, b, c, d, e, f = tuple(grid.transform)[:6]
    x, y = a * col + b * row + c, d * col + e * row + f
    lon, lat = transformer(grid.crs, "EPSG:4326").transform(x, y)
    with np.errstate(invalid="ignore"):  # off the Earth: inf, and then NaN
        nodes = _cell_areas(np.asarray(lon), np.asarray(lat)) / step**2
        low, high, weight = _between(grid.width, step, cols)
        across = nodes[:, low] * (1 - weight) + nodes[:, high] * weight
        low, high, weight = _between(grid.height, step, rows)
        return np.asarray(across[low] * (1 - weight[:, None]) + across[high] * weight[:, None])


def _between(
    size: int, step: int, nodes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Of each of `size` pixels the node before it, the node after it, and the weight of the latter."""
    low, rest = np.divmod(np.arange(size), step)
    # A pixel on a node takes nothing of the next one, which may lie off the Earth.
    return low, np.where(rest > 0, low + 1, low).clip(max=nodes - 1), rest / step


def _cell_areas(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.float64]:
    """Areas (n, m) in m² of the cells between corners (n + 1, m + 1) in degrees.

    Half the cross product of a cell's diagonals on the authalic sphere: no seam at the poles and the antimeridian, and
    right to (side / Earth's radius)²: 3e-8 for cells of 1 km.
    """
    sine = _q(lat) / _Q_POLE
    cosine, angle = np.sqrt((1 - sine**2).clip(min=0)), np.radians(lon)
    p = np.stack((cosine * np.cos(angle), cosine * np.sin(angle), sine), axis=-1)
    product = np.cross(p[1:, 1:] - p[:-1, :-1], p[1:, :-1] - p[:-1, 1:])
    return np.asarray(_R2 / 2 * np.linalg.norm(product, axis=-1))
