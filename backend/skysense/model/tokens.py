"""Tokens for the fusion: what each modality contributes to each location of one tile.

Locations are cells of stride x stride 10 m pixels. Work goes by whole patches (4 x 4 pixels), so that the
projection, which knows patches, and the fusion, which knows locations, meet in one copy.

Shapes: T tokens (dates) of a modality, n m patch rows and columns of a band, r = 4 / stride cells along a
patch, C channels of patch tokens, I token dim before the projection, D fusion dim.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from skysense.model.inputs import Series
from skysense.model.team import each
from skysense.model.uphead import UPHead
from skysense.model.validity import block_valid, fill_invalid
from skysense.model.vit import VisionTransformer

#: Pixels along a patch of the S2 and S1 encoders, and HR pixels along a token of the last Swin stage.
PATCH, HR_STRIDE = 4, 32
#: Acquisitions that a CPU encodes at a time, for maps: no slower than all at once, and several threads can share them.
_CPU_DATES = 3


@dataclass
class PatchSeries:
    """Encoded: patches (B, T, h/4, w/4, C), valid (B, T, h/4, w/4) or None, day (B, T) or None."""

    patches: Tensor
    valid: Tensor | None
    day: Tensor | None


def encode_series(vit: VisionTransformer, series: Series, official_fill: Tensor | None = None) -> PatchSeries:
    """Each acquisition through its encoder, by itself.

    Acquisitions without holes are encoded without a mask, those without a valid patch not at all (zeros).

    Args:
        official_fill: (bands,) value of an invalid pixel under the official rule, which masks nothing;
            None: our rule.
    """
    batch, dates = series.x.shape[:2]
    x = series.x.flatten(0, 1)
    valid = None if series.valid is None or bool(series.valid.all()) else series.valid.flatten(0, 1)
    x = fill_invalid(x, valid, 0.0 if official_fill is None else official_fill)

    def encode(images: Tensor, mask: Tensor | None) -> Tensor:
        def one(part: slice) -> Tensor:
            patch_map = vit(images[part], None if mask is None else mask[part])[-1]
            assert isinstance(patch_map, Tensor)
            return patch_map.permute(0, 2, 3, 1)

        together = _CPU_DATES if images.is_cpu and torch.is_inference_mode_enabled() else len(images)
        found = each(one, [slice(i, i + together) for i in range(0, len(images), together)])
        return found[0] if len(found) == 1 else torch.cat(found)

    patch_valid = None if valid is None or official_fill is not None else block_valid(valid, PATCH)
    if patch_valid is None or bool(patch_valid.all()):
        return PatchSeries(encode(x, None).unflatten(0, (batch, dates)), None, series.day)
    whole, some = patch_valid.flatten(1).all(1), patch_valid.flatten(1).any(1)
    patches = x.new_zeros(*patch_valid.shape, vit.pos_embed.shape[-1])
    for group, mask in ((whole, None), (some & ~whole, patch_valid)):
        index = group.nonzero()[:, 0]
        if len(index):
            patches[index] = encode(x[index], None if mask is None else mask[index])
    return PatchSeries(
        patches.unflatten(0, (batch, dates)), patch_valid.unflatten(0, (batch, dates)), series.day
    )


class TokenSource(Protocol):
    """Tokens of one modality for a band of patches of one tile."""

    def band(self, rows: slice, cols: slice) -> tuple[Tensor, Tensor | None]:
        """Tokens (n, r, m, r, T, D) and their validity (n, r, m, r, T), None for all valid."""


@dataclass
class SeriesTokens:
    """S2 or S1 of one tile.

    Attributes:
        patches: (T, h/4, w/4, C).
        valid: (T, h/4, w/4) or None.
        project: (T, n, m, C) -> (T, n, m, r, r, D), date encoding included.
        per_patch: r.
    """

    patches: Tensor
    valid: Tensor | None
    project: Callable[[Tensor], Tensor]
    per_patch: int

    def band(self, rows: slice, cols: slice) -> tuple[Tensor, Tensor | None]:
        tokens = self.project(self.patches[:, rows, cols]).permute(1, 3, 2, 4, 0, 5)
        if self.valid is None:
            return tokens, None
        valid = self.valid[:, rows, cols].permute(1, 2, 0)[:, None, :, None]
        return tokens, valid.expand(-1, self.per_patch, -1, self.per_patch, -1)


@dataclass
class MapTokens:
    """HR of one tile: cells (h/4 * r, w/4 * r, D), already projected, valid (h/4 * r, w/4 * r) or None."""

    cells: Tensor
    valid: Tensor | None
    per_patch: int

    def band(self, rows: slice, cols: slice) -> tuple[Tensor, Tensor | None]:
        return self._cut(self.cells, rows, cols)[..., None, :], (
            None if self.valid is None else self._cut(self.valid, rows, cols)[..., None]
        )

    def _cut(self, cells: Tensor, rows: slice, cols: slice) -> Tensor:
        r = self.per_patch
        cut = cells[rows.start * r : rows.stop * r, cols.start * r : cols.stop * r]
        return cut.unflatten(1, (-1, r)).unflatten(0, (-1, r))


def folded_projection(
    weight: Tensor, bias: Tensor, date_TD: Tensor | None, r: int
) -> Callable[[Tensor], Tensor]:
    """Fast: UPHead, mean and input projection as one map (`UPHead.fold`); `date_TD` is projected."""

    def project(patches_TnmC: Tensor) -> Tensor:
        tokens = F.linear(patches_TnmC, weight, bias).unflatten(-1, (r, r, -1))
        return tokens if date_TD is None else tokens + date_TD[:, None, None, None, None]

    return project


def plain_projection(
    head: UPHead, linear: torch.nn.Linear, date_TI: Tensor | None, stride: int
) -> Callable[[Tensor], Tensor]:
    """The same, step by step: UPHead, mean over stride x stride, date encoding, input projection."""

    def project(patches_TnmC: Tensor) -> Tensor:
        up = F.avg_pool2d(head(patches_TnmC.permute(0, 3, 1, 2)), stride).permute(0, 2, 3, 1)
        if date_TI is not None:
            up = up + date_TI[:, None, None]
        r = PATCH // stride
        return linear(up).unflatten(2, (-1, r)).unflatten(1, (-1, r)).transpose(2, 3)

    return project


def resample_hr(hr_map: Tensor, hr_per_base: int, size: tuple[int, int], stride: int) -> Tensor:
    """Last Swin map (B, C, H/32, W/32) -> cells (B, C, h/4 * r, w/4 * r), in whole patches.

    To 10 m first: mean where the map is finer, bilinear where it is coarser (32 HR pixels per token);
    then the mean of stride x stride pixels.
    """
    if hr_per_base >= HR_STRIDE:
        base = F.avg_pool2d(hr_map, hr_per_base // HR_STRIDE) if hr_per_base > HR_STRIDE else hr_map
    else:
        base = F.interpolate(
            hr_map, scale_factor=HR_STRIDE // hr_per_base, mode="bilinear", align_corners=False
        )
        base = base[..., : size[0], : size[1]]
    pad = (0, -size[1] % PATCH, 0, -size[0] % PATCH)
    return F.avg_pool2d(F.pad(base, pad, mode="replicate") if any(pad) else base, stride)
