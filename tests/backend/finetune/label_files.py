"""Label layers for tests: what a person might have drawn, 10 m pixels from (500000, 5400000) on downwards."""

from pathlib import Path

import numpy as np
import pyogrio
import shapely

WEST, NORTH = 500_000.0, 5_400_000.0


def square(col: float, row: float, width: float, height: float) -> shapely.Polygon:
    """A rectangle in 10 m pixels, counted from the corner."""
    west, north = WEST + 10 * col, NORTH - 10 * row
    return shapely.box(west, north - 10 * height, west + 10 * width, north)


def spot(col: float, row: float) -> shapely.Point:
    """A point in 10 m pixels, counted from the corner."""
    return shapely.Point(WEST + 10 * col, NORTH - 10 * row)


def write(path: Path, geometry, crs="EPSG:32632", layer=None, **fields) -> Path:
    """Write a layer of any geometries, wkb or None among them, and fields."""
    wkb = [item if isinstance(item, bytes) or item is None else shapely.to_wkb(item) for item in geometry]
    pyogrio.raw.write(
        path,
        np.array(wkb, object),
        [np.array(values) for values in fields.values()],
        list(fields),
        crs=crs,
        geometry_type="Unknown",
        layer=layer,
        append=path.exists(),
        driver="GPKG",
    )
    return path
