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
    rows = _shifted_sum([padded[:, shift : shift + height] for shift in range(window)])
    return _shifted_sum([rows[..., shift : shift + width] for shift in range(window)]).div_(window**2)


def _shifted_sum(parts: list[Tensor]) -> Tensor:
    """From the first to the last."""
    if len(parts) == 1:
        return parts[0].clone()
    total = parts[0] + parts[1]
    for part in parts[2:]:
        total += part
    return total


class Neighbourhoods:
    """The valid pixels of the centred square windows around all pixels.

    Args:
        valid: (H, W) bool.
        window: side in pixels, odd.
    """

    def __init__(self, valid: Tensor, window: int) -> None:
        self._valid, self._window = None if valid.all() else valid, window
        self._share = box(valid.float()[None], window).clamp_min(0.5 / window**2)

    def mean(self, values: Tensor) -> Tensor:
        """Mean of values (C, H, W) over the valid pixels of each window; 0 where there are none.

        What stands under invalid pixels never matters.
        """
        known = values if self._valid is None else values.where(self._valid, 0)
        return box(known, self._window).div_(self._share)


def local_mean(values: Tensor, valid: Tensor, window: int) -> Tensor:
    """Mean over the valid pixels of a centred square window; 0 where there are none. Arguments as of `Neighbourhoods`."""
    return Neighbourhoods(valid, window).mean(values)
