"""Class scores over any window of compute pixels, put together from tiles; reading runs ahead of computing.

Shape legend: K classes, h x w the window, S the side of a tile's core.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skysense.finetune.features import FeatureExtractor, TileInput
from skysense.inference.scores import TileScorer
from skysense.jobs.control import JobControl
from skysense.raster.grid import Window
from skysense.raster.tiles import Tile, Tiling

_READ_AHEAD = 2
#: Bytes of tile scores kept for neighbouring chunks that need the same tiles.
_CACHE_BYTES = 64 * 2**20

_Scored = tuple[Tensor, Tensor] | None


class ScoreCanvas:
    """Computes scores tile by tile.

    Args:
        extractor, scorer: make a tile's features and scores.
        tiling: the scene's tiles.
        area: the part of the compute lattice that is mapped; outside of it nothing is valid.
        classes: K.

    Attributes:
        on_tile: called after each new tile with the share of all tiles that is done (0..1).
    """

    on_tile: Callable[[float], None] | None = None

    def __init__(
        self, extractor: FeatureExtractor, scorer: TileScorer, tiling: Tiling, area: Window, classes: int
    ) -> None:
        self._extractor, self._scorer, self._tiling = extractor, scorer, tiling
        self._area, self._classes = area, classes
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="read")
        self._cache: OrderedDict[tuple[int, int], _Scored] = OrderedDict()
        self._done, self._total = 0, sum(1 for _ in tiling.over(area))
        self._capacity = max(2, _CACHE_BYTES // (4 * (classes + 1) * tiling.core**2))

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def window(self, window: Window, control: JobControl) -> tuple[Tensor, Tensor]:
        """Scores (K, h, w) float32 and validity (h, w) bool of a window of compute pixels.

        Raises:
            Cancelled: between two tiles.
        """
        scores = torch.zeros(self._classes, window.height, window.width)
        valid = torch.zeros(window.height, window.width, dtype=torch.bool)
        inside = window.intersect(self._area)
        if inside is None:
            return scores, valid
        for tile, scored in self._scored(list(self._tiling.over(inside)), control):
            part = tile.core.intersect(inside)
            if scored is None or part is None:
                continue
            to = (_span(part.row - window.row, part.height), _span(part.col - window.col, part.width))
            of = (_span(part.row - tile.core.row, part.height), _span(part.col - tile.core.col, part.width))
            scores[:, *to] = scored[0][:, *of]
            valid[to] = scored[1][of]
        return scores, valid

    def _scored(self, tiles: list[Tile], control: JobControl) -> Iterable[tuple[Tile, _Scored]]:
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
            scored = self._compute(data)
            self._cache[key] = scored
            self._done += 1
            if self.on_tile:
                self.on_tile(min(self._done / self._total, 1.0))
            while len(self._cache) > self._capacity:
                self._cache.popitem(last=False)
            yield tile, scored

    def _compute(self, data: TileInput) -> _Scored:
        features = self._extractor.features(data)
        if not features.valid.any():
            return None
        return self._scorer(features, self._tiling.core).cpu(), torch.from_numpy(features.valid)


def _span(start: int, length: int) -> slice:
    return slice(start, start + length)


def classify(scores: Tensor, valid: Tensor, ids: tuple[int, ...], temperature: float) -> NDArray[np.uint8]:
    """Class ids and confidence of a window.

    Args:
        scores: (K, h, w).
        valid: (h, w).
        ids: (K,) class ids.
        temperature: see `finetune.head.Head`.

    Returns:
        (2, h, w) uint8: class id and probability of that class in % (1..100), both 0 where not valid.
    """
    probability, best = torch.softmax(scores / temperature, dim=0).max(dim=0)
    classes = torch.tensor(ids, dtype=torch.uint8)[best]
    confidence = (probability * 100).round().clamp(1, 100).to(torch.uint8)
    return torch.stack([classes * valid, confidence * valid]).numpy()
