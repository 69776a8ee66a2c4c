"""What the network should say of a crop, and how far off it is.

Heat maps and focal loss: Zhou et al. 2019, Objects as Points, equation 1, and Law and Deng 2018, CornerNet. Gaussians follow the
boxes' sides and angles, and cells around a centre learn its geometry as well: Liu et al. 2020, Training-Time-Friendly Network.

Shape legend: N objects of a crop, K classes, h x w cells.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skysense.finetune.objects.boxes import Boxes
from skysense.finetune.objects.network import GEOMETRY, STRIDE

#: Standard deviation of a heat map's peak, as a share of the box's side; and in cells at least.
_PEAK, _NARROWEST = 0.54 / 6, 0.5
#: The same in cells, where objects have no size.
_POINT_PEAK = 1.0
#: Cells learn the geometry of an object where its peak is at least so high.
_LEARNS = 0.5
#: Exponents of the focal loss.
_ALPHA, _BETA = 2, 4
#: Weight of the geometry beside the heat maps.
_GEOMETRY_WEIGHT = 0.5


@dataclass(frozen=True)
class Target:
    """What a crop should give.

    Attributes:
        heat: (K, h, w), 1 at centres and falling off around them.
        geometry: (2, GEOMETRY, h, w): the two ways in which a box can be told (see `boxes`).
        weight: (h, w), of the geometry: 0 where there is none to learn.
    """

    heat: Tensor
    geometry: Tensor
    weight: Tensor


def target_of(
    boxes: Boxes, classes: NDArray[np.int64], count: int, cells: int, usual: float, sized: bool
) -> Target:
    """The target of a square crop.

    Args:
        boxes, classes: (N, 5) in pixels from the crop's corner, and (N,).
        count: K.
        cells: h = w.
        usual: see `supervision.Objects`.
    """
    heat = np.zeros((count, cells, cells), np.float32)
    geometry = np.zeros((2, GEOMETRY, cells, cells), np.float32)
    highest = np.zeros((cells, cells), np.float32)
    places = np.arange(cells) + 0.5
    for (x, y, w, h, a), k in zip(boxes.tolist(), classes.tolist()):
        cx, cy = x / STRIDE, y / STRIDE
        col, row = int(np.floor(cx)), int(np.floor(cy))
        # The peak lies on a cell's centre, so that it is 1 there.
        dx, dy = places[None, :] - (col + 0.5), places[:, None] - (row + 0.5)
        cos, sin = np.cos(a), np.sin(a)
        along, across = dx * cos + dy * sin, dy * cos - dx * sin
        sides = (max(_PEAK * side / STRIDE, _NARROWEST) if sized else _POINT_PEAK for side in (w, h))
        spread_w, spread_h = sides
        peak = np.exp(-((along / spread_w) ** 2 + (across / spread_h) ** 2) / 2).astype(np.float32)
        heat[k] = np.maximum(heat[k], peak)
        own = (peak > highest) & (peak >= _LEARNS)
        highest[own] = peak[own]
        offsets = (
            np.broadcast_to(cx - places[None, :], peak.shape),
            np.broadcast_to(cy - places[:, None], peak.shape),
        )
        for way, (first, second, turn) in enumerate(((w, h, 0.0), (h, w, np.pi))):
            geometry[way, 0][own], geometry[way, 1][own] = offsets[0][own], offsets[1][own]
            if sized:
                rest = (
                    np.log(first / usual),
                    np.log(second / usual),
                    np.cos(2 * a + turn),
                    np.sin(2 * a + turn),
                )
                for place, value in enumerate(rest, start=2):
                    geometry[way, place][own] = value
    return Target(torch.from_numpy(heat), torch.from_numpy(geometry), torch.from_numpy(highest))


def object_loss(
    heat: Tensor, geometry: Tensor, target: Target, teaches: Tensor, sized: bool
) -> tuple[Tensor, Tensor]:
    """The two parts of the loss of a batch: of the heat maps and, weighted, of the geometry.

    Args:
        heat: (B, K, h, w) logits; geometry: (B, GEOMETRY, h, w).
        target: of the batch, its tensors stacked.
        teaches: (B, h, w) bool: the other cells count for nothing.
    """
    mask = teaches[:, None].float()
    log_p, log_q = torch.nn.functional.logsigmoid(heat), torch.nn.functional.logsigmoid(-heat)
    p = heat.sigmoid()
    centre = (target.heat == 1).float()
    focal = centre * (1 - p) ** _ALPHA * log_p
    focal = focal + (1 - centre) * (1 - target.heat) ** _BETA * p**_ALPHA * log_q
    objects = (centre * mask).sum().clamp_min(1)
    weight = target.weight * teaches
    # Of a box told in two ways the network may say either.
    off = (geometry[:, None] - target.geometry).abs()
    off = off if sized else off[:, :, :2]
    geometric = (off.sum(2).amin(1) * weight).sum() / weight.sum().clamp_min(1)
    return -(focal * mask).sum() / objects, _GEOMETRY_WEIGHT * geometric
