"""From a tile's heat maps to objects: peaks, and what is known at each."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from skysense.finetune.objects.boxes import Boxes, surest
from skysense.finetune.objects.network import STRIDE, ObjectNet
from skysense.finetune.objects.views import View

#: Objects of a tile, the surest of them, that are looked at.
_MOST = 2_000
#: Pixels around a core in which objects are taken as well: two tiles may put a centre a little apart, and neither in its own core.
_SEAM = 8


@dataclass(frozen=True)
class Found:
    """Objects.

    Attributes:
        boxes: (N, 5) in pixels of the lattice, y downwards; sides of 0 where objects have no size.
        classes: (N,) places of their classes.
        scores: (N,) 0..1.
    """

    boxes: Boxes
    classes: NDArray[np.int64]
    scores: NDArray[np.float64]

    def take(self, which: NDArray[np.int64] | NDArray[np.bool_]) -> "Found":
        """Some of them."""
        return Found(self.boxes[which], self.classes[which], self.scores[which])

    @classmethod
    def joined(cls, parts: list["Found"]) -> "Found":
        """All of several."""
        none = cls(np.zeros((0, 5)), np.zeros(0, np.int64), np.zeros(0))
        parts = [none, *parts]
        return cls(
            np.concatenate([p.boxes for p in parts]),
            np.concatenate([p.classes for p in parts]),
            np.concatenate([p.scores for p in parts]),
        )

    def surest(self, reach: float | None) -> "Found":
        """Each object once, from the top down and from left to right; see `boxes.surest`."""
        kept = self.take(surest(self.boxes, self.scores, reach))
        return kept.take(np.lexsort((kept.classes, kept.boxes[:, 0], kept.boxes[:, 1])))


@torch.inference_mode()
def detect(net: ObjectNet, view: View, least: float, usual: float, sized: bool) -> Found:
    """The objects of a tile whose centre lies in its core or at its edge, before of those that show the same only the surest stays.

    Args:
        net: in evaluation mode, on the view's device.
        least: score from which a peak is an object.
        usual: see `supervision.Objects`.
    """
    heat, geometry = net(view.bands[None], view.valid[None], [values[None] for values in view.features])
    score = heat[0].sigmoid()
    peak = F.max_pool2d(score[None], 3, 1, 1)[0]
    best, kind = torch.where(score == peak, score, 0).max(0)
    seen = F.avg_pool2d(view.valid[None].float(), STRIDE)[0] >= 0.5
    rows, cols = torch.nonzero((best >= least) & seen, as_tuple=True)
    scores = best[rows, cols].double().cpu().numpy()
    values = geometry[0][:, rows, cols].double().cpu().numpy()
    kinds, row, col = (t.cpu().numpy() for t in (kind[rows, cols], rows, cols))
    window, core = view.tile.window, view.tile.core
    boxes = np.zeros((len(scores), 5))
    boxes[:, 0] = window.col + STRIDE * (col + 0.5 + values[0])
    boxes[:, 1] = window.row + STRIDE * (row + 0.5 + values[1])
    if sized:
        boxes[:, 2:4] = usual * np.exp(values[2:4].clip(-5, 5)).T
        boxes[:, 4] = np.arctan2(values[5], values[4]) / 2
    core = core.grow(_SEAM)
    inside = (
        (boxes[:, 0] >= core.col)
        & (boxes[:, 0] < core.col + core.width)
        & (boxes[:, 1] >= core.row)
        & (boxes[:, 1] < core.row + core.height)
    )
    found = Found(boxes, kinds, scores).take(inside)
    return found.take(np.lexsort((found.boxes[:, 0], found.boxes[:, 1], -found.scores))[:_MOST])
