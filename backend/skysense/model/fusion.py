"""The multi-modal temporal fusion transformer: the tokens of one location to one vector.

Shapes: N locations, T tokens (all dates of all modalities), I input dim, D model dim. Nothing here knows
where a location is or in which order its tokens come. Source: reference specification 1.5.
"""

from itertools import repeat
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skysense.model.attention import SHORT, key_mask
from skysense.model.layers import EPS, EncoderLayer, cpu_inference, drop_path_rates, init_transformer

#: Tokens of a block of locations on a CPU.
BLOCK_TOKENS = 2048


class TransformerEncoder(nn.Module):
    """Pre-norm layers over the tokens of each location, behind an input projection (key `porj_linear`, as
    released).

    Args:
        with_cls_token: put the learned token F_e before the others.
        output_cls_token: give out what became of F_e; False gives out the other tokens.
        drop_path_rate: rate of the last layer, on the FFN branch only; linear from 0.
    """

    def __init__(
        self,
        input_dims: int,
        embed_dims: int,
        num_layers: int,
        num_heads: int,
        *,
        mlp_ratio: int = 4,
        with_cls_token: bool = True,
        output_cls_token: bool = True,
        drop_path_rate: float = 0.0,
        eps: float = EPS,
    ) -> None:
        super().__init__()
        if output_cls_token and not with_cls_token:
            raise ValueError("output_cls_token needs with_cls_token")
        self.with_cls_token, self.output_cls_token, self.fast = with_cls_token, output_cls_token, True
        self.porj_linear = nn.Linear(input_dims, embed_dims)
        self.cls_token = nn.Parameter(torch.empty(1, 1, embed_dims)) if with_cls_token else None
        self.layers = nn.ModuleList(
            EncoderLayer(embed_dims, num_heads, mlp_ratio, rate, eps)
            for rate in drop_path_rates(drop_path_rate, num_layers)
        )
        init_transformer(self)
        if self.cls_token is not None:
            nn.init.trunc_normal_(self.cls_token, std=0.02)

    def forward(self, x_NTI: Tensor, valid_NT: Tensor | None = None) -> Tensor:
        """Encode tokens before their projection.

        Args:
            x_NTI: (N, T, I).
            valid_NT: tokens that may be looked at. None, or all True: every token (the same bits).

        Returns:
            (N, D) with `output_cls_token`, else (N, T, D).
        """
        x_NTD = self.with_cls(self.porj_linear(x_NTI))
        if self.output_cls_token:
            return self.fuse(x_NTD, valid_NT)
        x_NTD = self.all_layers(x_NTD, valid_NT)[-1]
        return x_NTD[:, 1:] if self.with_cls_token else x_NTD

    def with_cls(self, x_NTD: Tensor) -> Tensor:
        """Projected tokens (N, T, D) with F_e before them, where the encoder has one."""
        if self.cls_token is None:
            return x_NTD
        return torch.cat((self.cls_token.expand(len(x_NTD), -1, -1), x_NTD), 1)

    def fuse(self, x_NTD: Tensor, valid_NT: Tensor | None = None) -> Tensor:
        """F_e after the last layer, (N, D).

        The fast path computes the last layer for F_e alone: the other tokens serve it as keys and values
        only.

        Args:
            x_NTD: (N, 1 + T, D), from `with_cls`.
            valid_NT: (N, T), without F_e, which always takes part.
        """
        assert self.with_cls_token
        if not self.fast:
            return self.all_layers(x_NTD, valid_NT)[-1][:, 0]
        mask = self._mask(valid_NT)
        if not (cpu_inference(x_NTD) and not self.training and x_NTD.shape[1] <= SHORT):
            for layer in self.layers[:-1]:
                x_NTD = layer(x_NTD, mask)
            out: Tensor = self.layers[-1](x_NTD, mask, queries=1)
            return out[:, 0]
        # By blocks of locations, each through all layers, so that whatever lies between two products stays in the cache.
        size = max(1, BLOCK_TOKENS // x_NTD.shape[1])
        masks = repeat(None) if mask is None else mask.split(size)
        return torch.cat([self._fuse_block(*block) for block in zip(x_NTD.split(size), masks, strict=False)])

    def _fuse_block(self, x_NTD: Tensor, mask: Tensor | None) -> Tensor:
        x_TND = x_NTD.transpose(0, 1).clone(memory_format=torch.contiguous_format)
        for layer in cast(list[EncoderLayer], list(self.layers[:-1])):
            layer.apply_short(x_TND, mask)
        out: Tensor = self.layers[-1](x_TND.transpose(0, 1), mask, queries=1)
        return out[:, 0]

    def all_layers(self, x_NTD: Tensor, valid_NT: Tensor | None = None) -> list[Tensor]:
        """Outputs of all layers, each (N, 1 + T, D), or (N, T, D) without F_e; input from `with_cls`."""
        mask = self._mask(valid_NT)
        outputs = []
        for layer in self.layers:
            x_NTD = layer(x_NTD, mask)
            outputs.append(x_NTD)
        return outputs

    def _mask(self, valid_NT: Tensor | None) -> Tensor | None:
        if valid_NT is None or bool(valid_NT.all()):
            return None
        return key_mask(F.pad(valid_NT, (1, 0), value=True) if self.with_cls_token else valid_NT)
