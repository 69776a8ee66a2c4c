"""Connected components of a class map, found tile by tile: memory grows with their number, not with the map.

Pixels are neighbours where they share an edge. What is not mapped (class 0) makes components too: what borders on it needs them.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skysense.jobs.control import JobControl
from skysense.raster.classmap import ClassMap
from skysense.raster.grid import Grid, Window
from skysense.raster.pixelarea import pixel_areas

#: Pixels of a tile's side, a multiple of the map's own blocks.
TILE = 1024


@dataclass(frozen=True)
class Components:
    """The components of a map. A *piece* is a component of one tile; tiles and their pieces are numbered in the order of `tiles`.

    Attributes:
        starts: (T + 1,) number of each tile's first piece, and of all pieces.
        members: (P,) number of the component that each piece belongs to.
        classes: (N,) uint8 class of each component, 0 where not mapped.
        m2: (N,) area on the ground in m², 0 where not mapped.
        pairs: (E, 2) components that share an edge, lower number first, each pair once; empty unless asked for.
    """

    starts: NDArray[np.int64]
    members: NDArray[np.int64]
    classes: NDArray[np.uint8]
    m2: NDArray[np.float64]
    pairs: NDArray[np.int64]

    def of_tile(self, number: int) -> NDArray[np.int64]:
        """The components of a tile's pieces."""
        return self.members[self.starts[number] : self.starts[number + 1]]


def tiles(grid: Grid) -> Iterator[Window]:
    """The tiles of a map, row by row from the upper left."""
    for strip in grid.window.strips(TILE):
        for col in range(0, strip.width, TILE):
            yield Window(strip.row, col, strip.height, min(TILE, strip.width - col))


def connect(count: int, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Which of `count` things hang together.

    Args:
        pairs: (E, 2) of things that do.

    Returns:
        (count,) the lowest number of each one's group: every root is hooked to the lowest one beside it and paths are halved until
        nothing moves (Shiloach and Vishkin 1982).
    """
    root = np.arange(count)
    one, other = pairs[:, 0], pairs[:, 1]
    while True:
        a, b = root[one], root[other]
        apart = a != b
        if not apart.any():
            return root
        one, other, a, b = one[apart], other[apart], a[apart], b[apart]
        np.minimum.at(root, np.maximum(a, b), np.minimum(a, b))
        while not np.array_equal(up := root[root], root):
            root = up


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
    firsts, numbers = _numbered(root)
    return numbers.astype(np.int32)[runs], ids[begins][firsts]


def find_components(classes: ClassMap, control: JobControl, neighbours: bool = False) -> Components:
    """Find the components of a map.

    Args:
        neighbours: also tell which components share an edge.

    Raises:
        InputError: a part of the map is damaged; Cancelled.
    """
    starts, kinds, areas = [0], [], []
    joined: list[NDArray[np.int64]] = [np.empty((0, 2), np.int64)]
    beside: list[NDArray[np.int64]] = [np.empty((0, 2), np.int64)]
    # Of what was read: the last row of the tiles above, and the last column of the tile to the left.
    above = np.zeros(classes.grid.width, np.int64)
    above_ids = np.zeros(classes.grid.width, np.uint8)
    left, left_ids = np.empty(0, np.int64), np.empty(0, np.uint8)
    total, done = classes.grid.width * classes.grid.height, 0
    for window in tiles(classes.grid):
        ids = classes.read(window)
        local, kind = label(ids)
        pieces = local + np.int64(starts[-1])
        area = np.where(ids > 0, pixel_areas(classes.grid, window), 0.0)
        areas.append(np.bincount(local.ravel(), area.ravel(), minlength=len(kind)))
        kinds.append(kind)
        starts.append(starts[-1] + len(kind))
        across = slice(window.col, window.col + window.width)
        seams = []
        if window.row:
            seams.append((above[across], pieces[0], above_ids[across] == ids[0]))
        if window.col:
            seams.append((left, pieces[:, 0], left_ids == ids[:, 0]))
        joined += [distinct_pairs(one[same], other[same]) for one, other, same in seams]
        if neighbours:
            seams += [
                (pieces[:-1].ravel(), pieces[1:].ravel(), (ids[:-1] == ids[1:]).ravel()),
                (pieces[:, :-1].ravel(), pieces[:, 1:].ravel(), (ids[:, :-1] == ids[:, 1:]).ravel()),
            ]
            beside += [distinct_pairs(one[~same], other[~same]) for one, other, same in seams]
        above[across], above_ids[across] = pieces[-1], ids[-1]
        left, left_ids = pieces[:, -1], ids[:, -1]
        done += ids.size
        control.progress(done / total, "Finding connected areas")
    pairs = np.concatenate(beside)
    beside.clear()  # as large as all the rest
    firsts, members = _numbered(connect(starts[-1], np.concatenate(joined)))
    return Components(
        np.array(starts),
        members,
        np.concatenate(kinds)[firsts],
        np.bincount(members, np.concatenate(areas)).astype(np.float64),
        distinct_pairs(*members[pairs].T),
    )


def distinct_pairs(one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    """(E, 2) pairs of different numbers, lower number first, each once."""
    apart = one != other
    one, other = one[apart], other[apart]
    if not len(one):
        return np.empty((0, 2), np.int64)
    low, high = np.minimum(one, other), np.maximum(one, other)
    # One number a pair sorts ten times faster than rows do; np.unique would take several times the memory.
    width = int(high.max()) + 1
    keys = low * width + high
    keys.sort()
    return np.stack(np.divmod(keys[np.append(True, keys[1:] != keys[:-1])], width), 1)


def _numbered(root: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of what `connect` gives: the lowest member of each group, and (count,) the number of each one's group, from 0 in that order."""
    is_root = root == np.arange(len(root))
    return np.flatnonzero(is_root), (np.cumsum(is_root) - 1)[root]
