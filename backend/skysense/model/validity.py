"""What counts as valid, and how invalid pixels are kept from mattering.

Shapes: leading axes are free; H W pixel rows and columns.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def fill_invalid(x: Tensor, valid: Tensor | None, fill: Tensor | float = 0.0) -> Tensor:
    """x (..., C, H, W) with `fill` (a number, or per channel (C,)) wherever `valid` (..., H, W) is False."""
    if valid is None or bool(valid.all()):
        return x
    value = torch.as_tensor(fill, dtype=x.dtype, device=x.device).reshape(-1, 1, 1)
    return torch.where(valid.unsqueeze(-3), x, value)


def block_valid(valid: Tensor, block: int) -> Tensor:
    """(..., H, W) bool pixels -> (..., ceil H/block, ceil W/block) bool blocks.

    A block is valid from half of its pixels; at the right and lower edge only pixels inside the image are
    counted.
    """
    height, width = valid.shape[-2:]
    pad = (0, -width % block, 0, -height % block)

    def block_sum(x: Tensor) -> Tensor:
        x = F.pad(x, pad).unflatten(-2, (-1, block)).unflatten(-1, (-1, block))
        return x.sum(-1, dtype=torch.int32).sum(-2, dtype=torch.int32)

    inside = torch.ones(height, width, dtype=torch.bool, device=valid.device)
    # (..., H/b, b, W/b, b): the inner sums leave (..., H/b, W/b)
    return 2 * block_sum(valid) >= block_sum(inside)
