"""The model's features at labelled pixels of one view, as a head sees them, with gradients.

Shape legend: N pixels, F features.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skysense.finetune.features import Block, FeatureMap, at_pixels
from skysense.model.config import ModelConfig
from skysense.model.inputs import Inputs
from skysense.model.skysense import SkySense
from skysense.model.tokens import PATCH
from skysense.scene.sensors import Modality


def model_blocks(config: ModelConfig, modalities: tuple[Modality, ...]) -> tuple[Block, ...]:
    """The blocks of `FeatureExtractor` that are the model's own, in its order."""
    blocks = [Block("fused", config.fused_dim)] if set(modalities) - {"hr"} else []
    if "hr" in modalities:
        blocks += [
            Block(f"hr.{stage + 1}", config.hr.dim * 2**stage) for stage in range(len(config.hr.depths))
        ]
    return tuple(blocks)


def features_at(
    model: SkySense,
    inputs: Inputs,
    rows: NDArray[np.int64],
    cols: NDArray[np.int64],
    blocks: tuple[Block, ...],
    scale: int,
) -> tuple[Tensor, Tensor]:
    """Features of pixels of one tile.

    Args:
        inputs: of one tile; a modality that is not there leaves its blocks at 0, as in `collect.gather`.
        rows, cols: (N,) compute pixels of the view.
        blocks: from `model_blocks`.
        scale: compute pixels per base pixel side (`Tiling.scale`).

    Returns:
        (N, F), and (N,) bool: where a modality has seen the ground.
    """
    fused: Tensor | None = None
    if blocks[0].name == "fused":
        base_rows, base_cols = (torch.from_numpy(places // scale) for places in (rows, cols))
        fused, valid, stages = model.forward_at(inputs, base_rows, base_cols)
        like = fused
    else:
        assert inputs.hr is not None
        stages = model.encode_hr(inputs.hr, inputs.hr_valid)
        like = stages[0]
        valid = torch.ones(len(rows), dtype=torch.bool, device=like.device)
    parts = []
    for block in blocks:
        if block.name == "fused":
            assert fused is not None
            parts.append(fused)
        elif stages is None:
            parts.append(like.new_zeros(len(rows), block.dim))
        else:
            number = int(block.name.removeprefix("hr.")) - 1
            parts.append(at_pixels(FeatureMap(stages[number][0], PATCH * 2**number, 0), rows, cols))
    return torch.cat(parts, 1).float(), valid
