"""Swin V2's window attention: cosine similarity, log-spaced continuous position bias, cyclic shift.

Shapes: B images, Y X window rows and columns of the grid, S = window side, L = S * S tokens of a window, C
channels, H heads, E head dim. Source: reference specification 1.2; Liu et al. 2022, "Swin Transformer V2",
3.2 and 3.3.
"""

import math
from collections.abc import Sequence
from functools import lru_cache, partial
from itertools import product

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from skysense.model.attention import WeightCache
from skysense.model.packed import packed_linear

#: Added to the scores of two tokens that the cyclic shift made neighbours.
SHIFT_PENALTY = -100.0


@lru_cache(maxsize=32)
def relative_position(window: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Log-spaced relative coordinates, ((2S-1)^2, 2) float32 in (y, x), and their index, (L, L) int64.

    No buffers: both follow from the window size, and a model built on the meta device has them as well.
    """
    with torch.inference_mode(False):
        span = torch.arange(-(window - 1), window, dtype=torch.float32, device=device)
        table = torch.stack(torch.meshgrid(span, span, indexing="ij"), -1).flatten(0, 1)
        table = (
            table / max(window - 1, 1) * 8
        )  # in this order, as other roundings of float32 give other weights
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
        self.heads, self.window = heads, window
        self.logit_scale = nn.Parameter(torch.full((heads, 1, 1), math.log(10.0)))
        self.q_bias = nn.Parameter(torch.zeros(dim))
        self.v_bias = nn.Parameter(torch.zeros(dim))
        self.cpb_mlp = nn.Sequential(
            nn.Linear(2, 512), nn.ReLU(inplace=True), nn.Linear(512, heads, bias=False)
        )
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.proj = nn.Linear(dim, dim)
        self._masks, self._padded = WeightCache(), WeightCache()
        self._packed_qkv, self._packed_out = WeightCache(), WeightCache()

    def train(self, mode: bool = True) -> "WindowAttention":
        for cache in (self._masks, self._padded, self._packed_qkv, self._packed_out):
            cache.reset(keep=not mode)
        return super().train(mode)

    def _position_bias(self) -> Tensor:
        """(H, L, L), within 0..16."""
        table, index = relative_position(self.window, self.logit_scale.device)
        values: Tensor = self.cpb_mlp(table.to(self.logit_scale.dtype))
        return (16 * torch.sigmoid(values[index])).permute(2, 0, 1).contiguous()

    def forward(self, x_BYXLC: Tensor, shift: int) -> Tensor:
        """The plain twin, as the official code computes: bias and shift mask made anew, scores spelled out.

        Windows (B, Y, X, L, C) of an image already rolled by `shift`, in and out.
        """
        batch, rows, cols, length, dim = x_BYXLC.shape
        x_NLC = x_BYXLC.flatten(0, 2)
        bias_qkv = torch.cat((self.q_bias, torch.zeros_like(self.v_bias), self.v_bias))
        qkv = F.linear(x_NLC, self.qkv.weight, bias_qkv).reshape(len(x_NLC), length, 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        scores = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)
        scores = scores * self.logit_scale.clamp(max=math.log(100.0)).exp()
        scores = scores + self._position_bias()
        if shift:
            zones = scores.new_zeros(rows * self.window, cols * self.window)
            edges = (slice(0, -self.window), slice(-self.window, -shift), slice(-shift, None))
            for number, (down, right) in enumerate(product(edges, edges)):
                zones[down, right] = number
            zones = rearrange(zones, "(y i) (x j) -> (y x) (i j)", i=self.window, j=self.window)
            penalty = (zones[:, None, :] != zones[:, :, None]).to(scores.dtype) * SHIFT_PENALTY
            scores = (scores.unflatten(0, (batch, -1)) + penalty[:, None]).flatten(0, 1)
        x_NLC = (scores.softmax(-1) @ v).transpose(1, 2).reshape(len(x_NLC), length, dim)
        out: Tensor = self.proj(x_NLC)
        return out.unflatten(0, (batch, rows, cols))

    def attend_ordered(
        self, x_NLC: Tensor, kinds: Sequence[tuple[tuple[bool, bool], int, int]], shift: int
    ) -> Tensor:
        """The fast twin: windows (N, L, C) in the order of `swin_windows`, one fused call per kind of window."""
        (weight, bias_qkv, weight_out), masks = self.kept(shift)
        qkv = packed_linear(x_NLC, weight, bias_qkv, self._packed_qkv).unflatten(-1, (3, self.heads, -1))
        qk = F.normalize(qkv[:, :, :2], dim=-1)
        scale = self.logit_scale.clamp(max=math.log(100.0)).exp()
        q, k, v = (
            (qk[:, :, 0] * scale[:, 0]).transpose(1, 2),
            qk[:, :, 1].transpose(1, 2),
            qkv[:, :, 2].transpose(1, 2),
        )
        parts = [
            F.scaled_dot_product_attention(
                q[first:stop], k[first:stop], v[first:stop], attn_mask=masks[kind][None], scale=1.0
            ).transpose(1, 2)
            for kind, first, stop in kinds
        ]
        attended = parts[0] if len(parts) == 1 else torch.cat(parts)
        return packed_linear(attended.flatten(2), weight_out, self.proj.bias, self._packed_out)

    def kept(self, shift: int) -> tuple[tuple[Tensor, Tensor, Tensor], dict[tuple[bool, bool], Tensor]]:
        """What the fast twin makes of weights only, and keeps: see `_pad_heads` and `_kind_masks`."""
        padded: tuple[Tensor, Tensor, Tensor] = self._padded.get(
            [self.qkv.weight, self.q_bias, self.v_bias, self.proj.weight], self._pad_heads
        )
        masks: dict[tuple[bool, bool], Tensor] = self._masks.get(
            list(self.cpb_mlp.parameters()), partial(self._kind_masks, shift), extra=shift
        )
        return padded, masks

    def _kind_masks(self, shift: int) -> dict[tuple[bool, bool], Tensor]:
        """Position bias plus shift penalty (H, L, L) for each kind of window."""
        bias = self._position_bias()
        if not shift:
            return {(False, False): bias}
        return {
            kind: bias + shift_penalty(self.window, shift, *kind, bias.device).to(bias.dtype)
            for kind in product((False, True), (False, True))
        }

    def _pad_heads(self) -> tuple[Tensor, Tensor, Tensor]:
        """qkv weight and bias, and output weight, with zeros up to a head dim that fused kernels take on a GPU."""
        weight, out = self.qkv.weight, self.proj.weight
        bias = torch.cat((self.q_bias, torch.zeros_like(self.v_bias), self.v_bias))
        head_dim = self.q_bias.numel() // self.heads
        if head_dim % 8 == 0 or weight.device.type == "cpu":
            return weight, bias, out
        more = -head_dim % 8
        weight = F.pad(weight.unflatten(0, (-1, head_dim)), (0, 0, 0, more)).flatten(0, 1)
        bias = F.pad(bias.unflatten(0, (-1, head_dim)), (0, more)).flatten()
        return weight, bias, F.pad(out.unflatten(1, (-1, head_dim)), (0, more)).flatten(1)
