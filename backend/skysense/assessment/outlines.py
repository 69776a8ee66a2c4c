"""The outlines of a tile's components as polygons that share their borders, within the tile and across its seams.

All is counted in whole pixels of the map (x to the right, y downwards), so that borders are equal to the bit. Shape legend: a tile of
h x w pixels, K components.
"""

from array import array
from itertools import chain

import numpy as np
import rasterio.features
import shapely
from numpy.typing import NDArray

#: Polygons that have a vertex at every pixel meanwhile.
_BATCH = 1_000


def outline(
    labels: NDArray[np.int32], around: NDArray[np.uint8], row: int, col: int, tolerance: float
) -> NDArray[np.object_]:
    """Trace the components of a tile.

    Where borders meet, and where one crosses or leaves the tile's frame, every polygon that touches the place has a vertex: the polygons are a
    valid coverage (OGC; GEOS `CoverageIsValid`), and those of neighbouring tiles fit together.

    Args:
        labels: (h, w) numbers of 4-connected components, 0..K-1.
        around: (h + 2, w + 2) class ids of the tile and of one pixel around it; 0 beyond the map.
        row, col: of the tile's upper left pixel.
        tolerance: corners whose triangle is smaller than its square (in pixels) go, smallest first, as far as no polygons then overlap
            (Visvalingam and Whyatt 1993; GEOS `CoverageSimplify`); what lies on the frame stays. 0 = every pixel's edge.

    Returns:
        (K,) valid polygons by number.
    """
    polygons, nodes = _trace(labels), _nodes(around)
    for start in range(0, len(polygons), _BATCH):
        batch = slice(start, start + _BATCH)
        polygons[batch] = _with_nodes(polygons[batch], nodes)
    if tolerance > 0:
        polygons = shapely.coverage_simplify(polygons, tolerance, simplify_boundary=False)
    corner = np.array((col, row))
    return np.asarray(shapely.transform(polygons, lambda xy: xy + corner))


def _trace(labels: NDArray[np.int32]) -> NDArray[np.object_]:
    """(K,) polygons along the pixels' edges."""
    # Of 8 bytes a number: as tuples the corners of a tile would be its largest part in memory.
    xy, rings, parts, numbers = array("d"), array("q", [0]), array("q", [0]), array("q")
    for geometry, number in rasterio.features.shapes(labels, connectivity=4):
        for ring in geometry["coordinates"]:
            xy.extend(chain.from_iterable(ring))
            rings.append(len(xy) // 2)
        parts.append(len(rings) - 1)
        numbers.append(int(number))
    polygons = np.empty(len(numbers), object)
    polygons[np.array(numbers)] = shapely.from_ragged_array(
        shapely.GeometryType.POLYGON, np.array(xy).reshape(-1, 2), (np.array(rings), np.array(parts))
    )
    return polygons


def _nodes(around: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """(h + 1, w + 1): the corners of pixels where a border without a bend there needs a vertex all the same."""
    across = around[:, 1:] != around[:, :-1]  # borders that run down, (h + 2, w + 1)
    down = around[1:] != around[:-1]  # borders that run across, (h + 1, w + 2)
    above, below, left, right = across[:-1], across[1:], down[:, :-1], down[:, 1:]
    nodes = above.astype(np.uint8) + below + left + right >= 3
    # On the frame also what meets it from one side only, since both sides end there.
    nodes[[0, -1]] |= (above | below)[[0, -1]]
    nodes[:, [0, -1]] |= (left | right)[:, [0, -1]]
    return nodes


def _with_nodes(polygons: NDArray[np.object_], nodes: NDArray[np.bool_]) -> NDArray[np.object_]:
    """The polygons with vertices at their bends and at nodes, and nowhere else."""
    # In this form a ring begins at its lowest corner of the leftmost ones, which is a bend.
    dense = shapely.segmentize(shapely.normalize(polygons), 1.0)
    kind, xy, (rings, parts) = shapely.to_ragged_array(dense)
    xy = np.rint(xy)
    step = np.diff(xy, axis=0)
    keep = np.ones(len(xy), bool)
    keep[1:-1] = (step[1:] != step[:-1]).any(1)
    keep[rings[:-1]] = keep[rings[1:] - 1] = True
    keep |= nodes[xy[:, 1].astype(int), xy[:, 0].astype(int)]
    rings = np.concatenate(([0], np.cumsum(keep)))[rings]
    return np.asarray(shapely.from_ragged_array(kind, xy[keep], (rings, parts)))
