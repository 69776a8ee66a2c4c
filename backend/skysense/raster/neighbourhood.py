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
    return total.div_(window**2)


class Neighbourhoods:
    """The valid pixels of the centred square windows around all pixels.

    Args:
        valid: (H, W) bool.
        window: side in pixels, odd.
    """

    def __init__(self, valid: Tensor, window: int) -> None:
        self._valid, self._window = valid, window
        self._share = box(valid.float()[None], window).clamp_min(0.5 / window**2)

    def mean(self, values: Tensor) -> Tensor:
        """Mean of values (C, H, W) over the valid pixels of each window; 0 where there are none.

        What stands under invalid pixels never matters.
        """
        return box(values.where(self._valid, 0), self._window).div_(self._share)


def local_mean(values: Tensor, valid: Tensor, window: int) -> Tensor:
    """Mean over the valid pixels of a centred square window; 0 where there are none. Arguments as of `Neighbourhoods`."""
    return Neighbourhoods(valid, window).mean(values)
