"""What the tiles of a map that come will touch of those that were there; tiles come in the order of `components.tiles`."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skysense.raster.grid import Grid, Window


@dataclass(frozen=True)
class Seam:
    """Where a tile meets what was before it: (L,) numbers of the components beyond and within, and the class ids of both."""

    beyond: NDArray[np.int64]
    within: NDArray[np.int64]
    ids_beyond: NDArray[np.uint8]
    ids_within: NDArray[np.uint8]

    @property
    def same(self) -> NDArray[np.bool_]:
        """(L,) where the class is the same on both sides."""
        return self.ids_beyond == self.ids_within


class Frontier:
    """The last row of the tiles above, and the last column of the tile to the left."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._above = np.full(grid.width, -1)  # -1: no tile comes below
        self._above_ids = np.zeros(grid.width, np.uint8)
        self._left, self._left_ids = np.empty(0, np.int64), np.empty(0, np.uint8)

    def meet(self, window: Window, numbers: NDArray[np.int64], ids: NDArray[np.uint8]) -> list[Seam]:
        """Go on beyond the next tile.

        Args:
            numbers, ids: (h, w) component and class of its pixels.

        Returns:
            Its upper and its left seam, where it has them.
        """
        across = slice(window.col, window.col + window.width)
        seams = []
        if window.row:
            seams.append(Seam(self._above[across].copy(), numbers[0], self._above_ids[across].copy(), ids[0]))
        if window.col:
            seams.append(Seam(self._left, numbers[:, 0], self._left_ids, ids[:, 0]))
        lowest = window.row + window.height == self._grid.height
        self._above[across] = -1 if lowest else numbers[-1]
        self._above_ids[across] = ids[-1]
        last = window.col + window.width == self._grid.width
        self._left = np.full(window.height, -1) if last else numbers[:, -1].copy()
        self._left_ids = ids[:, -1].copy()
        return seams

    def numbers(self) -> NDArray[np.int64]:
        """Of the components that may go on, each as often as it is there."""
        both = np.append(self._above, self._left)
        return both[both >= 0]

    def renumber(self, numbers: NDArray[np.int64]) -> None:
        """Let numbers[n] take the place of n."""
        numbers = np.append(numbers, -1)
        self._above, self._left = numbers[self._above], numbers[self._left]
