"""Connected components of a class map, found tile by tile: memory grows with their number, not with the map.

Pixels are neighbours where they share an edge. What is not mapped (class 0) makes components too.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from skysense.assessment.frontier import Frontier
from skysense.assessment.groups import connect, distinct_pairs, numbered, take
from skysense.errors import InputError
from skysense.jobs.control import JobControl
from skysense.raster.classmap import ClassMap
from skysense.raster.grid import Grid, Window
from skysense.raster.pixelarea import pixel_areas

#: Pixels of a tile's side, a multiple of the map's own blocks.
TILE = 1024
#: Pieces whose numbers fit int32.
_MOST = 2**31 - 1


@dataclass(frozen=True)
class Components:
    """The components of a map. A *piece* is a component of one tile; tiles and their pieces are numbered in the order of `tiles`.

    Attributes:
        starts: (T + 1,) number of each tile's first piece, and of all pieces.
        members: (P,) number of the component that each piece belongs to.
        classes: (N,) uint8 class of each component, 0 where not mapped.
        m2: (N,) area on the ground in m², 0 where not mapped.
        pairs: (E, 2) mapped components that share an edge, one of them at least small; a pair may come once for each tile.
    """

    starts: NDArray[np.int64]
    members: NDArray[np.int32]
    classes: NDArray[np.uint8]
    m2: NDArray[np.float64]
    pairs: NDArray[np.int32]

    def of_tile(self, number: int) -> NDArray[np.int32]:
        """The components of a tile's pieces."""
        return self.members[self.starts[number] : self.starts[number + 1]]


def tiles(grid: Grid) -> Iterator[Window]:
    """The tiles of a map, row by row from the upper left."""
    for strip in grid.window.strips(TILE):
        for col in range(0, strip.width, TILE):
            yield Window(strip.row, col, strip.height, min(TILE, strip.width - col))


def label(ids: NDArray[np.uint8]) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """The components of one tile.

    Args:
        ids: (h, w) class ids.

    Returns:
        (h, w) number of each pixel's piece, from 0 by the pieces' first pixels, and (K,) the class of each piece.
    """
    begins = np.ones(ids.shape, bool)
    begins[:, 1:] = ids[:, 1:] != ids[:, :-1]
    runs = np.cumsum(begins).reshape(ids.shape) - 1
    same = ids[1:] == ids[:-1]
    # Of two runs one above the other the first common pixel is enough.
    same &= begins[1:] | begins[:-1] | ~np.pad(same[:, :-1], ((0, 0), (1, 0)))
    root = connect(int(runs[-1, -1]) + 1, np.stack((runs[:-1][same], runs[1:][same]), 1))
    firsts, numbers = numbered(root)
    return numbers.astype(np.int32)[runs], ids[begins][firsts]


def piece_areas(
    grid: Grid, window: Window, ids: NDArray[np.uint8], labels: NDArray[np.int32]
) -> NDArray[np.float64]:
    """(K,) area on the ground in m² of a tile's pieces (see `label`), 0 where not mapped."""
    area = np.where(ids > 0, pixel_areas(grid, window), 0.0)
    return np.bincount(labels.ravel(), area.ravel()).astype(np.float64)


def find_components(classes: ClassMap, least_m2: float, control: JobControl) -> Components:
    """Find the components of a map.

    Args:
        least_m2: of the pairs of components those are told of which one is smaller.

    Raises:
        InputError: a part of the map is damaged, or there are more than 2**31 pieces; Cancelled.
    """
    grid = classes.grid
    frontier = Frontier(grid)
    starts = [0]
    kinds: list[NDArray[np.uint8]] = []
    areas: list[NDArray[np.float64]] = []
    joined: list[NDArray[np.int64]] = [np.empty((0, 2), np.int64)]
    beside: list[NDArray[np.int32]] = []
    done = 0
    for window in tiles(grid):
        ids = classes.read(window)
        local, kind = label(ids)
        area = piece_areas(grid, window, ids, local)
        first = starts[-1]
        starts.append(first + len(kind))
        kinds.append(kind)
        areas.append(area)
        inner = distinct_pairs(
            np.append(local[:-1], local[:, :-1]),
            np.append(local[1:], local[:, 1:]),
        )
        # What is large already in its tile stays so.
        inner = inner[(kind[inner] > 0).all(1) & (area[inner] < least_m2).any(1)]
        found = [inner + first]
        for seam in frontier.meet(window, local.astype(np.int64) + first, ids):
            same = seam.same
            joined.append(distinct_pairs(seam.beyond[same], seam.within[same]))
            apart = ~same & (seam.ids_beyond > 0) & (seam.ids_within > 0)
            found.append(distinct_pairs(seam.beyond[apart], seam.within[apart]))
        if starts[-1] > _MOST:
            raise InputError(
                f"falls into more than {_MOST:,} areas",
                str(classes.path),
                "Map a smaller area, or do without a least area",
            )
        beside += [pairs.astype(np.int32) for pairs in found]
        classes.forget()
        done += ids.size
        control.progress(done / (grid.width * grid.height), "Finding connected areas")
    firsts, members = numbered(connect(starts[-1], np.concatenate(joined)))
    m2 = np.zeros(len(firsts))
    # What is gathered is let go piece by piece: the lists are as large as all the rest.
    for start, end in pairwise(starts):
        np.add.at(m2, members[start:end], areas.pop(0))
    pairs = np.empty((sum(map(len, beside)), 2), np.int32)
    filled = 0
    while beside:
        part = take(members, beside.pop())
        part = part[(m2[part] < least_m2).any(1)]
        part.sort(1)
        pairs[filled : filled + len(part)] = part
        filled += len(part)
    return Components(np.array(starts), members, np.concatenate(kinds)[firsts], m2, pairs[:filled])
