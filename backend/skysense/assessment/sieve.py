"""Sieving a class map: areas that are too small on the ground join their largest neighbour, in memory that grows with their number alone.

Which of its neighbours is the largest may depend on what lies far away, so the areas of all components have to be known before the first
is merged: about 65 bytes for each.

GDAL's sieve counts pixels; here areas are those on the ellipsoid, so that in longitude and latitude the same size is meant everywhere.
"""

from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import RasterioError

from skysense.assessment.components import Components, find_components, label, tiles
from skysense.assessment.groups import blocks, connect, distinct, ends, keep, take
from skysense.jobs.control import JobControl
from skysense.raster.classmap import ClassMap
from skysense.raster.maps import check_whole, discard, storage_error

_BLOCK = 512


def sieve(classes: ClassMap, out: Path, least_m2: float, control: JobControl) -> int:
    """Write a class map without areas smaller than `least_m2`.

    What is not mapped stays so. A small area that touches nothing but that is kept.

    Args:
        out: the new map: uint8, nodata 0, without names and colours.
        least_m2: of a 4-connected area, on the ground.

    Returns:
        How many small areas were kept.

    Raises:
        InputError: a part of the map is damaged; StorageError: `out` cannot be written; Cancelled. Nothing is left of `out`.
    """
    found = find_components(classes, least_m2, control.share(0, 0.6))
    changed, kept = merge_small(found, least_m2)
    grid = classes.grid
    control = control.share(0.6, 1)
    done = 0
    try:
        with rasterio.open(
            out, "w", driver="GTiff", width=grid.width, height=grid.height, count=1, dtype="uint8", nodata=0, crs=grid.crs,
            transform=grid.transform, compress="deflate", tiled=True, blockxsize=_BLOCK, blockysize=_BLOCK, bigtiff="IF_SAFER",
        ) as dataset:  # fmt: skip
            for number, window in enumerate(tiles(grid)):
                ids = changed[found.of_tile(number)][label(classes.read(window))[0]]
                place = rasterio.windows.Window(window.col, window.row, window.width, window.height)
                dataset.write(ids, 1, window=place)
                classes.forget()
                done += ids.size
                control.progress(done / (grid.width * grid.height), "Merging small areas")
        check_whole(out)
    except (RasterioError, OSError) as error:
        discard(out)
        raise storage_error(out, error) from None
    except BaseException:
        discard(out)
        raise
    return kept


def merge_small(found: Components, least_m2: float) -> tuple[NDArray[np.uint8], int]:
    """Merge components smaller than `least_m2` into their largest neighbours, until none is left that has a neighbour.

    All small ones move at once, each into its largest neighbour if that is larger than itself (of equal ones the lower number is); then
    neighbours of the same class are one, and what is still small moves again.

    Args:
        found: of the same `least_m2`; its `pairs` are used up.

    Returns:
        (N,) uint8 new class of each component, and how many small ones were kept for want of a neighbour.
    """
    classes, m2, pairs = found.classes, found.m2.copy(), found.pairs
    root = np.arange(len(m2), dtype=np.int32)
    while len(pairs):
        into = np.arange(len(m2), dtype=np.int32)
        for block in blocks(len(pairs)):
            _point_to_largest(into, pairs[block], m2, least_m2)
        into = ends(into)
        same = np.empty(len(pairs), bool)
        for block in blocks(len(pairs)):
            pairs[block] = into[pairs[block]]
            same[block] = classes[pairs[block, 0]] == classes[pairs[block, 1]]
        joined = connect(len(root), pairs[same])
        root = take(joined, take(into, root))
        m2[:] = 0
        for block in blocks(len(root)):
            np.add.at(m2, root[block], found.m2[block])
        # Two large ones of different classes stay two.
        unsettled = same
        for block in blocks(len(pairs)):
            moved = joined[pairs[block]]
            moved.sort(1)
            pairs[block] = moved
            unsettled[block] = (moved[:, 0] != moved[:, 1]) & (m2[moved] < least_m2).any(1)
        pairs = distinct(keep(pairs, unsettled))
    kept = (classes > 0) & (m2 < least_m2) & (root == np.arange(len(root), dtype=np.int32))
    return take(classes, root), int(kept.sum())


def _point_to_largest(
    into: NDArray[np.int32], pairs: NDArray[np.int32], m2: NDArray[np.float64], least_m2: float
) -> None:
    """Let `into` of each small component in pairs be the largest of what it was, of itself and of its neighbours in them."""
    source, target = np.concatenate((pairs, pairs[:, ::-1])).T
    small = m2[source] < least_m2
    source, target = source[small], target[small]
    order = np.lexsort((-target, m2[target], source))
    source, target = source[order], target[order]
    last = np.append(source[1:] != source[:-1], True)
    source, target = source[last], target[last]
    best = into[source]
    larger = (m2[target] > m2[best]) | ((m2[target] == m2[best]) & (target < best))
    into[source[larger]] = target[larger]
