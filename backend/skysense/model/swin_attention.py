"""Swin V2's window attention: cosine similarity, log-spaced continuous position bias, cyclic shift.

Shapes: B images, Y X window rows and columns of the grid, S = window side, L = S * S tokens of a window, C
channels, H heads, E head dim. Source: reference specification 1.2; Liu et al. 2022, "Swin Transformer V2",
3.2 and 3.3.
"""

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skysense.model.attention import WeightCache, attend

#: Added to the scores of two tokens that the cyclic shift made neighbours.
SHIFT_PENALTY = -100.0


@lru_cache(maxsize=32)
def relative_position(window: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Log-spaced relative coordinates, ((2S-1)^2, 2) float32 in (y, x), and their index, (L, L) int64.

    No buffers: both follow from the window size, and a model built on the meta device has them as well.
    """
    with torch.inference_mode(False):
        span = torch.arange(-(window - 1), window, dtype=torch.float32, device=device)
        table = torch.stack(torch.meshgrid(span, span, indexing="ij"), -1).flatten(0, 1) * (
            8 / max(window - 1, 1)
        )
        table = torch.sign(table) * torch.log2(table.abs() + 1.0) / math.log2(8)
        rows, cols = torch.meshgrid(*2 * [torch.arange(window, device=device)], indexing="ij")
        dy = rows.flatten()[:, None] - rows.flatten()[None, :] + window - 1
        dx = cols.flatten()[:, None] - cols.flatten()[None, :] + window - 1
        return table, dy * (2 * window - 1) + dx


@lru_cache(maxsize=32)
def shift_penalty(window: int, shift: int, last_row: bool, last_col: bool, device: torch.device) -> Tensor:
    """(L, L) float32: 0, or `SHIFT_PENALTY` between tokens from opposite edges of the image.

    After the cyclic shift only the windows of the last row and of the last column hold such pairs.
    """
    with torch.inference_mode(False):
        wrapped = (torch.arange(window, device=device) >= window - shift).int()
        zone = wrapped[:, None] * (2 * int(last_row)) + wrapped[None, :] * int(last_col)
        zone = zone.flatten()
        return (zone[:, None] != zone[None, :]).float() * SHIFT_PENALTY


class WindowAttention(nn.Module):
    """Cosine attention inside windows, with the bias of a small MLP over log-spaced offsets."""

    def __init__(self, dim: int, heads: int, window: int) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"dim {dim} is not divisible by {heads} heads")
        self.heads, self.window, self.fast = heads, window, True
        self.logit_scale = nn.Parameter(torch.full((heads, 1, 1), math.log(10.0)))
        self.q_bias = nn.Parameter(torch.zeros(dim))
        self.v_bias = nn.Parameter(torch.zeros(dim))
        self.cpb_mlp = nn.Sequential(
            nn.Linear(2, 512), nn.ReLU(inplace=True), nn.Linear(512, heads, bias=False)
        )
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.proj = nn.Linear(dim, dim)
        self._bias = WeightCache()

    def train(self, mode: bool = True) -> "WindowAttention":
        self._bias.clear()
        return super().train(mode)

    def position_bias(self) -> Tensor:
        """(H, L, L), within 0..16; computed once per weights while gradients are off."""
        bias: Tensor = self._bias.get(list(self.cpb_mlp.parameters()), self._position_bias)
        return bias

    def _position_bias(self) -> Tensor:
        table, index = relative_position(self.window, self.logit_scale.device)
        values: Tensor = self.cpb_mlp(table.to(self.logit_scale.dtype))
        return (16 * torch.sigmoid(values[index])).permute(2, 0, 1).contiguous()

    def forward(self, x_BYXLC: Tensor, shift: int) -> Tensor:
        """Windows (B, Y, X, L, C) of an image already rolled by `shift`, in and out."""
        bias_qkv = torch.cat((self.q_bias, torch.zeros_like(self.v_bias), self.v_bias))
        qkv = F.linear(x_BYXLC, self.qkv.weight, bias_qkv).unflatten(-1, (3, self.heads, -1))
        q, k, v = qkv.permute(4, 0, 1, 2, 5, 3, 6)  # each (B, Y, X, H, L, E)
        scale = self.logit_scale.clamp(max=math.log(100.0)).exp()
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        attend_windows = self._attend_fast if self.fast else self._attend_plain
        out: Tensor = self.proj(attend_windows(q * scale, k, v, shift).transpose(3, 4).flatten(-2))
        return out

    def _attend_plain(self, q: Tensor, k: Tensor, v: Tensor, shift: int) -> Tensor:
        rows, cols = q.shape[1:3]
        penalty = q.new_zeros(rows, cols, 1, q.shape[-2], q.shape[-2])
        if shift:
            for y in range(rows):
                for x in range(cols):
                    penalty[y, x, 0] = shift_penalty(
                        self.window, shift, y == rows - 1, x == cols - 1, q.device
                    )
        return attend(q, k, v, self.position_bias() + penalty, scale=1.0, fast=False)

    def _attend_fast(self, q: Tensor, k: Tensor, v: Tensor, shift: int) -> Tensor:
        """One fused call per kind of window: all alike unshifted; inner, right, bottom and corner shifted."""
        head_dim = q.shape[-1]
        if head_dim % 8:  # fused kernels want multiples of 8; zeros change neither products nor results
            q, k, v = (F.pad(t, (0, -head_dim % 8)) for t in (q, k, v))
        bias = self.position_bias()

        def attend_alike(rows: slice, cols: slice, mask: Tensor) -> Tensor:
            part = [t[:, rows, cols] for t in (q, k, v)]
            flat_q, flat_k, flat_v = (t.flatten(0, 2) for t in part)
            return attend(flat_q, flat_k, flat_v, mask[None], scale=1.0).unflatten(0, part[0].shape[:3])

        if not shift:
            return attend_alike(slice(None), slice(None), bias)[..., :head_dim]
        bands = []
        for last_row, rows in _inner_and_last(q.shape[1]):
            parts = []
            for last_col, cols in _inner_and_last(q.shape[2]):
                penalty = shift_penalty(self.window, shift, last_row, last_col, q.device)
                parts.append(attend_alike(rows, cols, bias + penalty.to(bias.dtype)))
            bands.append(torch.cat(parts, 2))
        return torch.cat(bands, 1)[..., :head_dim]


def _inner_and_last(count: int) -> list[tuple[bool, slice]]:
    """(is it the last, which) for the windows along an axis; no inner part where there is none."""
    last = (True, slice(count - 1, count))
    return [(False, slice(0, count - 1)), last] if count > 1 else [last]
