"""Where the views of a window lie: boxes on its lattice, flips and quarter turns, and the affine back to the window.

Points are (row, col) in continuous pixels; the centre of pixel (i, j) is (i + 0.5, j + 0.5).
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Draws of a pair of global views before the best one is taken.
_TRIES = 16
#: Largest ratio of the sides of two global views: beyond the root of 2 they cannot share half of their areas.
_MOST_RATIO = 1.4


@dataclass(frozen=True)
class Frame:
    """Sizes of a view: `size` view pixels along a side, made from `least`..`most` window pixels."""

    size: int
    least: int
    most: int


@dataclass(frozen=True)
class Crop:
    """A square of the window as a view sees it.

    Attributes:
        row, col, side: the square in window pixels.
        size: view pixels along a side.
        turns: quarter turns (`np.rot90`), then mirrored left to right if `flip`.
    """

    row: int
    col: int
    side: int
    size: int
    turns: int = 0
    flip: bool = False

    def cut(self, values: NDArray[Any], scale: int = 1) -> NDArray[Any]:
        """The square out of (..., H, W) with `scale` pixels per window pixel; a view of the array."""
        rows = slice(self.row * scale, (self.row + self.side) * scale)
        return values[..., rows, self.col * scale : (self.col + self.side) * scale]

    def turn(self, values: NDArray[Any]) -> NDArray[Any]:
        """(..., n, n) turned and mirrored."""
        values = np.rot90(values, self.turns, axes=(-2, -1))
        return values[..., ::-1] if self.flip else values

    def to_window(self) -> NDArray[np.float64]:
        """(2, 3): point in the view -> point in the window; exact where side == size."""
        size = float(self.size)
        # What undoes one np.rot90: out[i, j] = in[j, n - 1 - i].
        turn = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, size], [0.0, 0.0, 1.0]])
        mirror = np.array([[1.0, 0.0, 0.0], [0.0, -1.0, size], [0.0, 0.0, 1.0]])
        scale = self.side / self.size
        place = np.array([[scale, 0.0, self.row], [0.0, scale, self.col], [0.0, 0.0, 1.0]])
        back = np.linalg.matrix_power(turn, self.turns % 4)
        return np.asarray((place @ back @ mirror if self.flip else place @ back)[:2])


def draw_crops(
    seen: NDArray[np.floating[Any]], whole: Frame, local: Frame, local_views: int, rng: np.random.Generator
) -> list[Crop]:
    """Two global crops and then `local_views` smaller ones.

    The global ones share at least half of the area of each, and a pixel that was seen lies in both; a pair that
    is half seen is taken if one comes up. Every local one holds a seen pixel of what the global ones share.

    Args:
        seen: (h, w) share of the modalities that saw the window's pixel, somewhere above 0.
        whole, local: sizes of the global and the local views; `most` is at most h and w.
    """
    first, second = _draw_pair(seen, whole, rng)
    top, left = max(first.row, second.row), max(first.col, second.col)
    bottom = min(first.row + first.side, second.row + second.side)
    right = min(first.col + first.side, second.col + second.side)
    rows, cols = np.nonzero(seen[top:bottom, left:right])
    crops = [first, second]
    for _ in range(local_views):
        pick = rng.integers(len(rows))
        side = int(rng.integers(local.least, local.most + 1))
        crops.append(
            around((int(rows[pick]) + top, int(cols[pick]) + left), side, local.size, seen.shape, rng)
        )
    return crops


def _draw_pair(seen: NDArray[np.floating[Any]], frame: Frame, rng: np.random.Generator) -> tuple[Crop, Crop]:
    rows, cols = np.nonzero(seen)
    best: tuple[float, Crop, Crop] | None = None
    for _ in range(_TRIES):
        pick = rng.integers(len(rows))
        place = (int(rows[pick]), int(cols[pick]))
        side = int(rng.integers(frame.least, frame.most + 1))
        least = max(frame.least, -int(-side // _MOST_RATIO))
        other = int(rng.integers(least, min(frame.most, int(side * _MOST_RATIO)) + 1))
        first = around(place, side, frame.size, seen.shape, rng)
        second = around(place, other, frame.size, seen.shape, rng)
        if 2 * overlap(first, second) < max(side, other) ** 2:
            continue
        share = min(float(first.cut(seen).mean()), float(second.cut(seen).mean()))
        if best is None or share > best[0]:
            best = (share, first, second)
        if share >= 0.5:
            break
    if best is None:  # three times in 10,000; turned differently, one square is a pair too
        return first, replace(first, turns=second.turns, flip=second.flip)
    return best[1], best[2]


def overlap(first: Crop, second: Crop) -> int:
    """Window pixels that both crops show."""
    height = min(first.row + first.side, second.row + second.side) - max(first.row, second.row)
    width = min(first.col + first.side, second.col + second.side) - max(first.col, second.col)
    return max(height, 0) * max(width, 0)


def around(
    place: tuple[int, int], side: int, size: int, shape: tuple[int, ...], rng: np.random.Generator
) -> Crop:
    """A square of the window that holds the pixel `place`, turned at random."""
    row, col = (
        int(rng.integers(max(at - side + 1, 0), min(at, length - side) + 1))
        for at, length in zip(place, shape, strict=True)
    )
    return Crop(row, col, side, size, int(rng.integers(4)), bool(rng.integers(2)))
