"""A class map as polygons: one for each connected area, with shared borders, in memory that does not grow with the map.

The map is cut into tiles. What lies in one tile is written as soon as that is traced; what lies in several waits for its last piece. So
memory holds the outlines of the areas that are not yet whole: those that cross the lower edges of the last row of tiles, and an area as
large as the map until its end.
"""

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from skysense.assessment.areas import class_areas
from skysense.assessment.components import label, piece_areas, tiles
from skysense.assessment.growing import Growing, Step
from skysense.assessment.outlines import outline
from skysense.assessment.sieve import sieve
from skysense.errors import InputError
from skysense.jobs.control import JobControl
from skysense.raster.classmap import ClassMap
from skysense.raster.grid import Grid, Window
from skysense.raster.maps import discard
from skysense.raster.pixelarea import pixel_areas
from skysense.raster.vectorfile import LayerStream

LAYER = "polygons"
#: Polygons of the tiles by the number of the component, of those that are not yet whole.
_Pieces = defaultdict[int, list[Any]]


def vectorize(
    path: Path, out: Path, control: JobControl, *, simplify_m: float = 0.0, min_m2: float = 0.0
) -> dict[str, Any]:
    """Turn a class map into polygons and write them.

    The layer "polygons" has the CRS of the map, a polygon for each 4-connected area of a class, and the fields `class_id`, `class` and `m2`:
    the area on the ground of the polygon's pixels, which simplifying does not change. What is not mapped (0) has no polygon.

    Args:
        path: the class map.
        out: the GeoPackage; an old one is replaced, or kept where this fails.
        simplify_m: corners whose triangle is smaller than the square of so many metres go; neighbours keep their common border. 0 = outlines
            along the pixels' edges.
        min_m2: smaller areas join their largest neighbour beforehand (see `sieve`); 0 = none.

    Returns:
        "map", "polygons" (the file), "layer", "count", "small" (areas below `min_m2` that touch no other), "classes" (those that have
        polygons: "id", "name", "polygons", "m2").

    Raises:
        InputError: see `ClassMap` and `class_areas`; or `out` is no GeoPackage, or a number is negative; StorageError; Cancelled.
    """
    for name, value in (("tolerance", simplify_m), ("least area", min_m2)):
        if not 0 <= value < float("inf"):
            raise InputError(f"the {name} is {value}", "vectorize", "Use 0 or more")
    if out.suffix.lower() != ".gpkg":
        raise InputError("is no GeoPackage", str(out), "Choose a name that ends in .gpkg")
    small = 0
    with ClassMap(path) as classes:
        class_areas(classes, control.share(0, 0.1))  # what cannot be measured is refused
        with LayerStream(out, LAYER, "Polygon", classes.grid.crs) as layer:
            if min_m2 > 0:
                sieved = out.with_name(f"{out.stem}.part.tif")
                try:
                    small = sieve(classes, sieved, min_m2, control.share(0.1, 0.4))
                    with ClassMap(sieved) as merged:
                        count, m2 = _trace(merged, classes.name, layer, simplify_m, control.share(0.4, 1))
                finally:
                    discard(sieved)
            else:
                count, m2 = _trace(classes, classes.name, layer, simplify_m, control.share(0.1, 1))
        if small:
            control.note(f"{small} areas below the least area touch no other class and are kept.")
        return {
            "map": str(path),
            "polygons": str(out),
            "layer": LAYER,
            "count": layer.count,
            "small": small,
            "classes": [
                {"id": i, "name": classes.name(i), "polygons": int(count[i]), "m2": float(m2[i])}
                for i in range(1, 256)
                if count[i]
            ],
        }


def _trace(
    classes: ClassMap, name: Callable[[int], str], layer: LayerStream, simplify_m: float, control: JobControl
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Write a polygon for each component; (256,) how many each class has, and their m²."""
    grid = classes.grid
    growing = Growing(grid)
    count, total = np.zeros(256, np.int64), np.zeros(256)
    pieces: _Pieces = defaultdict(list)
    done = 0
    for window in tiles(grid):
        step = _trace_tile(classes, window, growing, pieces, simplify_m)
        whole = step.classes > 0
        class_ids, m2 = step.classes[whole], step.m2[whole]
        if len(class_ids):
            polygons = (_union(pieces.pop(number)) for number in step.whole[whole].tolist())
            _write(layer, np.fromiter(polygons, object, len(class_ids)), class_ids, m2, grid, name)
            count += np.bincount(class_ids, minlength=256)
            total += np.bincount(class_ids, m2, minlength=256)
        classes.forget()
        done += window.width * window.height
        control.progress(done / (grid.width * grid.height), "Tracing polygons")
    return count, total


def _trace_tile(
    classes: ClassMap, window: Window, growing: Growing, pieces: _Pieces, simplify_m: float
) -> Step:
    """Add the outlines of a tile to the pieces."""
    around = _around(classes, window)
    ids = around[1:-1, 1:-1]
    labels, kinds = label(ids)
    step = growing.add(window, ids, labels, kinds, piece_areas(classes.grid, window, ids, labels))
    for gone, number in step.joined.tolist():
        if gone in pieces:
            pieces[number] += pieces.pop(gone)
    mapped = np.flatnonzero(kinds)
    if len(mapped):
        tolerance = simplify_m / _pixel_side(classes.grid, window, ids > 0)
        outlines = outline(labels, around, window.row, window.col, tolerance)[mapped]
        for number, polygon in zip(step.numbers[mapped].tolist(), outlines):
            pieces[number].append(polygon)
    return step


def _union(pieces: list[Any]) -> Any:
    """The polygon of a component."""
    return pieces[0] if len(pieces) == 1 else shapely.coverage_union_all(pieces)


def _around(classes: ClassMap, window: Window) -> NDArray[np.uint8]:
    """(h + 2, w + 2) class ids of a window and of one pixel around it, 0 beyond the map."""
    wanted = window.grow(1)
    inside = wanted.intersect(classes.grid.window)
    assert inside is not None
    around = np.zeros((wanted.height, wanted.width), np.uint8)
    row, col = inside.row - wanted.row, inside.col - wanted.col
    around[row : row + inside.height, col : col + inside.width] = classes.read(inside)
    return around


def _pixel_side(grid: Grid, window: Window, mapped: NDArray[np.bool_]) -> float:
    """Metres on the ground: the root of the mean area of a window's mapped pixels."""
    areas = np.broadcast_to(pixel_areas(grid, window), mapped.shape)
    return float(np.sqrt(areas.mean(where=mapped)))


def _write(
    layer: LayerStream,
    polygons: NDArray[np.object_],
    class_ids: NDArray[np.uint8],
    m2: NDArray[np.float64],
    grid: Grid,
    name: Callable[[int], str],
) -> None:
    """Write (N,) polygons in pixels of the map with the class and area of their components."""
    a, b, c, d, e, f = tuple(grid.transform)[:6]

    def to_crs(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        col, row = xy.T
        return np.stack((a * col + b * row + c, d * col + e * row + f), 1)

    columns: dict[str, NDArray[Any]] = {
        "class_id": class_ids.astype(np.int32),
        "class": np.array([name(int(i)) for i in class_ids], object),
        "m2": m2,
    }
    layer.append(shapely.to_wkb(shapely.transform(polygons, to_crs)), columns)
