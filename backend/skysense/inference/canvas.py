"""Values over any window, put together from tiles: class scores or features; computing runs ahead of what is asked for.

Shape legend: K values (of K classes, or features), h x w the window, S the side of a tile's core, all in cells:
a cell is a square of compute pixels, for class scores a single one.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from skysense.finetune.features import TileFeatures, TileInput
from skysense.finetune.lanes import Lanes
from skysense.inference.held import HeldTiles, Key, Painted, Part, nothing
from skysense.jobs.control import JobControl
from skysense.raster.grid import Window
from skysense.raster.tiles import Tile, Tiling

_CPU = torch.device("cpu")


class TileCanvas:
    """Computes values tile by tile.

    Args:
        lanes: compute tiles' features.
        painter: makes values (K, S, S) out of features and S, in several threads at a time.
        tiling: the scene's tiles.
        area: the cells that are mapped; outside of it nothing is valid.
        depth: K.
        stride: compute pixels per cell side; a cell is valid from half its pixels.
        edge: see `held.HeldTiles`.
        wanted: whether a tile is needed at all; of the others nothing is valid.
        device: where values are put together.
    """

    def __init__(
        self,
        lanes: Lanes,
        painter: Callable[[TileFeatures, int], Tensor],
        tiling: Tiling,
        area: Window,
        depth: int,
        stride: int = 1,
        edge: int | None = None,
        wanted: Callable[[Tile], bool] | None = None,
        device: torch.device = _CPU,
    ) -> None:
        self._lanes, self._painter, self._tiling = lanes, painter, tiling
        self._area, self._depth, self._stride, self._wanted = area, depth, stride, wanted
        self._device = device
        self._side, self._blend = tiling.core // stride, tiling.blend // stride
        self._whole = slice(-self._blend, self._side + self._blend)
        self._held = HeldTiles(self._side, edge)
        self._coming: Iterator[tuple[Tile, Part]] = iter(())
        self._computing: dict[Key, Future[Painted]] = {}
        self._told: Callable[[float], None] | None = None
        self._done, self._total = 0, 1

    def close(self) -> None:
        """Forget the tiles that are under way: what was asked for has been given, or has failed."""
        for future in self._computing.values():
            future.cancel()
        self._computing.clear()

    def needs(self, window: Window) -> Window:
        """The cells that a window is made of."""
        return window

    def expect(self, windows: Sequence[Window], told: Callable[[float], None] | None = None) -> None:
        """Tell which windows will be asked for, in order: their tiles are computed ahead.

        Args:
            told: called after each new tile with the share of their tiles that is done (0..1).
        """
        self.close()
        self._coming = self._needed(windows)
        self._told, self._done = told, 0
        self._total = len({(tile.row, tile.col) for tile, _ in self._needed(windows)}) if told else 1

    def window(self, window: Window, control: JobControl) -> tuple[Tensor, Tensor]:
        """Values (K, h, w) float32 and validity (h, w) bool of a window of cells, on `device`.

        Raises:
            Cancelled: between two tiles.
        """
        values = torch.zeros(self._depth, window.height, window.width, device=self._device)
        valid = torch.zeros(window.height, window.width, dtype=torch.bool, device=self._device)
        weight = torch.zeros_like(valid, dtype=torch.float32)
        taken = deque[tuple[Key, Part, bool]]()
        for tile, part in self._needed([window]):
            control.check()
            painted, core = self._painted(tile, part), self._core(tile)
            places = zip(part, (core.row - window.row, core.col - window.col), painted.at)
            to, of = zip(*((_moved(p, start), _moved(p, -own.start)) for p, start, own in places))
            if not self._blend:
                values[:, *to] = painted.values[:, *of]
                valid[to] = painted.valid[of]
            elif painted.seen:
                share = self._ramp(part[0])[:, None] * self._ramp(part[1])
                values[:, *to] += share * painted.values[:, *of]
                weight[to] += share
                valid[to] |= painted.valid[of]
            taken.append(((tile.row, tile.col), part, core.row == window.row or core.col == window.col))
        for key, part, first in taken:
            self._held.taken(key, part, first)
        if self._blend:
            values /= weight.clamp_min(torch.finfo(torch.float32).tiny)
        return values, valid

    def _ramp(self, span: slice) -> Tensor:
        """Weights of a tile's rows or columns, counted from its core's: those of two neighbours add up to 1."""
        place = torch.arange(span.start, span.stop, device=self._device) + 0.5
        edge = torch.minimum(place, self._side - place)  # cells from the core's edge inwards
        return ((edge + self._blend) / (2 * self._blend)).clamp(0, 1)

    def _needed(self, windows: Iterable[Window]) -> Iterator[tuple[Tile, Part]]:
        """The tiles of each window, and which rows and columns of their cores."""
        for window in windows:
            inside = window.intersect(self._area)
            if inside is None:
                continue
            reach = inside.grow(self._blend)
            pixels = (size * self._stride for size in (reach.row, reach.col, reach.height, reach.width))
            for tile in self._tiling.over(Window(*pixels)):
                core = self._core(tile)
                part = core.grow(self._blend).intersect(inside)
                if part is not None and (self._wanted is None or self._wanted(tile)):
                    yield tile, core.slices(part)

    def _core(self, tile: Tile) -> Window:
        """In cells."""
        return Window(tile.core.row // self._stride, tile.core.col // self._stride, self._side, self._side)

    def _painted(self, tile: Tile, part: Part) -> Painted:
        key = (tile.row, tile.col)
        painted = self._held.find(key, part)
        if painted is not None:
            return painted
        if key not in self._computing:
            self._computing[key] = self._lanes.submit(tile, self._paint)
        self._run_ahead()
        painted = self._computing.pop(key).result()
        self._held.put(key, painted)
        self._done += 1
        if self._told:
            self._told(min(self._done / self._total, 1.0))
        return painted

    def _run_ahead(self) -> None:
        ahead = self._lanes.ahead
        while len(self._computing) < ahead and (following := next(self._coming, None)) is not None:
            tile, part = following
            key = (tile.row, tile.col)
            if key not in self._computing and self._held.find(key, part) is None:
                self._computing[key] = self._lanes.submit(tile, self._paint)

    def _paint(self, data: TileInput, features: TileFeatures) -> Painted:
        if not features.valid.any():
            return nothing(self._whole, self._depth, self._device)
        cells = features.valid.reshape(self._side, self._stride, self._side, self._stride)
        valid = torch.from_numpy(cells.mean(axis=(1, 3)) >= 0.5).to(self._device)
        side = self._whole.stop - self._whole.start
        values = self._painter(features.grown(self._blend * self._stride), side).to(self._device)
        return Painted(values, F.pad(valid, (self._blend,) * 4), (self._whole, self._whole))


def _moved(span: slice, by: int) -> slice:
    return slice(span.start + by, span.stop + by)


def classify(probabilities: Tensor, valid: Tensor, ids: tuple[int, ...]) -> NDArray[np.uint8]:
    """Class ids and confidence of a window, computed where the probabilities lie.

    Args:
        probabilities: (K, h, w).
        valid: (h, w).
        ids: (K,) class ids.

    Returns:
        (2, h, w) uint8: class id and probability of that class in % (1..100), both 0 where not valid.
    """
    probability, best = probabilities.max(dim=0)
    classes = torch.tensor(ids, dtype=torch.uint8, device=best.device)[best]
    confidence = (probability * 100).round().clamp(1, 100).to(torch.uint8)
    return torch.stack([classes * valid, confidence * valid]).cpu().numpy()
