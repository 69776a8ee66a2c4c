"""Projection heads: features to the scores that the self-distillation compares.

Shapes: M rows, C feature dim, K outputs. Source: DINO (Caron et al. 2021), section 3 and appendix C.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skysense.model.config import ModelConfig
from skysense.model.skysense import SERIES
from skysense.pretrain.config import PretrainConfig

#: The losses compare this kind, those of `SERIES`, and the map of each Swin stage: `hr_1`, `hr_2`, ...
FUSED = "fused"


class ProjectionHead(nn.Module):
    """MLP to a bottleneck, l2 normalisation, and scores against outputs of norm 1: cosines.

    The last layer is DINO's weight-normalised one with its gain fixed at 1, without bias.
    """

    def __init__(self, dim: int, hidden: int, bottleneck: int, outputs: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(dim, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, bottleneck),
        )
        self.outputs = nn.Parameter(torch.empty(outputs, bottleneck))
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        nn.init.trunc_normal_(self.outputs)  # only its directions count

    def forward(self, x_MC: Tensor) -> Tensor:
        """(M, C) -> (M, K) in [-1, 1]; M may be 0."""
        return F.linear(F.normalize(self.mlp(x_MC), dim=-1), F.normalize(self.outputs, dim=-1))


class Heads(nn.Module):
    """One head per kind of feature, shared by the pixel, object and image level.

    Shared as in iBOT (Zhou et al. 2022): object and image features are means of the pixel features and live in
    their space, and a level with few rows then learns from outputs that the others have spread out.
    """

    def __init__(self, model: ModelConfig, config: PretrainConfig) -> None:
        super().__init__()
        self.dims = feature_dims(model)
        self.heads = nn.ModuleDict(
            {
                kind: ProjectionHead(dim, config.head_hidden, config.head_bottleneck, config.head_outputs)
                for kind, dim in self.dims.items()
            }
        )

    def forward(self, kind: str, x_MC: Tensor) -> Tensor:
        """Scores (M, K) of rows of one kind."""
        return cast(Tensor, self.heads[kind](x_MC))


def stage_kinds(model: ModelConfig) -> tuple[str, ...]:
    """Kinds of the HR encoder's maps, finest first."""
    return tuple(f"hr_{stage + 1}" for stage in model.hr.out_indices)


def feature_dims(model: ModelConfig) -> dict[str, int]:
    """Channels of every kind."""
    stages = zip(stage_kinds(model), model.hr.out_indices, strict=True)
    return {
        **{kind: model.hr.dim * 2**stage for kind, stage in stages},
        **dict.fromkeys(SERIES, model.token_dim),
        FUSED: model.fused_dim,
    }
