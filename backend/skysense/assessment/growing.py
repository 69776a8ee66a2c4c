"""The components of a map tile by tile, each let go when it is whole: memory grows with the map's width only."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skysense.assessment.frontier import Frontier
from skysense.assessment.groups import connect, distinct_pairs, numbered
from skysense.raster.grid import Grid, Window


@dataclass(frozen=True)
class Step:
    """What a tile brings. A component goes by a number of its own; where two turn out to be one, the lower number stays.

    Attributes:
        numbers: (K,) of the components that the tile's pieces belong to.
        joined: (J, 2) numbers that are no more, and those that took their place.
        whole: (W,) numbers of the components that no further tile touches.
        classes: (W,) uint8 class of each of these, 0 where not mapped.
        m2: (W,) area of each on the ground in m², 0 where not mapped.
    """

    numbers: NDArray[np.int64]
    joined: NDArray[np.int64]
    whole: NDArray[np.int64]
    classes: NDArray[np.uint8]
    m2: NDArray[np.float64]


class Growing:
    """The components that the tiles to come may touch."""

    def __init__(self, grid: Grid) -> None:
        self._frontier = Frontier(grid)
        self._numbers = np.empty(0, np.int64)  # ascending
        self._classes = np.empty(0, np.uint8)
        self._m2 = np.empty(0)
        self._next = 0

    def add(
        self,
        window: Window,
        ids: NDArray[np.uint8],
        labels: NDArray[np.int32],
        classes: NDArray[np.uint8],
        m2: NDArray[np.float64],
    ) -> Step:
        """Add the next tile, in the order of `tiles`.

        Args:
            ids: (h, w) class ids.
            labels, classes: see `label`.
            m2: (K,) area of the pieces.
        """
        # Here a component is its place in a list: those so far, and behind them the tile's pieces.
        old, new = len(self._numbers), len(m2)
        seams = self._frontier.meet(window, labels.astype(np.int64) + old, ids)
        pairs = [distinct_pairs(seam.beyond[seam.same], seam.within[seam.same]) for seam in seams]
        root = connect(old + new, np.concatenate((np.empty((0, 2), np.int64), *pairs)))
        firsts, place = numbered(root)
        before = np.append(self._numbers, self._next + np.arange(new))
        self._next += new
        numbers = before[firsts]
        after = numbers[place]
        kinds = np.append(self._classes, classes)[firsts]
        areas = np.bincount(place, np.append(self._m2, m2)).astype(np.float64)

        goes_on = np.zeros(len(numbers), bool)
        goes_on[place[self._frontier.numbers()]] = True
        kept = np.full(len(numbers), -1)
        kept[goes_on] = np.arange(goes_on.sum())
        self._frontier.renumber(kept[place])
        self._numbers, self._classes, self._m2 = numbers[goes_on], kinds[goes_on], areas[goes_on]
        return Step(
            after[old:],
            np.stack((before, after), 1)[:old][before[:old] != after[:old]],
            numbers[~goes_on],
            kinds[~goes_on],
            areas[~goes_on],
        )
