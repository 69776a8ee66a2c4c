"""Sieving a class map: areas that are too small on the ground join their largest neighbour, in memory that does not grow with the map.

GDAL's sieve counts pixels; here areas are those on the ellipsoid, so that in longitude and latitude the same size is meant everywhere.
"""

from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import RasterioError

from skysense.assessment.components import Components, connect, distinct_pairs, find_components, label, tiles
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
    found = find_components(classes, control.share(0, 0.6), neighbours=True)
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
        found: with its `pairs`.

    Returns:
        (N,) uint8 new class of each component, and how many small ones were kept for want of a neighbour.
    """
    root, classes, m2 = np.arange(len(found.classes)), found.classes, found.m2
    pairs = found.pairs[(classes[found.pairs] > 0).all(1)]
    # Two large ones of different classes stay two.
    while len(pairs := pairs[(m2[pairs] < least_m2).any(1)]):
        source, target = np.concatenate((pairs, pairs[:, ::-1])).T
        small = m2[source] < least_m2
        source, target = source[small], target[small]
        order = np.lexsort((-target, m2[target], source))
        source, target = source[order], target[order]
        last = np.append(source[1:] != source[:-1], True)
        source, target = source[last], target[last]
        larger = (m2[target] > m2[source]) | ((m2[target] == m2[source]) & (target < source))
        into = np.arange(len(root))
        into[source[larger]] = target[larger]
        while not np.array_equal(up := into[into], into):
            into = up
        pairs = into[pairs]
        joined = connect(len(root), pairs[classes[pairs[:, 0]] == classes[pairs[:, 1]]])
        pairs = distinct_pairs(*joined[pairs].T)
        root = joined[into[root]]
        m2 = np.bincount(root, found.m2, minlength=len(root)).astype(np.float64)
    alone = (classes > 0) & (m2 < least_m2) & (root == np.arange(len(root)))
    return classes[root], int(alone.sum())
