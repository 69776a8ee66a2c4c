"""From labelled polygons and tiles to the table that a head or a probe is fitted to."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skysense.errors import InputError
from skysense.finetune.features import Block, FeatureExtractor, TileFeatures, at_pixels
from skysense.finetune.labels import LabelledPixels, LabelledPolygons, PixelLabels
from skysense.finetune.lanes import Lanes
from skysense.jobs.control import JobControl
from skysense.raster.grid import Window
from skysense.raster.layout import Layout
from skysense.raster.tiles import Tile, Tiling

if TYPE_CHECKING:
    from skysense.finetune.surroundings import Surroundings

#: Labelled pixels kept of a polygon and of a class, drawn at random: more of the same polygons teaches the head nothing new, and
#: a few large ones drown what the others tell. From all pixels to 200 a polygon, the labelled HR scenes gain 1 to 3 points of mIoU.
PIXELS_PER_POLYGON = 200
PIXELS_PER_CLASS = 1_000
#: Labelled pixels below which a class is named to the user as hardly known.
_FEW_PIXELS = 3


def collect(
    extractor: FeatureExtractor,
    tiling: Tiling,
    layout: Layout,
    labels: PixelLabels,
    source: str,
    seed: int,
    control: JobControl,
    most: tuple[int, int] = (PIXELS_PER_POLYGON, PIXELS_PER_CLASS),
    around: "Surroundings | None" = None,
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64], tuple[Block, ...]]:
    """Features of the labelled pixels, drawn at random where there are many: `collect_parts` of one part."""
    return collect_parts([(extractor, labels)], tiling, layout, source, seed, control, most, around)


def collect_parts(
    parts: Sequence[tuple[FeatureExtractor, PixelLabels]],
    tiling: Tiling,
    layout: Layout,
    source: str,
    seed: int,
    control: JobControl,
    most: tuple[int, int] = (PIXELS_PER_POLYGON, PIXELS_PER_CLASS),
    around: "Surroundings | None" = None,
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64], tuple[Block, ...]]:
    """Features of the labelled pixels, drawn at random where there are many.

    What is left out (polygons beside the imagery or on empty pixels, pixels of two classes) is told in notes. Memory does not
    grow with the area: see `balanced`.

    Args:
        parts: polygons of one layer, and the features to take for them; of the same blocks in all parts.
        source: the labels as the user knows them, for errors.
        seed: of the drawing.
        most: pixels that are drawn of a polygon and of a class.
        around: draws from each tile that holds labels.

    Returns:
        Features (N, F), class ids (N,), polygon numbers (N,), and the blocks of the columns.

    Raises:
        InputError: no labelled pixel lies on valid imagery.
    """
    whole = parts[0][1].labels
    for note in whole.notes:
        control.note(note)
    control.progress(0.01, "Finding the labelled pixels")
    wanted = {number for _, labels in parts for number in np.flatnonzero(labels.chosen).tolist()}
    area = layout.compute.grid(layout.area)
    inside = {number for _, labels in parts for number in labels.meeting(area).tolist()}
    if not inside:
        raise InputError(
            "no polygon lies inside the imagery",
            source,
            "Check the layer's CRS, or draw polygons where the imagery is",
        )
    windows = [
        (tile, window) for tile in tiling.over(layout.area) if (window := tile.core.intersect(layout.area))
    ]
    work = [
        (extractor, labels, [item for item in windows if len(labels.meeting(layout.compute.grid(item[1])))])
        for extractor, labels in parts
    ]
    begun, count = 0, sum(len(own) for _, _, own in work)
    draw = _Draw(most)
    disputes: Counter[tuple[int, int]] = Counter()
    found, seen, total = set[int](), set[int](), 0

    def labelled(
        labels: PixelLabels, windows: list[tuple[Tile, Window]]
    ) -> Iterator[tuple[Tile, LabelledPixels]]:
        nonlocal begun
        for tile, window in windows:
            control.progress(0.05 + 0.85 * begun / count, "Computing features")
            begun += 1
            pixels, clashes = labels.within(layout.compute.grid(window))
            disputes.update(clashes)
            if len(pixels.rows):
                yield tile, pixels.moved(window.row - tile.core.row, window.col - tile.core.col)

    for extractor, labels, own in work:
        with Lanes(extractor) as lanes:
            for tile, pixels, features in lanes.features(labelled(labels, own)):
                if around is not None:
                    around.add(features, extractor.blocks)
                rows, cols = pixels.rows, pixels.cols
                total += len(rows)
                found.update(np.unique(pixels.polygons).tolist())
                # Drawn by the tile's place, so that a tile's draw does not depend on which other tiles have labels.
                random = np.random.default_rng((seed, tile.row & 0xFFFFFFFF, tile.col & 0xFFFFFFFF))
                order = random.random(len(rows))
                valid = np.flatnonzero(features.valid[rows, cols])
                if not len(valid):
                    continue
                seen.update(np.unique(pixels.polygons[valid]).tolist())
                chosen = valid[balanced(pixels.ids[valid], pixels.polygons[valid], order[valid], most)]
                x = gather(features, extractor.blocks, rows[chosen], cols[chosen])
                draw.add(_Sample(x, pixels.ids[chosen], pixels.polygons[chosen], order[chosen]))
    tell_left_out(parts[0][1], sorted(wanted - inside), sorted(found - seen), disputes, control)
    sample = draw.sample()
    if sample is None:
        raise InputError(
            f"the {total} labelled pixels all lie where the imagery is empty or cloudy on {_when(whole)}"
            if total
            else f"every labelled pixel is claimed by two {'classes' if whole.names else 'values'}"
            if disputes
            else "no labelled pixel lies inside the imagery",
            source,
            "Draw polygons where the imagery is valid"
            if total
            else "Correct the polygons that overlap"
            if disputes
            else "Draw polygons where the imagery is",
        )
    few = {
        whole.names[int(k)]: n
        for k, n in zip(*np.unique(sample.ids, return_counts=True))
        if n < _FEW_PIXELS and int(k) in whole.names
    }
    if few:
        listed = ", ".join(f"{name!r} ({count})" for name, count in few.items())
        control.note(f"Few pixels are labelled of {listed}: draw more where you can.")
    return sample.x, sample.ids, sample.polygons, parts[0][0].blocks


@dataclass(frozen=True)
class _Sample:
    """Pixels: features (N, F), class ids, polygon numbers and places in the draw (N,)."""

    x: NDArray[np.float32]
    ids: NDArray[np.int64]
    polygons: NDArray[np.int64]
    order: NDArray[np.float64]


class _Draw:
    """Pixels drawn from one tile after the other.

    What has come since they were last drawn from again waits until it is more than what was kept then: to join everything at
    every tile takes time with the square of their number.

    Args:
        most: see `balanced`.
    """

    def __init__(self, most: tuple[int, int]) -> None:
        self._most = most
        self._parts: list[_Sample] = []
        self._kept, self._waiting = 0, 0  # pixels in the first part, and in all others

    def add(self, part: _Sample) -> None:
        """Take what was drawn from one more tile."""
        self._parts.append(part)
        self._waiting += len(part.ids)
        if self._waiting > self._kept:
            self._reduce()

    def sample(self) -> _Sample | None:
        """What is drawn from all tiles so far; None: there were none."""
        if len(self._parts) > 1:
            self._reduce()
        return self._parts[0] if self._parts else None

    def _reduce(self) -> None:
        x, ids, polygons, order = (
            np.concatenate([getattr(part, name) for part in self._parts])
            for name in ("x", "ids", "polygons", "order")
        )
        keep = balanced(ids, polygons, order, self._most)
        self._parts = [_Sample(x[keep], ids[keep], polygons[keep], order[keep])]
        self._kept, self._waiting = len(keep), 0


def balanced(
    ids: NDArray[np.int64],
    polygons: NDArray[np.int64],
    order: NDArray[np.float64],
    most: tuple[int, int] = (PIXELS_PER_POLYGON, PIXELS_PER_CLASS),
) -> NDArray[np.int64]:
    """Draw at most so many pixels of a polygon and of a class, as many of each polygon as can be.

    A class takes the first pixel of each of its polygons, then the second of each, until it has enough: large polygons do not
    crowd out small ones. What is not drawn from some pixels is not drawn from these and more either, so drawing tile by tile
    from what is left gives what drawing from all at once would.

    Args:
        ids, polygons: (N,) class and polygon of each pixel.
        order: (N,) random numbers: the pixels of a polygon are drawn from the smallest on.
        most: of a polygon, and of a class.

    Returns:
        Places of the drawn pixels, ascending.
    """
    by_polygon = np.lexsort((order, polygons))
    starts = np.flatnonzero(np.diff(polygons[by_polygon], prepend=-1))
    rank = np.empty(len(ids), np.int64)
    rank[by_polygon] = np.arange(len(ids)) - np.repeat(starts, np.diff(starts, append=len(ids)))
    kept = []
    for class_id in np.unique(ids):
        places = np.flatnonzero((ids == class_id) & (rank < most[0]))
        kept.append(places[np.lexsort((order[places], rank[places]))[: most[1]]])
    return np.sort(np.concatenate(kept))


def tell_left_out(
    labels: PixelLabels,
    outside: list[int],
    unseen: list[int],
    disputes: Counter[tuple[int, int]],
    control: JobControl,
) -> None:
    """Notes on polygons and pixels that were left out."""
    names = labels.labels.names
    for numbers, what in (
        (outside, "outside the imagery"),
        (unseen, f"where the imagery is empty or cloudy on {_when(labels.labels)}"),
    ):
        if numbers:
            of = Counter(names.get(int(labels.labels.ids[number]), "") for number in numbers)
            listed = ", ".join(f"{count} of {name!r}" for name, count in sorted(of.items()) if name)
            control.note(f"Polygons that lie {what} and were left out: {listed or len(numbers)}.")
    if disputes and not names:
        control.note(f"Pixels in polygons of two values at once, which were left out: {disputes.total()}.")
    elif disputes:
        listed = ", ".join(
            f"{count} of {names[one]!r} and {names[other]!r}"
            for (one, other), count in sorted(disputes.items())
        )
        control.note(f"Pixels in polygons of two classes at once, which were left out: {listed}.")


def _when(labels: LabelledPolygons) -> str:
    return "every date" if labels.dates is None else "their date"


def gather(
    features: TileFeatures, blocks: tuple[Block, ...], rows: NDArray[np.int64], cols: NDArray[np.int64]
) -> NDArray[np.float32]:
    """All blocks at compute pixels (N,) counted from the core's corner: (N, F)."""
    return gather_on(features, blocks, rows, cols, torch.device("cpu")).numpy()


def gather_on(
    features: TileFeatures,
    blocks: tuple[Block, ...],
    rows: NDArray[np.int64],
    cols: NDArray[np.int64],
    device: torch.device,
) -> Tensor:
    """`gather`, as a tensor on a device."""
    columns = []
    for block in blocks:
        feature = features.maps.get(block.name)
        if feature is None:  # the tile lacks this modality: its features are at their neutral value
            columns.append(torch.zeros(len(rows), block.dim, device=device))
        else:
            columns.append(at_pixels(feature, rows, cols).to(device))
    return torch.cat(columns, 1)
