"""Values over any window, put together from tiles: class scores or features; reading runs ahead of computing.

Shape legend: K values (of K classes, or features), h x w the window, S the side of a tile's core, all in cells:
a cell is a square of compute pixels, for class scores a single one.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skysense.finetune.features import FeatureExtractor, TileFeatures, TileInput
from skysense.jobs.control import JobControl
from skysense.raster.grid import Window
from skysense.raster.tiles import Tile, Tiling

_READ_AHEAD = 2
#: Bytes of tile values kept for neighbouring chunks that need the same tiles.
_CACHE_BYTES = 64 * 2**20

_Painted = tuple[Tensor, Tensor] | None


class TileCanvas:
    """Computes values tile by tile.

    Args:
        extractor: makes a tile's features.
        painter: makes values (K, S, S) out of features and S.
        tiling: the scene's tiles.
        area: the cells that are mapped; outside of it nothing is valid.
        depth: K.
        stride: compute pixels per cell side; a cell is valid from half its pixels.

    Attributes:
        on_tile: called after each new tile with the share of all tiles that is done (0..1).
    """

    on_tile: Callable[[float], None] | None = None

    def __init__(
        self,
        extractor: FeatureExtractor,
        painter: Callable[[TileFeatures, int], Tensor],
        tiling: Tiling,
        area: Window,
        depth: int,
        stride: int = 1,
    ) -> None:
        self._extractor, self._painter, self._tiling = extractor, painter, tiling
        self._area, self._depth, self._stride = area, depth, stride
        self._side = tiling.core // stride
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="read")
        self._cache: OrderedDict[tuple[int, int], _Painted] = OrderedDict()
        self._done, self._total = 0, sum(1 for _ in self._tiles(area))
        self._capacity = max(2, _CACHE_BYTES // (4 * (depth + 1) * self._side**2))

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def window(self, window: Window, control: JobControl) -> tuple[Tensor, Tensor]:
        """Values (K, h, w) float32 and validity (h, w) bool of a window of cells.

        Raises:
            Cancelled: between two tiles.
        """
        values = torch.zeros(self._depth, window.height, window.width)
        valid = torch.zeros(window.height, window.width, dtype=torch.bool)
        inside = window.intersect(self._area)
        if inside is None:
            return values, valid
        for tile, painted in self._painted(list(self._tiles(inside)), control):
            core = Window(tile.row * self._side, tile.col * self._side, self._side, self._side)
            part = core.intersect(inside)
            if painted is None or part is None:
                continue
            to = (_span(part.row - window.row, part.height), _span(part.col - window.col, part.width))
            of = (_span(part.row - core.row, part.height), _span(part.col - core.col, part.width))
            values[:, *to] = painted[0][:, *of]
            valid[to] = painted[1][of]
        return values, valid

    def _tiles(self, cells: Window) -> Iterable[Tile]:
        return self._tiling.over(
            Window(*(size * self._stride for size in (cells.row, cells.col, cells.height, cells.width)))
        )

    def _painted(self, tiles: list[Tile], control: JobControl) -> Iterable[tuple[Tile, _Painted]]:
        missing = [tile for tile in tiles if (tile.row, tile.col) not in self._cache]
        ahead: dict[tuple[int, int], Future[TileInput]] = {}
        waiting = iter(missing)
        for tile in tiles:
            control.check()
            key = (tile.row, tile.col)
            if key in self._cache:
                self._cache.move_to_end(key)
                yield tile, self._cache[key]
                continue
            while len(ahead) < _READ_AHEAD and (following := next(waiting, None)) is not None:
                ahead[following.row, following.col] = self._pool.submit(self._extractor.read, following)
            data = ahead.pop(key).result() if key in ahead else self._extractor.read(tile)
            painted = self._paint(data)
            self._cache[key] = painted
            self._done += 1
            if self.on_tile:
                self.on_tile(min(self._done / self._total, 1.0))
            while len(self._cache) > self._capacity:
                self._cache.popitem(last=False)
            yield tile, painted

    def _paint(self, data: TileInput) -> _Painted:
        features = self._extractor.features(data)
        if not features.valid.any():
            return None
        cells = features.valid.reshape(self._side, self._stride, self._side, self._stride)
        valid = cells.mean(axis=(1, 3)) >= 0.5
        return self._painter(features, self._side).cpu(), torch.from_numpy(valid)


def _span(start: int, length: int) -> slice:
    return slice(start, start + length)


def classify(probabilities: Tensor, valid: Tensor, ids: tuple[int, ...]) -> NDArray[np.uint8]:
    """Class ids and confidence of a window.

    Args:
        probabilities: (K, h, w).
        valid: (h, w).
        ids: (K,) class ids.

    Returns:
        (2, h, w) uint8: class id and probability of that class in % (1..100), both 0 where not valid.
    """
    probability, best = probabilities.max(dim=0)
    classes = torch.tensor(ids, dtype=torch.uint8)[best]
    confidence = (probability * 100).round().clamp(1, 100).to(torch.uint8)
    return torch.stack([classes * valid, confidence * valid]).numpy()
