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
    # Two passes of one axis each, of shifted copies added up: several times faster than pooling on a CPU, and in the same order
    # at every pixel, so that a mean does not depend on where the map begins.
    pad, (_, height, width) = window // 2, values.shape
    padded = F.pad(values, (pad, pad, pad, pad))
    rows = padded[:, :height].clone()
    for shift in range(1, window):
        rows += padded[:, shift : shift + height]
    total = rows[..., :width].clone()
    for shift in range(1, window):
        total += rows[..., shift : shift + width]
    return total / window**2


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
