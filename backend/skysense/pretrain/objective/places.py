"""What a view's features are at the places that two views share, and over the whole view.

Shapes: B samples, T dates (1 for HR and fused features), N places, C channels, h w rows and columns of a map.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from skysense.model.config import ModelConfig
from skysense.model.inputs import Features, Inputs
from skysense.model.skysense import SERIES
from skysense.model.validity import block_valid
from skysense.pretrain.collate import Group
from skysense.pretrain.correspondence import sample_at, seen_dates
from skysense.pretrain.objective.heads import FUSED, stage_kinds


@dataclass(frozen=True)
class ViewMaps:
    """Features of one kind over a view.

    Attributes:
        maps: (B, T, C, h, w).
        valid: (B, T, h, w) bool.
        order: (B, T) int64, see `SeriesView.order`; 0 of what is no series.
        pixels_per_cell: view pixels (those that points count in) along a cell of the map.
    """

    maps: Tensor
    valid: Tensor
    order: Tensor
    pixels_per_cell: float

    def at(self, points_BN2: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, T, N, C), bilinear, and whether all cells they come from are valid (B, T, N)."""
        batch, dates = self.valid.shape[:2]
        points = points_BN2.repeat_interleave(dates, 0)
        valid = self.valid.flatten(0, 1)[:, None].to(self.maps.dtype)
        share = sample_at(valid, points, self.pixels_per_cell)[..., 0]
        features = sample_at(self.maps.flatten(0, 1), points, self.pixels_per_cell)
        return features.unflatten(0, (batch, dates)), (share > 1 - 1e-6).unflatten(0, (batch, dates))

    def pooled(self) -> tuple[Tensor, Tensor]:
        """F_img: the average over all valid cells (B, T, C), and whether there is one (B, T)."""
        weight = self.valid.to(self.maps.dtype).flatten(2)
        total = (self.maps.flatten(3) @ weight[..., None])[..., 0]
        return total / weight.sum(-1, keepdim=True).clamp_min(1), self.valid.flatten(2).any(-1)

    def over_dates(self) -> tuple[Tensor, Tensor]:
        """The average of `pooled` over the dates that have any (B, C), and whether there is one (B,)."""
        pooled, valid = self.pooled()
        weight = valid.to(pooled.dtype)[..., None]
        return (pooled * weight).sum(1) / weight.sum(1).clamp_min(1), valid.any(1)


def view_maps(model: ModelConfig, group: Group, view: int, features: Features) -> dict[str, ViewMaps]:
    """The kinds of features that a view has.

    Args:
        features: of this view, with `series_maps`; in float32 or wider from here on.
    """
    inputs, maps = group.views[view], {}
    if features.hr is not None:
        assert inputs.hr_valid is not None  # a group's inputs say what is valid
        for kind, stage, x in zip(stage_kinds(model), model.hr.out_indices, features.hr, strict=True):
            stride = 4 * 2**stage
            valid = block_valid(inputs.hr_valid, stride)
            maps[kind] = _undated(x, valid, stride / (inputs.hr_per_base or 1))
    for modality in SERIES:
        series = features.s2 if modality == "s2" else features.s1
        dates = seen_dates(inputs, modality)
        if series is not None and dates is not None:
            order = group.order[modality][view].to(series.device)
            maps[modality] = ViewMaps(_wide(series), dates, order, 1.0)
    if features.fused is not None and features.fused_valid is not None:
        maps[FUSED] = _undated(features.fused, features.fused_valid, 1.0)
    return maps


def seeds(group: Group, seed: int, purpose: str) -> Sequence[torch.Generator]:
    """A generator per sample, from the sample itself, the step's seed and what is drawn.

    So a draw depends neither on the group nor on the process that a sample is in.
    """
    crops = torch.stack(group.to_window, 1).cpu().numpy()
    return [
        torch.Generator().manual_seed(
            zlib.crc32(crop.tobytes(), zlib.crc32(f"{seed} {purpose} {scene}".encode()))
        )
        for scene, crop in zip(group.scenes, crops, strict=True)
    ]


def is_alone(inputs: Inputs) -> bool:
    """Whether HR stands alone: nothing is fused, and points count in HR pixels."""
    return inputs.hr is not None and inputs.hr_per_base is None


def _undated(x_BChw: Tensor, valid_Bhw: Tensor, pixels_per_cell: float) -> ViewMaps:
    order = torch.zeros(len(x_BChw), 1, dtype=torch.int64, device=x_BChw.device)
    return ViewMaps(_wide(x_BChw)[:, None], valid_Bhw[:, None], order, pixels_per_cell)


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()
