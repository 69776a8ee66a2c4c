"""The labelled pixels that a training by gradient learns from, their tiles, and how often each is drawn.

Shape legend: N labelled pixels, P polygons.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import tee

import numpy as np
from numpy.typing import NDArray

from skysense.errors import InputError
from skysense.finetune.collect import balanced
from skysense.finetune.judging import Fold, repeated_folds
from skysense.finetune.labels import LabelledPixels, PixelLabels
from skysense.jobs.control import JobControl
from skysense.pretrain.cache import BlockCache
from skysense.raster.reader import SceneReader, Stack
from skysense.raster.tiles import Tile, Tiling
from skysense.scene.sensors import Modality

#: Parts that the polygons are dealt into to judge an adapted model: each costs a training. A head in closed form, which costs
#: nothing, is judged by five.
FOLDS = 3
#: Bytes of decoded imagery that stay in memory: the tiles with labels of a usual scene.
_KEPT_BYTES = 1 << 30

#: A tile's imagery by modality, in pixels of its whole window.
Stacks = dict[Modality, Stack]


def tile_reader(
    reader: SceneReader, tiling: Tiling, modalities: tuple[Modality, ...]
) -> Callable[[Tile], Stacks]:
    """Reads tiles' imagery of some modalities, and keeps what was read last."""
    kept: BlockCache[Stacks] = BlockCache(
        _KEPT_BYTES, lambda stacks: sum(stack.values.nbytes + stack.valid.nbytes for stack in stacks.values())
    )

    def decoded(tile: Tile) -> Stacks:
        base, compute = tiling.layout.base.grid(tile.window), tiling.compute_grid(tile)
        return {m: reader.read(m, compute if m == "hr" else base) for m in modalities}

    return lambda tile: kept.get((tile.row, tile.col), lambda: decoded(tile))


@dataclass(frozen=True)
class Pixels:
    """Labelled pixels on valid imagery.

    Attributes:
        tiles: that hold them.
        tile: (N,) index of each one's tile.
        rows, cols: (N,) compute pixels, counted from the corner of the tile's whole window.
        target: (N,) 0..K-1, places in `classes`.
        polygons: (N,) numbers of the polygons.
        classes: (K,) class ids, ascending.
    """

    tiles: tuple[Tile, ...]
    tile: NDArray[np.int64]
    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    target: NDArray[np.int64]
    polygons: NDArray[np.int64]
    classes: NDArray[np.int64]

    def without(self, polygons: NDArray[np.int64]) -> NDArray[np.int64]:
        """Places (n,) of the pixels that are not of these polygons."""
        return np.flatnonzero(~np.isin(self.polygons, polygons))

    def few(self, most: int) -> NDArray[np.int64]:
        """Places (n,) of at most so many pixels of each polygon: the first ones, which were drawn at random."""
        place = np.argsort(self.polygons, kind="stable")
        starts = np.flatnonzero(np.diff(self.polygons[place], prepend=-1))
        rank = np.arange(len(place)) - np.repeat(starts, np.diff(starts, append=len(place)))
        return np.sort(place[rank < most])


def find_pixels(
    seen: Callable[[Iterable[Tile]], Iterable[NDArray[np.bool_]]],
    tiling: Tiling,
    labels: PixelLabels,
    seed: int,
    control: JobControl,
) -> Pixels:
    """Draw the labelled pixels that are seen, as many as `collect` draws for a head.

    Args:
        seen: tells (H, W) of each tile's core where the ground was seen; it may ask for tiles before it tells of them.

    Raises:
        InputError: fewer than two classes have such a pixel.
    """
    layout, margin = tiling.layout, tiling.margin * tiling.scale

    def labelled() -> Iterator[tuple[Tile, LabelledPixels]]:
        for tile in tiling.over(layout.area):
            window = tile.core.intersect(layout.area)
            if window is None or not len(labels.meeting(layout.compute.grid(window))):
                continue
            control.check()
            found, _ = labels.within(layout.compute.grid(window))
            if len(found.rows):
                yield tile, found.moved(window.row - tile.core.row, window.col - tile.core.col)

    tiles: list[Tile] = []
    parts: list[tuple[NDArray[np.int64], ...]] = []
    orders: list[NDArray[np.float64]] = []
    drawn, asked = tee(labelled())
    for (tile, found), ground in zip(drawn, seen(tile for tile, _ in asked), strict=True):
        rows, cols = found.rows, found.cols
        valid = np.flatnonzero(ground[rows, cols])
        if not len(valid):
            continue
        random = np.random.default_rng((seed, tile.row & 0xFFFFFFFF, tile.col & 0xFFFFFFFF))
        order = random.random(len(rows))[valid]
        kept = valid[places := balanced(found.ids[valid], found.polygons[valid], order)]
        index = np.full(len(kept), len(tiles))
        parts.append((index, rows[kept] + margin, cols[kept] + margin, found.ids[kept], found.polygons[kept]))
        orders.append(order[places])
        tiles.append(tile)
    classes = np.unique(np.concatenate([part[3] for part in parts])) if parts else np.zeros(0, np.int64)
    if len(classes) < 2:
        raise InputError(
            "fewer than two classes have polygons on imagery that the model sees",
            labels.labels.source,
            "Draw polygons of at least two classes inside the area",
        )
    index, rows, cols, ids, polygons = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    keep = balanced(ids, polygons, np.concatenate(orders))
    # In the order of the draw, so that the first pixels of a polygon are a sample of it.
    keep = keep[np.argsort(np.concatenate(orders)[keep], kind="stable")]
    target = np.searchsorted(classes, ids[keep])
    return Pixels(tuple(tiles), index[keep], rows[keep], cols[keep], target, polygons[keep], classes)


def seen_ground(stacks: Stacks, tiling: Tiling, modalities: tuple[Modality, ...]) -> NDArray[np.bool_]:
    """Where one of the modalities saw the ground, in compute pixels of the tile's core."""
    seen = np.zeros((tiling.side * tiling.scale,) * 2, bool)
    for modality in modalities:
        valid = stacks[modality].valid.any(axis=0)
        factor = seen.shape[0] // valid.shape[0]
        seen |= valid.repeat(factor, 0).repeat(factor, 1)
    margin = tiling.margin * tiling.scale
    return seen[margin:-margin, margin:-margin]


def weights(pixels: Pixels, places: NDArray[np.int64]) -> NDArray[np.float64]:
    """(N,) how often each pixel is drawn: every class as often as another, inside it every polygon, inside that every pixel.

    Args:
        places: of the pixels to learn from; others have 0.
    """
    weight = np.zeros(len(pixels.target))
    for k in np.unique(pixels.target[places]):
        own = places[pixels.target[places] == k]
        numbers, inverse, counts = np.unique(pixels.polygons[own], return_inverse=True, return_counts=True)
        weight[own] = 1 / (len(numbers) * counts[inverse])
    return weight / weight.sum()


def held_out_polygons(pixels: Pixels, shapes: NDArray[np.object_], gsd: float) -> list[NDArray[np.int64]]:
    """The polygons that are held out together, `FOLDS` times: blocks as in `judging.repeated_folds`, several folds joined.

    Args:
        shapes, gsd: see `judging.repeated_folds`.

    Returns:
        Empty where nothing can be judged.
    """
    dealt = repeated_folds(pixels.target, pixels.polygons, shapes, gsd)[0]
    tests = [np.unique(pixels.polygons[test]) for _, test in dealt]
    joined = [np.concatenate(tests[first::FOLDS]) for first in range(min(FOLDS, len(tests)))]
    taught = (np.unique(pixels.target[pixels.without(polygons)]) for polygons in joined)
    # Joined, two folds may hold all that there is of a rare class.
    return joined if all(len(found) == len(pixels.classes) for found in taught) else tests


def folds_of(polygons: NDArray[np.int64], held_out: list[NDArray[np.int64]]) -> list[Fold]:
    """Places of pixels to learn from and to judge, for each set of held-out polygons; `polygons` (N,) are the pixels'."""
    return [
        (np.flatnonzero(~np.isin(polygons, test)), np.flatnonzero(np.isin(polygons, test)))
        for test in held_out
    ]
