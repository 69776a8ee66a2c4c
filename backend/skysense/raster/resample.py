"""Sampling a source raster at the pixels of a lattice, so that a pixel's value does not depend on the window.

Each target pixel's place in the source follows from its own row and column on the lattice alone, and every
sum is made in the same order whatever the window; so overlapping reads agree to the bit. (GDAL's warper
chooses kernels and approximations per call, and does not promise that.)

Shape legend: C bands; hs x ws source pixels read; h x w target pixels.
"""

import math
from dataclasses import dataclass
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

    def source_window(self, window: Window) -> Window | None:
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

    def sample(
        self, values: Floats, state: NDArray[np.uint8], read: Window, window: Window
    ) -> tuple[Floats, NDArray[np.uint8]]:
        """Values (C, h, w) and state (h, w) of a window of the lattice.

        Args:
            values: (C, hs, ws), the part `read` of the source.
            state: (hs, ws), 0 where the source is usable; other numbers say why not.
            read: what `source_window` gave.
            window: in pixels of the lattice.

        Returns:
            Values (0 where the state is not 0) and the state: that of the nearest source pixel, or of an
            average 0 from half its samples; `OUTSIDE` beyond the source.
        """
        if self.parts != (1, 1):
            return self._average(values, state, read, window)
        rows, cols = self._places(window, (1, 1))
        states = _nearest(state, rows, cols, read, self.source)
        usable = state == 0
        found = _bilinear(values * usable, rows, cols, read, self.source)
        if not usable.all():
            # Weights of unusable neighbours go to the usable ones. Where all four are usable the plain sum
            # stays, so that a hole far off changes no bit.
            weight = _bilinear(usable[None].astype(np.float32), rows, cols, read, self.source)
            full = _all_four(usable, rows, cols, read, self.source)
            found = np.where(full, found, found / np.maximum(weight, 1e-6))
        return np.where(states == 0, found, np.float32(0)), states

    def nearest(self, values: NDArray[Any], read: Window, window: Window) -> NDArray[Any]:
        """Values (h, w) of the nearest source pixels of (hs, ws); 0 beyond the source."""
        rows, cols = self._places(window, (1, 1))
        return _nearest(values, rows, cols, read, self.source, beyond=0)

    def _average(
        self, values: Floats, state: NDArray[np.uint8], read: Window, window: Window
    ) -> tuple[Floats, NDArray[np.uint8]]:
        rows, cols = self._places(window, self.parts)
        shape = (window.height, window.width)
        total, count = np.zeros((len(values), *shape), np.float32), np.zeros(shape, np.float32)
        worst = np.zeros(shape, np.uint8)
        down, across = self.parts
        # Sample by sample, in this order: a sum whose rounding does not depend on the window's shape.
        for i in range(down):
            for j in range(across):
                if rows.ndim == 1:
                    places = rows[i::down], cols[j::across]
                else:
                    places = rows[i::down, j::across], cols[i::down, j::across]
                states = _nearest(state, *places, read, self.source)
                usable = states == 0
                total += _gather(values, *_whole(*places), read) * usable
                count += usable
                worst = np.maximum(worst, states)
        states = np.where(count * 2 >= down * across, np.uint8(0), worst).astype(np.uint8)
        return np.where(states == 0, total / np.maximum(count, 1), np.float32(0)), states

    def _places(self, window: Window, parts: tuple[int, int]) -> tuple[Places, Places]:
        """Source rows and columns of the window's samples; whole numbers are centres of source pixels.

        Returns:
            (h * parts[0],) and (w * parts[1],) where both grids have the same axes; else two (h * parts[0],
            w * parts[1]) arrays.
        """
        return self._places_of(
            window.row + (np.arange(window.height * parts[0]) + 0.5) / parts[0],
            window.col + (np.arange(window.width * parts[1]) + 0.5) / parts[1],
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


def _whole(rows: Places, cols: Places) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The nearest source pixels."""
    return np.floor(rows + 0.5).astype(np.int64), np.floor(cols + 0.5).astype(np.int64)


def _gather(
    values: NDArray[Any], rows: NDArray[np.int64], cols: NDArray[np.int64], read: Window
) -> NDArray[Any]:
    """Source pixels (…, hs, ws) -> (…, h, w) by row and column; what was not read takes the nearest read."""
    rows = np.clip(rows - read.row, 0, read.height - 1)
    cols = np.clip(cols - read.col, 0, read.width - 1)
    if rows.ndim == 1:
        return values.take(rows, axis=-2).take(cols, axis=-1)
    flat = values.reshape(*values.shape[:-2], -1)
    return flat.take(rows * read.width + cols, axis=-1)


def _nearest(
    values: NDArray[Any], rows: Places, cols: Places, read: Window, source: Grid, beyond: int = OUTSIDE
) -> NDArray[Any]:
    row, col = _whole(rows, cols)
    inside_rows, inside_cols = (row >= 0) & (row < source.height), (col >= 0) & (col < source.width)
    inside = inside_rows[:, None] & inside_cols if row.ndim == 1 else inside_rows & inside_cols
    return np.where(inside, _gather(values, row, col, read), values.dtype.type(beyond))


def _corners(
    rows: Places, cols: Places, source: Grid
) -> tuple[
    tuple[NDArray[np.int64], NDArray[np.int64]], tuple[NDArray[np.int64], NDArray[np.int64]], Floats, Floats
]:
    """The pixels above and below, left and right of each place, and the way between them (0..1)."""
    top, left = np.floor(rows), np.floor(cols)
    v, u = (rows - top).astype(np.float32), (cols - left).astype(np.float32)
    i, j = top.astype(np.int64), left.astype(np.int64)
    down = np.clip(i, 0, source.height - 1), np.clip(i + 1, 0, source.height - 1)
    across = np.clip(j, 0, source.width - 1), np.clip(j + 1, 0, source.width - 1)
    return down, across, v, u


def _bilinear(values: Floats, rows: Places, cols: Places, read: Window, source: Grid) -> Floats:
    """Bilinear samples (C, h, w) of (C, hs, ws); edge pixels carry on to the source's edge."""
    down, across, v, u = _corners(rows, cols, source)
    if rows.ndim == 1:  # same axes: first along rows, then along columns
        top, bottom = (values.take(np.clip(i - read.row, 0, read.height - 1), axis=1) for i in down)
        strip = top + (bottom - top) * v[:, None]
        left, right = (strip.take(np.clip(j - read.col, 0, read.width - 1), axis=2) for j in across)
        return np.asarray(left + (right - left) * u, np.float32)
    upper, lower = ([_gather(values, i, j, read) for j in across] for i in down)
    above = upper[0] + (upper[1] - upper[0]) * u
    below = lower[0] + (lower[1] - lower[0]) * u
    return np.asarray(above + (below - above) * v, np.float32)


def _all_four(
    usable: NDArray[np.bool_], rows: Places, cols: Places, read: Window, source: Grid
) -> NDArray[np.bool_]:
    """Whether the four pixels around each place are all usable, (h, w)."""
    down, across, _, _ = _corners(rows, cols, source)
    found = [_gather(usable, i, j, read) for i in down for j in across]
    return np.asarray(found[0] & found[1] & found[2] & found[3])
