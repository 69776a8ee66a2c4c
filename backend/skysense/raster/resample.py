"""Sampling a source raster at the pixels of a lattice, so that a pixel's value does not depend on the window.

Each target pixel's place in the source follows from its own row and column on the lattice alone, and every
sum is made in the same order whatever the window; so overlapping reads agree to the bit. (GDAL's warper
chooses kernels and approximations per call, and does not promise that.)

Shape legend: C bands; hs x ws source pixels read; h x w target pixels.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from skysense.raster.crs import transformer
from skysense.raster.grid import Grid, Lattice, Window

Method = Literal["bilinear", "average", "nearest"]
Floats = NDArray[np.float32]
Places = NDArray[np.float64]

#: Across CRSs exact places are computed every so many target pixels, at fixed rows and columns of the
#: lattice, and interpolated between: at 10 m the error is below a millimetre.
_NODES = 16
#: From this many source pixels per target pixel side on, they are averaged.
_AVERAGE_FROM = 2.0
#: Where a target pixel has no place in the source.
_NOWHERE = -1e9


@dataclass(frozen=True)
class Sampler:
    """How the pixels of a lattice are taken from a source.

    Attributes:
        source: the source's grid.
        lattice: the target's.
        parts: (rows, columns) of samples per target pixel, each the nearest source pixel, whose mean is the
            target's value; (1, 1) = one bilinear sample.
    """

    source: Grid
    lattice: Lattice
    parts: tuple[int, int]

    @classmethod
    def between(cls, source: Grid, lattice: Lattice) -> "Sampler":
        """Choose the method once for the whole raster, by the pixel sizes at the source's centre."""
        rows, cols = _pixels_per_target(source, lattice)
        if max(rows, cols) < _AVERAGE_FROM:
            return cls(source, lattice, (1, 1))
        return cls(source, lattice, (max(1, math.ceil(rows - 0.05)), max(1, math.ceil(cols - 0.05))))

    @property
    def direct(self) -> bool:
        """Source pixels are target pixels: nothing is to be sampled."""
        return self.lattice.locate(self.source) is not None

    def spots(self, window: Window) -> "Spots | None":
        """Where a window's samples lie in the source; None where it lies beside it."""
        part = self._source_window(window)
        return None if part is None else Spots(self.source, part, *self._places(window), self.parts)

    def _source_window(self, window: Window) -> Window | None:
        """The source pixels that a window needs, cut to the source; None where it lies beside it."""
        reach = self._reach(window)
        if reach is None:
            return None
        per_row, per_col = _pixels_per_target(self.source, self.lattice)
        margin = (2 + math.ceil(per_row), 2 + math.ceil(per_col))
        top, left = math.floor(reach[0]) - margin[0], math.floor(reach[1]) - margin[1]
        bottom, right = math.ceil(reach[2]) + margin[0] + 1, math.ceil(reach[3]) + margin[1] + 1
        return Window(top, left, bottom - top, right - left).intersect(self.source.window)

    def meets(self, window: Window) -> bool:
        """Whether some target pixels' centres may lie in the source."""
        reach = self._reach(window)
        if reach is None:
            return False
        top, left, bottom, right = reach
        below = bottom >= -0.5 and right >= -0.5
        return below and top < self.source.height - 0.5 and left < self.source.width - 0.5

    def _reach(self, window: Window) -> tuple[float, float, float, float] | None:
        """Least and greatest source row and column (top, left, bottom, right) of the window's pixels' centres."""
        # Places are linear between nodes, so their extremes are at nodes or at the window's edges.
        rows, cols = self._places_of(_knots(window.row, window.height), _knots(window.col, window.width))
        if rows.ndim == 2:
            known = (rows > _NOWHERE / 2) & (cols > _NOWHERE / 2)
            if not known.any():
                return None
            rows, cols = rows[known], cols[known]
        return float(rows.min()), float(cols.min()), float(rows.max()), float(cols.max())

    def _places(self, window: Window) -> tuple[Places, Places]:
        """Source rows and columns of the window's samples; whole numbers are centres of source pixels.

        Returns:
            (h * parts[0],) and (w * parts[1],) where both grids have the same axes; else two (h * parts[0],
            w * parts[1]) arrays.
        """
        down, across = self.parts
        return self._places_of(
            window.row + (np.arange(window.height * down) + 0.5) / down,
            window.col + (np.arange(window.width * across) + 0.5) / across,
        )

    def _places_of(self, rows: Places, cols: Places) -> tuple[Places, Places]:
        """The same for places on the lattice, ascending; pixel (r, c) has its centre at r + 0.5, c + 0.5."""
        transform, lattice = self.source.transform, self.lattice
        if self.source.crs == lattice.crs and transform.b == transform.d == 0:
            y, x = lattice.y0 - rows * lattice.gsd, lattice.x0 + cols * lattice.gsd
            return (y - transform.f) / transform.e - 0.5, (x - transform.c) / transform.a - 0.5
        return self._interpolated_places(rows, cols)

    def _interpolated_places(self, rows: Places, cols: Places) -> tuple[Places, Places]:
        node_rows = _NODES * np.arange(math.floor(rows[0] / _NODES), math.floor(rows[-1] / _NODES) + 2)
        node_cols = _NODES * np.arange(math.floor(cols[0] / _NODES), math.floor(cols[-1] / _NODES) + 2)
        x, y = np.meshgrid(
            self.lattice.x0 + node_cols * self.lattice.gsd, self.lattice.y0 - node_rows * self.lattice.gsd
        )
        x, y = transformer(self.lattice.crs, self.source.crs).transform(x, y)
        a, b, c, d, e, f = tuple(~self.source.transform)[:6]
        with np.errstate(invalid="ignore"):
            nodes = np.stack([d * x + e * y + f, a * x + b * y + c]) - 0.5
            i, j = np.floor(rows / _NODES), np.floor(cols / _NODES)
            v, u = (rows / _NODES - i)[:, None], cols / _NODES - j
            i, j = (i - node_rows[0] // _NODES).astype(int), (j - node_cols[0] // _NODES).astype(int)
            left, right = nodes[:, :, j], nodes[:, :, j + 1]
            across = left + (right - left) * u
            top, bottom = across[:, i], across[:, i + 1]
            places = top + (bottom - top) * v
        if not np.isfinite(nodes).all():
            places[:, ~np.isfinite(places).all(axis=0)] = _NOWHERE
        return places[0], places[1]


#: State of a target pixel beyond the source.
OUTSIDE = 3


@dataclass(frozen=True)
class Spots:
    """Where the samples of a window lie in a source: the same for all rasters on its grid.

    Attributes:
        source: the source's grid; part: what of it is to be read.
        rows, cols: places, see `Sampler`.
        parts: as of `Sampler`.
    """

    source: Grid
    part: Window
    rows: Places
    cols: Places
    parts: tuple[int, int] = (1, 1)

    def sample(self, values: Floats, state: NDArray[np.uint8]) -> tuple[Floats, NDArray[np.uint8]]:
        """Values (C, h, w) and state (h, w) of the window.

        Args:
            values: (C, hs, ws), the part of the source.
            state: (hs, ws), 0 where the source is usable; other numbers say why not.

        Returns:
            Values (0 where the state is not 0) and the state: that of the nearest source pixel, or of an
            average 0 from half its samples; `OUTSIDE` beyond the source.
        """
        if self.parts != (1, 1):
            return self._average(values, state)
        states = self.nearest(state, OUTSIDE)
        usable = state == 0
        if usable.all():
            found = self._bilinear(values)
        else:
            # Weights of unusable neighbours go to the usable ones. Where all four are usable the plain sum
            # stays, so that a hole far off changes no bit.
            found = self._bilinear(values * usable)
            weight = self._bilinear(usable[None].astype(np.float32))
            found = np.where(self._all_four(usable), found, found / np.maximum(weight, 1e-6))
        if states.any():
            found = np.where(states == 0, found, np.float32(0))
        return found, states

    def nearest(self, values: NDArray[Any], beyond: int = 0) -> NDArray[Any]:
        """Values (h, w) of the nearest source pixels of (hs, ws); `beyond` the source another."""
        found = _pick(values, self._whole)
        inside = self._inside
        return found if inside is None else np.where(inside, found, values.dtype.type(beyond))

    def _average(self, values: Floats, state: NDArray[np.uint8]) -> tuple[Floats, NDArray[np.uint8]]:
        down, across = self.parts
        shape = (self.rows.shape[0] // down, self.cols.shape[-1] // across)
        total, count = np.zeros((len(values), *shape), np.float32), np.zeros(shape, np.float32)
        worst = np.zeros(shape, np.uint8)
        # Sample by sample, in this order: a sum whose rounding does not depend on the window's shape.
        for i in range(down):
            for j in range(across):
                if self.rows.ndim == 1:
                    places = self.rows[i::down], self.cols[j::across]
                else:
                    places = self.rows[i::down, j::across], self.cols[i::down, j::across]
                one = Spots(self.source, self.part, *places)
                states = one.nearest(state, OUTSIDE)
                usable = states == 0
                total += _pick(values, one._whole) * usable
                count += usable
                worst = np.maximum(worst, states)
        states = np.where(count * 2 >= down * across, np.uint8(0), worst).astype(np.uint8)
        return np.where(states == 0, total / np.maximum(count, 1), np.float32(0)), states

    @cached_property
    def _nearest(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The nearest source pixels."""
        return np.floor(self.rows + 0.5).astype(np.int64), np.floor(self.cols + 0.5).astype(np.int64)

    @cached_property
    def _whole(self) -> "Picks":
        return self._picks(*self._nearest)

    @cached_property
    def _inside(self) -> NDArray[np.bool_] | None:
        """Which samples lie in the source; None: all."""
        row, col = self._nearest
        rows, cols = (row >= 0) & (row < self.source.height), (col >= 0) & (col < self.source.width)
        inside = rows[:, None] & cols if row.ndim == 1 else rows & cols
        return None if inside.all() else inside

    @cached_property
    def _corners(self) -> "tuple[list[NDArray[np.int64]], list[NDArray[np.int64]], Floats, Floats]":
        """The pixels above and below, left and right of each place, and the way between them (0..1)."""
        top, left = np.floor(self.rows), np.floor(self.cols)
        v, u = (self.rows - top).astype(np.float32), (self.cols - left).astype(np.float32)
        i, j = top.astype(np.int64), left.astype(np.int64)
        down = [np.clip(row, 0, self.source.height - 1) for row in (i, i + 1)]
        across = [np.clip(col, 0, self.source.width - 1) for col in (j, j + 1)]
        return down, across, v, u

    @cached_property
    def _four(self) -> "list[Picks]":
        """Upper left, upper right, lower left and lower right."""
        down, across, _, _ = self._corners
        return [self._picks(i, j) for i in down for j in across]

    def _picks(self, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> "Picks":
        """Where pixels lie in what is read; what is not takes the nearest that is."""
        rows = np.clip(rows - self.part.row, 0, self.part.height - 1)
        cols = np.clip(cols - self.part.col, 0, self.part.width - 1)
        return (rows, cols) if rows.ndim == 1 else (rows * self.part.width + cols,)

    def _bilinear(self, values: Floats) -> Floats:
        """Bilinear samples (C, h, w) of (C, hs, ws); edge pixels carry on to the source's edge."""
        _, _, v, u = self._corners
        if self.rows.ndim == 1:  # same axes: first along rows, then along columns
            (rows, left), (_, right), (below, _), _ = self._four
            top, bottom = values.take(rows, axis=1), values.take(below, axis=1)
            strip = top + (bottom - top) * v[:, None]
            start, end = strip.take(left, axis=2), strip.take(right, axis=2)
            return np.asarray(start + (end - start) * u, np.float32)
        upper, upper_right, lower, lower_right = (_pick(values, corner) for corner in self._four)
        above = upper + (upper_right - upper) * u
        below = lower + (lower_right - lower) * u
        return np.asarray(above + (below - above) * v, np.float32)

    def _all_four(self, usable: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Whether the four pixels around each place are all usable, (h, w)."""
        found = [_pick(usable, corner) for corner in self._four]
        return np.asarray(found[0] & found[1] & found[2] & found[3])


#: Rows and columns to take, or flat numbers of pixels (h, w).
Picks = tuple[NDArray[np.int64], ...]


def _pick(values: NDArray[Any], picks: Picks) -> NDArray[Any]:
    """Source pixels (…, hs, ws) -> (…, h, w)."""
    if len(picks) == 2:
        return values.take(picks[0], axis=-2).take(picks[1], axis=-1)
    return values.reshape(*values.shape[:-2], -1).take(picks[0], axis=-1)


def _pixels_per_target(source: Grid, lattice: Lattice) -> tuple[float, float]:
    """Source (rows, columns) that one target pixel side covers, at the source's centre."""
    col, row = source.width / 2, source.height / 2
    x, y = zip(*(source.xy(*place) for place in ((col, row), (col + 1, row), (col, row + 1))), strict=True)
    if source.crs != lattice.crs:
        x, y = transformer(source.crs, lattice.crs).transform(x, y)
    across, down = math.hypot(x[1] - x[0], y[1] - y[0]), math.hypot(x[2] - x[0], y[2] - y[0])
    if not (math.isfinite(across) and math.isfinite(down)):
        return 1.0, 1.0
    return lattice.gsd / down, lattice.gsd / across


def _knots(start: int, length: int) -> Places:
    """The first and last pixels' centres of a span of the lattice, and the nodes between them."""
    first, last = start + 0.5, start + length - 0.5
    nodes = _NODES * np.arange(math.ceil(first / _NODES), math.floor(last / _NODES) + 1, dtype=np.float64)
    return np.concatenate([[first], nodes, [last]])
