"""Crops that the network learns from: around objects and on background, turned, mirrored, and brighter or darker.

Shape legend: S pixels of a crop's side, B crops.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skysense.finetune.objects.boxes import Boxes
from skysense.finetune.objects.loss import Target, target_of
from skysense.finetune.objects.network import COARSEST, STRIDE
from skysense.finetune.objects.supervision import Objects, Supervision
from skysense.finetune.objects.views import View
from skysense.raster.grid import Window

#: S.
SIDE = 128
#: Share of the crops that lie on any ground that teaches, and not around an object.
_ANYWHERE = 0.25
#: The light of a crop is as many times as strong, all bands together and each for itself.
_GAIN, _BAND_GAIN = 1.3, 1.08


@dataclass(frozen=True)
class Material:
    """The tiles that are learned from.

    Attributes:
        objects: what is drawn.
        views: the tiles; cells: of each which cells teach (see `Supervision.cells`).
        inside: of each tile the numbers of the objects whose centre is in its window, and held: in its core.
    """

    objects: Objects
    views: list[View]
    cells: list[NDArray[np.int8]]
    inside: list[NDArray[np.int64]]
    held: list[NDArray[np.int64]]

    @property
    def numbers(self) -> NDArray[np.int64]:
        """The objects on imagery, ascending."""
        return np.sort(np.concatenate([np.zeros(0, np.int64), *self.held]))


def material_of(objects: Objects, supervision: Supervision, views: Sequence[View]) -> Material:
    """What the tiles teach; cells that were not seen teach nothing, and objects whose centre was not seen are left out."""
    cells, inside, held = [], [], []
    for view in views:
        own = supervision.cells(view.tile.window)
        valid = view.valid.cpu().numpy().reshape(own.shape[0], STRIDE, own.shape[1], STRIDE)
        own[valid.mean(axis=(1, 3)) < 0.5] = -1
        cells.append(own)
        there = _within(objects.boxes, view.tile.window)
        place = objects.boxes[there, :2] - (view.tile.window.col, view.tile.window.row)
        at = (place // STRIDE).astype(np.int64)
        there = there[own[at[:, 1], at[:, 0]] >= 0]
        inside.append(there)
        held.append(np.intersect1d(there, _within(objects.boxes, view.tile.core)))
    return Material(objects, list(views), cells, inside, held)


def _within(boxes: Boxes, window: Window) -> NDArray[np.int64]:
    x, y = boxes[:, 0] - window.col, boxes[:, 1] - window.row
    return np.flatnonzero((x >= 0) & (x < window.width) & (y >= 0) & (y < window.height))


@dataclass(frozen=True)
class Batch:
    """B crops: bands (B, C, S, S), valid (B, S, S) bool, features (B, dim, ., .) each, target, teaches (B, S/4, S/4) bool."""

    bands: Tensor
    valid: Tensor
    features: list[Tensor]
    target: Target
    teaches: Tensor


class CropDrawer:
    """Draws batches.

    Args:
        material: the tiles.
        count: classes.
        held_out: the fold that is not to be learned from; None: all is.
        random: where from.
    """

    def __init__(
        self, material: Material, count: int, held_out: int | None, random: np.random.Generator
    ) -> None:
        self._material, self._count, self._random = material, count, random
        self._teaches = [(cells >= 0) & (cells != held_out) for cells in material.cells]
        folds = material.objects.folds
        self._centres = [
            (tile, number)
            for tile, held in enumerate(material.held)
            for number in held.tolist()
            if folds[number] != held_out
        ]
        self._ground = np.cumsum([teaches.sum() for teaches in self._teaches])

    def batch(self, size: int) -> Batch:
        """Draw one."""
        crops = [self._crop() for _ in range(size)]
        targets = [crop[3] for crop in crops]
        return Batch(
            torch.stack([crop[0] for crop in crops]),
            torch.stack([crop[1] for crop in crops]),
            [torch.stack(values) for values in zip(*(crop[2] for crop in crops))],
            Target(
                torch.stack([t.heat for t in targets]),
                torch.stack([t.geometry for t in targets]),
                torch.stack([t.weight for t in targets]),
            ),
            torch.stack([crop[4] for crop in crops]),
        )

    def _place(self) -> tuple[int, float, float]:
        """A tile, and the pixel of its window (x, y) around which to cut."""
        random, material = self._random, self._material
        if random.random() >= _ANYWHERE:
            tile, number = self._centres[random.integers(len(self._centres))]
            window = material.views[tile].tile.window
            x, y = material.objects.boxes[number, :2] - (window.col, window.row)
            shift = random.uniform(-SIDE / 3, SIDE / 3, 2)
            return tile, x + shift[0], y + shift[1]
        tile = int(np.searchsorted(self._ground, random.integers(self._ground[-1]), side="right"))
        rows, cols = np.nonzero(self._teaches[tile])
        pick = random.integers(len(rows))
        return tile, STRIDE * (cols[pick] + 0.5), STRIDE * (rows[pick] + 0.5)

    def _crop(self) -> tuple[Tensor, Tensor, list[Tensor], Target, Tensor]:
        random, material = self._random, self._material
        tile, x, y = self._place()
        view = material.views[tile]
        step = COARSEST if view.features else STRIDE
        height, width = view.valid.shape
        left = int(np.clip(round((x - SIDE / 2) / step) * step, 0, width - SIDE))
        top = int(np.clip(round((y - SIDE / 2) / step) * step, 0, height - SIDE))
        turns, mirrored = int(random.integers(4)), bool(random.integers(2))
        gain = _GAIN ** random.uniform(-1, 1) * _BAND_GAIN ** random.uniform(-1, 1, len(view.bands))

        def cut(values: Tensor, stride: int = 1) -> Tensor:
            part = values[
                ..., top // stride : (top + SIDE) // stride, left // stride : (left + SIDE) // stride
            ]
            part = torch.rot90(part, turns, (-2, -1))
            return part.flip(-1) if mirrored else part

        bands = cut(view.bands) * torch.from_numpy(gain).to(view.bands)[:, None, None]
        features = [cut(values, width // values.shape[-1]) for values in view.features]
        inside = material.inside[tile]
        corner = (view.tile.window.col + left, view.tile.window.row + top)
        boxes = turned(material.objects.boxes[inside], corner, turns, mirrored)
        kept = ((boxes[:, :2] >= 0) & (boxes[:, :2] < SIDE)).all(1)
        target = target_of(
            boxes[kept],
            material.objects.classes[inside][kept],
            self._count,
            SIDE // STRIDE,
            material.objects.usual,
            material.objects.sized,
        )
        teaches = cut(torch.from_numpy(self._teaches[tile]), STRIDE)
        return bands, cut(view.valid), features, target, teaches


def turned(boxes: Boxes, corner: tuple[float, float], turns: int, mirrored: bool) -> Boxes:
    """Boxes of the lattice as they lie in a crop of `SIDE` pixels that is turned anticlockwise by quarters, then mirrored."""
    boxes = boxes.copy()
    boxes[:, :2] -= corner
    for _ in range(turns):
        boxes[:, 0], boxes[:, 1] = boxes[:, 1].copy(), SIDE - boxes[:, 0]
        boxes[:, 4] -= np.pi / 2
    if mirrored:
        boxes[:, 0] = SIDE - boxes[:, 0]
        boxes[:, 4] = -boxes[:, 4]
    return boxes
