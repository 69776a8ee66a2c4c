"""Weights made for other inputs: position embeddings without a cls token, patch embeddings for four bands.

The released encoders take R, G, B and ten Sentinel-2 bands; `skysense convert --bands` makes encoders of four. Source: reference specification 1.3 and 3.
"""

import torch
from torch import Tensor

#: B2, B3, B4 and B8 among the ten bands (B2, B3, B4, B5, B6, B7, B8, B8A, B11, B12).
_FOUR_OF_TEN = (0, 1, 2, 6)


def with_cls_position(pos_embed: Tensor) -> Tensor:
    """A `pos_embed` (1, n, D) of SkySense++, which has none for the cls token, as (1, 1 + n, D).

    Zeros stand in that place: an encoder that drops the cls token never looks at it.
    """
    return torch.cat((torch.zeros_like(pos_embed[:, :1]), pos_embed), 1)


def s2_patch_for_four_bands(weight: Tensor) -> Tensor:
    """Patch embedding of the S2 encoder (D, 10, p, p) for B2, B3, B4, B8: (D, 4, p, p), scaled by 10 / 4."""
    if weight.shape[1] != 10:
        raise ValueError(f"a patch embedding for 10 bands is needed, this one takes {weight.shape[1]}")
    return weight[:, _FOUR_OF_TEN] * (10 / 4)


def hr_patch_for_four_bands(weight: Tensor) -> Tensor:
    """Patch embedding of the HR encoder (D, 3, p, p) for R, G, B, NIR: NIR begins as red, nothing is scaled."""
    if weight.shape[1] != 3:
        raise ValueError(f"a patch embedding for 3 bands is needed, this one takes {weight.shape[1]}")
    return torch.cat((weight, weight[:, :1]), 1)


#: Patch embeddings by name, with what makes one for four bands of it.
FOUR_BANDS = {
    "backbone_gep.patch_embed.projection.weight": hr_patch_for_four_bands,
    "backbone_s2.patch_embed.projection.weight": s2_patch_for_four_bands,
}
