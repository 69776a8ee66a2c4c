"""Features of whole polygons: the mean of their pixels' features.

How much these differ inside a polygon does not help: with their standard deviations beside the means the redrawn crop scenes
lose 1 to 2 points of overall accuracy.

Shape legend: N pixels of a polygon in a tile, F features of a pixel.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skysense.finetune.collect import gather
from skysense.finetune.features import Block, FeatureExtractor, TileFeatures
from skysense.finetune.labels import PixelLabels
from skysense.finetune.lanes import Lanes
from skysense.jobs.control import JobControl
from skysense.raster.layout import Layout
from skysense.raster.tiles import Tiling

#: Pixels whose features are in memory at a time.
_ROWS = 16_384


@dataclass(frozen=True)
class PolygonFeatures:
    """One polygon.

    Attributes:
        number: of the polygon.
        pixels: how many of its pixels were seen.
        values: (F,) float32, means over those pixels.
    """

    number: int
    pixels: int
    values: NDArray[np.float32]


def polygon_features(
    extractor: FeatureExtractor, tiling: Tiling, layout: Layout, labels: PixelLabels, control: JobControl
) -> Iterator[PolygonFeatures]:
    """Features of each polygon of which at least one pixel was seen, as soon as its last tile is done.

    A polygon's pixels are those that it would label by itself (see `labels.PixelLabels`), whatever else overlaps it. Memory holds
    the polygons that reach into tiles still to come, not all.

    Raises:
        Cancelled: between two tiles.
    """
    for found in features_by_tile(extractor, tiling, layout, labels, control, OpenPolygons()):
        yield from found


class OpenPolygons:
    """Sums of the polygons' pixels that were seen so far, to be kept and taken up again.

    Args:
        kept: what `arrays` gave.

    Attributes:
        tiles: how many tiles are done.
        sums: by number of a polygon that reaches into tiles still to come.
    """

    def __init__(self, kept: Mapping[str, NDArray[Any]] | None = None) -> None:
        self.tiles = 0
        self.sums: dict[int, _Sums] = defaultdict(_Sums)
        if kept:
            self.tiles = int(kept["tiles"])
            for number, pixels, total in zip(kept["numbers"], kept["pixels"], kept["totals"], strict=True):
                self.sums[int(number)] = _Sums(int(pixels), total)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that is known: "tiles" (), and of O polygons "numbers" (O,), "pixels" (O,) and "totals" (O, F) float64."""
        return {
            "tiles": np.array(self.tiles),
            "numbers": np.array(list(self.sums), np.int64),
            "pixels": np.array([item.pixels for item in self.sums.values()], np.int64),
            "totals": np.array([item.total for item in self.sums.values()], np.float64),
        }


def features_by_tile(
    extractor: FeatureExtractor,
    tiling: Tiling,
    layout: Layout,
    labels: PixelLabels,
    control: JobControl,
    so_far: OpenPolygons,
    threads: int | None = None,
) -> Iterator[list[PolygonFeatures]]:
    """The same, tile by tile: the polygons whose last tile is done.

    Args:
        so_far: of a run of the same that was cut off, or new; brought up to date before each tile is given.
        threads: see `lanes.Lanes`.

    Raises:
        Cancelled: between two tiles.
    """
    tiles = [(tile, labels.meeting(layout.compute.grid(tile.core))) for tile in tiling.over(layout.area)]
    tiles = [(tile, numbers) for tile, numbers in tiles if len(numbers)]
    last = {int(number): place for place, (_, numbers) in enumerate(tiles) for number in numbers}
    left = [(tile, place) for place, (tile, _) in enumerate(tiles)][so_far.tiles :]
    sums = so_far.sums
    with Lanes(extractor, threads) as lanes:
        for _, place, features in lanes.features(left):
            control.progress(place / len(tiles), "Computing features")
            numbers = tiles[place][1]
            _add(sums, features, extractor.blocks, layout, labels, numbers)
            ended = [number for number in numbers.tolist() if last[number] == place and number in sums]
            so_far.tiles = place + 1
            yield [sums.pop(number).features(number) for number in ended]


class _Sums:
    """Pixels and their sum (F,) so far."""

    def __init__(self, pixels: int = 0, total: NDArray[np.float64] | None = None) -> None:
        self.pixels = pixels
        self.total: NDArray[np.float64] = np.zeros(0) if total is None else total

    def add(self, x: NDArray[np.float32]) -> None:
        """Add pixels (N, F)."""
        total = x.sum(0, dtype=np.float64)
        self.total = self.total + total if self.pixels else total
        self.pixels += len(x)

    def features(self, number: int) -> PolygonFeatures:
        return PolygonFeatures(number, self.pixels, (self.total / self.pixels).astype(np.float32))


def _add(
    sums: dict[int, _Sums],
    features: TileFeatures,
    blocks: tuple[Block, ...],
    layout: Layout,
    labels: PixelLabels,
    numbers: NDArray[np.int64],
) -> None:
    tile = features.tile
    window = tile.core.intersect(layout.area)
    assert window is not None
    grid = layout.compute.grid(window)
    for number in numbers.tolist():
        rows, cols = labels.claims(number, grid)
        rows, cols = rows + window.row - tile.core.row, cols + window.col - tile.core.col
        seen = features.valid[rows, cols]
        rows, cols = rows[seen], cols[seen]
        for first in range(0, len(rows), _ROWS):
            part = slice(first, first + _ROWS)
            sums[number].add(gather(features, blocks, rows[part], cols[part]))
