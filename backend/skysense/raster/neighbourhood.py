"""Means over a pixel's neighbourhood, of what is valid there.

Shape legend: C values, H x W pixels.
"""

import torch.nn.functional as F
from torch import Tensor


def box(values: Tensor, window: int) -> Tensor:
    """Mean over a centred square window; outside the map counts as 0.

    Args:
        values: (C, H, W).
        window: side in pixels, odd.
    """
    # Two passes of one axis each: the same sum, window / 2 times fewer additions.
    pad = window // 2
    rows = F.avg_pool2d(values[None], (window, 1), 1, (pad, 0), count_include_pad=True)
    return F.avg_pool2d(rows, (1, window), 1, (0, pad), count_include_pad=True)[0]


def local_mean(values: Tensor, valid: Tensor, window: int) -> Tensor:
    """Mean over the valid pixels of a centred square window; 0 where there are none.

    Args:
        values: (C, H, W); what stands under invalid pixels never matters.
        valid: (H, W) bool.
        window: side in pixels, odd.
    """
    weight = valid.to(values)[None]
    share = box(weight, window)
    return box(values.where(valid, 0), window) / share.clamp_min(0.5 / window**2)
