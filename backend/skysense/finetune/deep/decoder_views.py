"""What a step of the decoder's training sees: a crop of a tile's features around a labelled pixel, turned, and the labels in it.

Draws depend on (seed, step) alone, so a resumed training needs no memory of them. Turned features are not those of the turned
imagery, but what a decoder should learn of them, which lies beside what, has no direction either.

Shape legend: C features of a block, n cells along a side.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skysense.finetune.collect import gather
from skysense.finetune.deep.decoder import spread
from skysense.finetune.deep.pixels import Pixels
from skysense.finetune.deep.views import turned
from skysense.finetune.features import Block, FeatureExtractor, TileFeatures
from skysense.finetune.lanes import Lanes, features_of
from skysense.pretrain.cache import BlockCache
from skysense.pretrain.crops import Crop
from skysense.raster.tiles import Tile, Tiling

#: Side of a crop in compute pixels (tiles of Sentinel data are smaller, and seen whole), and the context around the pixels that teach.
_SIDE, _CONTEXT = 256, 64
#: First word of the seeds; those of the pretraining and of `views` are 1 to 6.
_DRAW = 7
#: Chance of each block to be left out of a view, never all of them.
_LEFT_OUT = 0.1
#: Bytes of features that stay in memory: the tiles with labels of a usual scene.
_KEPT_BYTES = 1 << 30

#: Gives the features of tiles, in their order.
Features = Callable[[Iterable[Tile]], Iterator[TileFeatures]]


@dataclass(frozen=True)
class FeatureView:
    """A view of a tile's features.

    Attributes:
        maps: of the decoder, (1, C, n, n) each; side: of their ground in compute pixels.
        places: (n,) of the labelled pixels in `Pixels`; rows, cols: (n,) where they lie, in compute pixels.
    """

    maps: dict[str, Tensor]
    side: int
    places: NDArray[np.int64]
    rows: NDArray[np.int64]
    cols: NDArray[np.int64]


class FeatureReader:
    """Makes tiles' features, as many tiles side by side as there are lanes, and keeps those that were made last.

    While it gives them, torch has its usual threads: what a decoder computes with them depends on that to the last bit.
    """

    def __init__(self, extractor: FeatureExtractor) -> None:
        self._extractor, self._together = extractor, Lanes(extractor).count
        self._kept: BlockCache[TileFeatures] = BlockCache(
            _KEPT_BYTES,
            lambda features: sum(m.stored.numel() * m.stored.element_size() for m in features.maps.values()),
        )

    def __call__(self, tiles: Iterable[Tile]) -> Iterator[TileFeatures]:
        """The tiles' features, in order."""
        coming = iter(tiles)
        while group := list(islice(coming, self._together)):
            yield from self._group(group)

    def _group(self, tiles: Sequence[Tile]) -> list[TileFeatures]:
        places = [(tile.row, tile.col) for tile in tiles]
        found = {place: features for place in places if (features := self._kept.find(place)) is not None}
        missing = {place: tile for place, tile in zip(places, tiles, strict=True) if place not in found}
        if missing:
            made = zip(missing, features_of(self._extractor, missing.values()), strict=True)
            found |= {place: self._keep(place, features) for place, features in made}
        return [found[place] for place in places]

    def _keep(self, place: tuple[int, int], features: TileFeatures) -> TileFeatures:
        return self._kept.get(place, lambda: features)


class FeatureViewer:
    """Makes views of a scene's tiles.

    Args:
        features: gives tiles' features; tiling: the scene's.
        pixels: what is learned from.
        strides: of the decoder's levels.
    """

    def __init__(
        self,
        features: Features,
        tiling: Tiling,
        pixels: Pixels,
        strides: Sequence[int],
    ) -> None:
        self._of, self._tiling, self._pixels, self._strides = features, tiling, pixels, strides
        # Labelled pixels counted from the corner of a tile's core.
        margin = tiling.margin * tiling.scale
        self._rows, self._cols = pixels.rows - margin, pixels.cols - margin

    def table(self, blocks: tuple[Block, ...]) -> NDArray[np.float32]:
        """(N, F) features of some blocks at all labelled pixels."""
        out = np.zeros((len(self._rows), sum(block.dim for block in blocks)), np.float32)
        for number, features in enumerate(self._of(self._pixels.tiles)):
            own = np.flatnonzero(self._pixels.tile == number)
            out[own] = gather(features, blocks, self._rows[own], self._cols[own])
        return out

    def augmented(
        self, weight: NDArray[np.float64], seeds: Sequence[tuple[int, ...]]
    ) -> Iterator[FeatureView]:
        """Turned crops around pixels.

        Args:
            weight: (N,) how often each pixel is drawn, from `pixels.weights`; those of none are not seen.
            seeds: of each view; the same one gives the same bits.
        """
        draws = [np.random.default_rng((_DRAW, *seed)) for seed in seeds]
        picks = [int(rng.choice(len(weight), p=weight)) for rng in draws]
        for rng, pick, features in zip(draws, picks, self._at(self._pixels.tile[picks]), strict=True):
            yield self._crop(features, weight, pick, rng)

    def _crop(
        self, features: TileFeatures, weight: NDArray[np.float64], pick: int, rng: np.random.Generator
    ) -> FeatureView:
        maps, margin = self._spread(features)
        whole = self._tiling.core + 2 * margin
        unit = max(*self._strides, *(whole // x.shape[-1] for x in maps.values()))
        side, context = (whole, 0) if whole <= _SIDE else (max(_SIDE, 4 * unit), _CONTEXT)
        rows, cols = self._rows + margin, self._cols + margin
        top, left = (
            _start(int(at[pick]), side, min(context, margin), whole, unit, rng) for at in (rows, cols)
        )
        rows, cols = rows - top, cols - left
        inside = (self._pixels.tile == self._pixels.tile[pick]) & (weight > 0)
        inside &= (np.minimum(rows, cols) >= 0) & (np.maximum(rows, cols) < side)
        places = np.flatnonzero(inside)
        crop = Crop(top, left, side, side, int(rng.integers(4)), bool(rng.integers(2)))
        left_out = rng.random(len(maps)) < _LEFT_OUT
        if left_out.all():
            left_out[rng.integers(len(maps))] = False
        seen = {
            name: _cut(x, crop, whole // x.shape[-1])
            for (name, x), out in zip(maps.items(), left_out, strict=True)
            if not out
        }
        return FeatureView(seen, side, places, *turned(crop, rows[places], cols[places], side))

    def still(self, places: NDArray[np.int64]) -> Iterator[FeatureView]:
        """Every tile with some of the pixels, whole, as a map is made from it."""
        numbers = np.unique(self._pixels.tile[places])
        for number, features in zip(numbers, self._at(numbers), strict=True):
            own = places[self._pixels.tile[places] == number]
            maps, margin = self._spread(features)
            yield FeatureView(
                {name: x[None] for name, x in maps.items()},
                self._tiling.core + 2 * margin,
                own,
                self._rows[own] + margin,
                self._cols[own] + margin,
            )

    def _at(self, numbers: NDArray[np.int64]) -> Iterator[TileFeatures]:
        return self._of(self._pixels.tiles[number] for number in numbers)

    def _spread(self, features: TileFeatures) -> tuple[dict[str, Tensor], int]:
        return spread(features, self._tiling.core, self._strides)


def _start(at: int, side: int, context: int, whole: int, unit: int, rng: np.random.Generator) -> int:
    """Where a crop begins that shows pixel `at` with the context around it, on a multiple of `unit`."""
    first = max(-(-(at + 1 + context - side) // unit), 0)
    last = min((at - context) // unit, (whole - side) // unit)
    return unit * int(rng.integers(min(first, last), last + 1))


def _cut(x: Tensor, crop: Crop, stride: int) -> Tensor:
    """A map's part in a crop of compute pixels, turned: (1, C, n, n)."""
    rows, cols = (slice(at // stride, (at + crop.side) // stride) for at in (crop.row, crop.col))
    out = torch.rot90(x[:, rows, cols], crop.turns, (1, 2))
    return (out.flip(2) if crop.flip else out)[None]
