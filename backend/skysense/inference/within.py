"""Polygons inside of which a map is made: nothing is computed for what lies outside."""

from pathlib import Path

import numpy as np
import rasterio.features
import shapely
from numpy.typing import NDArray

from skysense.errors import InputError
from skysense.finetune.shapes import digest_of_shapes, read_layer, single_shapes, transform
from skysense.raster.grid import Bounds, Grid


class Within:
    """Polygons in one CRS.

    Args:
        shapes: (N,) polygons.
        crs: "EPSG:n" or WKT.
        where: their layer as the user knows it, for errors.
    """

    def __init__(self, shapes: NDArray[np.object_], crs: str, where: str) -> None:
        self._shapes, self._crs, self.where = shapes, crs, where
        self._tree = shapely.STRtree(shapes)

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the shapes."""
        return digest_of_shapes(self._shapes)

    @property
    def bounds(self) -> Bounds:
        """The rectangle around all of them."""
        west, south, east, north = shapely.total_bounds(self._shapes).tolist()
        return west, south, east, north

    def in_crs(self, crs: str) -> "Within":
        """The same in another CRS.

        Raises:
            InputError: there is no way to it.
        """
        return Within(transform(self._shapes, self._crs, crs, self.where), crs, self.where)

    def meets(self, grid: Grid, margin: int = 0) -> bool:
        """Whether some polygon meets a grid of the same CRS with `margin` pixels around it."""
        west, south, east, north = grid.bounds
        more = margin * grid.gsd
        box = shapely.box(west - more, south - more, east + more, north + more)
        return len(self._tree.query(box, predicate="intersects")) > 0

    def mask(self, grid: Grid) -> NDArray[np.bool_]:
        """Which pixels (h, w) of a grid of the same CRS have their centres inside."""
        near = self._shapes[self._tree.query(shapely.box(*grid.bounds))]
        if not len(near):
            return np.zeros(grid.shape, bool)
        return rasterio.features.geometry_mask(list(near), grid.shape, grid.transform, invert=True)


def read_within(path: Path, layer: str | None) -> Within:
    """The polygons of a vector layer.

    Raises:
        InputError: it cannot be read, or holds no polygon.
    """
    where = path.name if layer is None else f"{path.name}, layer {layer}"
    _, geometry, crs = read_layer(path, layer, where)
    shapes, _ = single_shapes(geometry, where)
    polygons = shapes[shapely.get_dimensions(shapes) == 2]
    if not len(polygons):
        raise InputError("holds no polygon", where, "Choose a layer of polygons to map inside of")
    return Within(polygons, crs, where)
