"""Which token goes into which window: one gather in, one gather out, whatever the shift and the padding.

Shapes: B images, H W rows and columns of the token grid, S window side, L = S * S tokens of a window, Y X window rows
and columns, N = Y * X windows.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor


@dataclass(frozen=True)
class WindowOrder:
    """An order of all tokens by window, windows of a kind side by side.

    Attributes:
        order: (N * B * L,) int64: for each place in window order (window, image, token), its row among the tokens of
            the padded images, (B * Hpad * Wpad) row-major.
        inverse: (B * H * W,) int64: for each token of the images, without padding, its place in window order.
        kinds: ((last_row, last_col), first, stop): runs of places // L, one per kind of window. Only the windows of
            the last row and column hold tokens that a cyclic shift made neighbours; unshifted, all are alike.
    """

    order: Tensor
    inverse: Tensor
    kinds: tuple[tuple[tuple[bool, bool], int, int], ...]


@torch.compiler.assume_constant_result  # a compiled block would otherwise make it anew at each call
def window_order(
    batch: int, height: int, width: int, window: int, shift: int, device: torch.device
) -> WindowOrder:
    """The order for images of height x width tokens, padded to whole windows and rolled up and left by `shift`."""
    return _window_order(batch, height, width, window, shift, device)


@lru_cache(maxsize=32)
def _window_order(
    batch: int, height: int, width: int, window: int, shift: int, device: torch.device
) -> WindowOrder:
    with torch.inference_mode(False):
        rows, cols = -(-height // window), -(-width // window)
        token = torch.arange(batch * rows * cols * window**2).view(batch, rows * window, cols * window)
        token = token.roll((-shift, -shift), (1, 2))
        token = token.view(batch, rows, window, cols, window).permute(1, 3, 0, 2, 4)  # y x b i j
        parts, kinds, start = [], [], 0
        for last_row, down in _inner_and_last(rows, shift):
            for last_col, right in _inner_and_last(cols, shift):
                part = token[down, right].reshape(-1)
                stop = start + len(part) // window**2
                parts.append(part)
                kinds.append(((last_row, last_col), start, stop))
                start = stop
        order = torch.cat(parts)
        inverse = torch.empty_like(order)
        inverse[order] = torch.arange(len(order))
        inverse = inverse.view(batch, rows * window, cols * window)[:, :height, :width].reshape(-1)
        return WindowOrder(order.to(device), inverse.to(device), tuple(kinds))


def _inner_and_last(count: int, shift: int) -> list[tuple[bool, slice]]:
    """(is it the last, which) for the windows along an axis; no inner part where there is none."""
    if not shift:
        return [(False, slice(None))]
    last = (True, slice(count - 1, count))
    return [(False, slice(0, count - 1)), last] if count > 1 else [last]
