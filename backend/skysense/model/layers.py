"""Blocks that the ViT and the fusion transformer share, under the released key names.

Shapes: N batch, L tokens, D model dim, H heads, E head dim.
Source: reference specification 1.2 to 1.5 (pre-norm layer, MHA with in_proj bias, drop path on the FFN only).
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skysense.model.attention import WeightCache, attend, autocasts
from skysense.model.packed import packed_linear

#: LayerNorm epsilon where nothing else is said.
EPS = 1e-5
#: Rows of a feed-forward block on a CPU.
_ROWS = 1024


class DropPath(nn.Module):
    """Drops a residual branch per sample while training, and scales what stays by 1 / (1 - rate)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0.0:
            return x
        keep = 1.0 - self.rate
        kept = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(keep)
        return x * kept / keep


class FeedForward(nn.Module):
    """Linear, exact GELU, Linear; keys `layers.0.0.*` and `layers.1.*`. The caller adds the residual.

    The fast path on a CPU goes by blocks of rows, so that what lies between the two maps stays in the cache, and keeps packed
    copies of the weights.
    """

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fast = True
        self.layers = nn.Sequential(nn.Sequential(nn.Linear(dim, hidden), nn.GELU()), nn.Linear(hidden, dim))
        self._caches = (WeightCache(), WeightCache())

    def train(self, mode: bool = True) -> "FeedForward":
        for cache in self._caches:
            cache.reset(keep=not mode)
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        if not (self.fast and cpu_inference(x)):
            out: Tensor = self.layers(x)
            return out
        blocks = [self._block(rows) for rows in x.flatten(0, -2).split(_ROWS)]
        return (blocks[0] if len(blocks) == 1 else torch.cat(blocks)).view_as(x)

    def add_to(self, x: Tensor, norm: nn.Module) -> None:
        """x + FFN(norm(x)), written into x (..., D), which must be contiguous; on a CPU, without gradients."""
        for rows in x.view(-1, x.shape[-1]).split(_ROWS):
            rows.copy_(self._block(norm(rows), rows))

    def _block(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        first = cast(nn.Linear, cast(nn.Sequential, self.layers[0])[0])
        second = cast(nn.Linear, self.layers[1])
        hidden = packed_linear(x, first.weight, first.bias, self._caches[0], "gelu")
        return packed_linear(hidden, second.weight, second.bias, self._caches[1], residual=residual)


class SelfAttention(nn.Module):
    """Multi-head self-attention with the parameters of `nn.MultiheadAttention`."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"dim {dim} is not divisible by {heads} heads")
        self.heads = heads
        self.fast = True
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)
        self._parts, self._out = tuple(WeightCache() for _ in range(3)), WeightCache()
        nn.init.trunc_normal_(self.in_proj_weight, std=0.02)

    def train(self, mode: bool = True) -> "SelfAttention":
        for cache in (*self._parts, self._out):
            cache.reset(keep=not mode)
        return super().train(mode)

    def forward(self, x_NLD: Tensor, mask: Tensor | None = None, queries: int | None = None) -> Tensor:
        """(N, L, D) -> (N, queries or L, D).

        Args:
            mask: see `attend`.
            queries: only the first `queries` tokens ask (all tokens remain keys).
        """
        if not self.fast:
            assert queries is None
            return self._official(x_NLD, mask)
        dim = x_NLD.shape[-1]
        if not self.training and cpu_inference(x_NLD):
            asking = x_NLD if queries is None else x_NLD[:, :queries].contiguous()
            q, k, v = (
                part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
                for part in self._projected(asking, x_NLD, x_NLD)
            )
            return self.projected_out(attend(q, k, v, mask).transpose(1, 2).flatten(2))
        if queries is None:
            qkv = F.linear(x_NLD, self.in_proj_weight, self.in_proj_bias).unflatten(-1, (3, self.heads, -1))
            q, k, v = qkv.permute(2, 0, 3, 1, 4)
        else:
            weight_q, weight_kv = self.in_proj_weight.split((dim, 2 * dim))
            bias_q, bias_kv = self.in_proj_bias.split((dim, 2 * dim))
            # Contiguous, because torch rounds a strided input differently depending on requires_grad.
            q = (
                F.linear(x_NLD[:, :queries].contiguous(), weight_q, bias_q)
                .unflatten(-1, (self.heads, -1))
                .transpose(1, 2)
            )
            k, v = (
                F.linear(x_NLD, weight_kv, bias_kv).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
            )
        out: Tensor = self.out_proj(attend(q, k, v, mask).transpose(1, 2).flatten(2))
        return out

    def short(self, x_LND: Tensor, mask: Tensor | None) -> Tensor:
        """Fast for few tokens on a CPU: (L, N, D) -> (L * N, D), before the output projection.

        With the sequence in front, the heads of all locations are one batch that needs no copy.
        """
        length, batch, dim = x_LND.shape
        q, k, v = (
            part.view(length, batch * self.heads, -1).transpose(0, 1)
            for part in self._projected(x_LND, x_LND, x_LND)
        )
        scores = torch.baddbmm(q.new_empty(()), q, k.mT, beta=0, alpha=q.shape[-1] ** -0.5)
        if mask is not None:
            scores.unflatten(0, (batch, -1)).masked_fill_(~mask, float("-inf"))
        return (scores.softmax(-1) @ v).transpose(0, 1).reshape(-1, dim)

    def projected_out(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """What the heads found, (..., D), through the output projection, on a CPU; with `residual` (..., D) added."""
        return packed_linear(x, self.out_proj.weight, self.out_proj.bias, self._out, residual=residual)

    def _projected(self, *of: Tensor) -> list[Tensor]:
        """Queries, keys and values of three tensors (..., D), on a CPU."""
        dim = self.out_proj.in_features
        return [
            packed_linear(
                x, self.in_proj_weight, self.in_proj_bias, cache, part=slice(i * dim, (i + 1) * dim)
            )
            for i, (x, cache) in enumerate(zip(of, self._parts, strict=True))
        ]

    def _official(self, x_NLD: Tensor, mask: Tensor | None) -> Tensor:
        """The plain twin: `nn.MultiheadAttention` as the official code calls it, sequence first, with weights."""
        query, key, value = (x_NLD.transpose(0, 1) for _ in range(3))  # three tensors, so three projections
        out, _ = F.multi_head_attention_forward(
            query,
            key,
            value,
            x_NLD.shape[-1],
            self.heads,
            self.in_proj_weight,
            self.in_proj_bias,
            None,
            None,
            False,
            0.0,
            self.out_proj.weight,
            self.out_proj.bias,
            self.training,
            None if mask is None else ~mask[:, 0, 0],
        )
        return out.transpose(0, 1)


class EncoderLayer(nn.Module):
    """Pre-norm transformer layer: x + MHA(ln1 x), then x + drop_path(FFN(ln2 x))."""

    def __init__(
        self,
        dim: int,
        heads: int,
        mlp_ratio: int = 4,
        drop_path: float = 0.0,
        eps: float = EPS,
    ) -> None:
        super().__init__()
        self.ln1 = nn.LayerNorm(dim, eps=eps)
        self.attn = nn.ModuleDict({"attn": SelfAttention(dim, heads)})  # released keys read attn.attn.*
        self.ln2 = nn.LayerNorm(dim, eps=eps)
        self.ffn = FeedForward(dim, dim * mlp_ratio)
        self.drop_path = DropPath(drop_path)

    def forward(self, x_NLD: Tensor, mask: Tensor | None = None, queries: int | None = None) -> Tensor:
        """(N, L, D) -> (N, queries or L, D); arguments as in `SelfAttention.forward`."""
        attended = self.attn["attn"](self.ln1(x_NLD), mask, queries)
        x_NLD = (x_NLD if queries is None else x_NLD[:, :queries]) + attended
        if self.ffn.fast and not self.training and cpu_inference(x_NLD):
            x_NLD = x_NLD.contiguous()
            self.ffn.add_to(x_NLD, self.ln2)
            return x_NLD
        out: Tensor = x_NLD + self.drop_path(self.ffn(self.ln2(x_NLD)))
        return out

    def apply_short(self, x_LND: Tensor, mask: Tensor | None) -> None:
        """The layer written into x (L, N, D) itself, contiguous; for few tokens on a CPU, without gradients."""
        attention = cast(SelfAttention, self.attn["attn"])
        rows = x_LND.view(-1, x_LND.shape[-1])
        rows.copy_(attention.projected_out(attention.short(self.ln1(x_LND), mask), rows))
        self.ffn.add_to(rows, self.ln2)


def cpu_inference(x: Tensor) -> bool:
    """Whether the CPU's own paths may serve: no gradients, no autocast, no compiler."""
    return (
        x.device.type == "cpu"
        and not torch.is_grad_enabled()
        and not autocasts(x.device)
        and not torch.compiler.is_compiling()
    )


def corner_pad(x: Tensor, multiple: int) -> Tensor:
    """Zeros to the right and below, until both last axes are multiples of `multiple`."""
    down, right = -x.shape[-2] % multiple, -x.shape[-1] % multiple
    return F.pad(x, (0, right, 0, down)) if down or right else x


def drop_path_rates(rate: float, layers: int) -> list[float]:
    """Rates rising linearly from 0 at the first layer to `rate` at the last."""
    return [rate * i / (layers - 1) if layers > 1 else 0.0 for i in range(layers)]


def init_transformer(module: nn.Module) -> None:
    """Initial weights of ViT and fusion, specification 1.9: trunc-normal linears, Kaiming convolutions."""
    for name, child in module.named_modules():
        if isinstance(child, nn.Linear):
            nn.init.trunc_normal_(child.weight, std=0.02)
            if ".ffn." in name or name.startswith("ffn."):
                nn.init.normal_(child.bias, std=1e-6)
            else:
                nn.init.zeros_(child.bias)
        elif isinstance(child, nn.Conv2d):
            nn.init.kaiming_normal_(child.weight, mode="fan_in", nonlinearity="relu")
            if child.bias is not None:
                nn.init.zeros_(child.bias)
