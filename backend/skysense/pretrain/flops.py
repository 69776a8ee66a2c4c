"""Operations of a training step, counted from what it saw, so that a log can tell the FLOP/s that were achieved.

Counted is what the models and heads need: dates, images and tiles that saw nothing are left out, even where padding
makes the model compute on them, and so is what checkpointing computes a second time (the model FLOPs of PaLM, Chowdhery
et al. 2022, appendix B). One multiply-add counts as two operations; clustering, Sinkhorn and the losses themselves are
left out. By formula (`model.budget`) and not by `torch.utils.flop_counter` at run time, which slows a step down and does
not know the kernels of the CPU (flash attention, oneDNN's linear maps, in-place products).
"""

import math
from collections.abc import Iterable
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from skysense.model.budget import swin_flops, tile_flops
from skysense.model.config import ModelConfig
from skysense.model.inputs import Inputs
from skysense.model.skysense import SERIES
from skysense.model.tokens import PATCH
from skysense.model.validity import block_valid
from skysense.pretrain.collate import Group
from skysense.pretrain.objective.heads import Heads
from skysense.pretrain.objective.mgcl import TEACHER_VIEWS
from skysense.scene.sensors import Modality

#: Forward passes that a pass costs: with gradients of inputs and weights, and without.
_WITH_BACKWARD, _FORWARD = 3, 1
#: Hidden width of the MLP of Swin's position bias (`WindowAttention.cpb_mlp`).
_BIAS_HIDDEN = 512


class StepFlops:
    """Operations of this process's part of a step.

    Args:
        model: of student and teacher.
        student, teacher: their heads, whose rows are known only while the losses are computed: they are counted as
            they pass. A copy of the student's made afterwards would be counted with it: make the teacher before.
    """

    def __init__(self, model: ModelConfig, student: Heads, teacher: Heads) -> None:
        self._model, self._heads = model, 0
        for heads, passes in ((student, _WITH_BACKWARD), (teacher, _FORWARD)):
            for head in heads.heads.values():
                per_row = 2 * passes * sum(p.numel() for p in head.parameters() if p.ndim == 2)
                head.register_forward_hook(partial(self._count_rows, per_row))

    def of(self, groups: Iterable[Group]) -> int:
        """Of both models for `groups`, and of the heads since the last call: call it once after each step.

        Reads the groups' validity: tensors that lie on the CPU save a wait for the device.
        """
        heads, self._heads = self._heads, 0
        return heads + models_flops(self._model, groups)

    def _count_rows(self, per_row: int, _head: nn.Module, rows: tuple[Tensor], _scores: Tensor) -> None:
        self._heads += per_row * len(rows[0])


def models_flops(config: ModelConfig, groups: Iterable[Group]) -> int:
    """Of student (all views, forward and backward) and teacher (its views, forward).

    The teacher keeps what depends on weights only; that counts for the student alone.
    """
    total = 0
    for number, view in ((n, view) for group in groups for n, view in enumerate(group.views)):
        passes = _WITH_BACKWARD + (_FORWARD if number in TEACHER_VIEWS else 0)
        total += passes * images_flops(config, view) + _WITH_BACKWARD * weights_flops(config, view)
    return total


def images_flops(config: ModelConfig, inputs: Inputs) -> int:
    """Of one forward pass with the maps of each date (`series_maps`); square images, regions that are trained."""
    total = 0
    if inputs.hr is not None:
        total += sum(_seen(inputs.hr, inputs.hr_valid, 1)) * swin_flops(config.hr, inputs.hr.shape[-1])
    size = _base_side(inputs)
    if size is None:
        return total
    with_hr = _seen(inputs.hr, inputs.hr_valid, inputs.hr_per_base or 1)
    dates = {modality: _dates(inputs, modality) for modality in SERIES}
    for b in range(max(len(with_hr), *map(len, dates.values()))):
        n_s2, n_s1 = (dates[modality][b] if dates[modality] else 0 for modality in SERIES)
        hr = bool(with_hr and with_hr[b])
        if n_s2 or n_s1 or hr:
            total += tile_flops(config, n_s2=n_s2, n_s1=n_s1, hr=hr, tile=size, core=size, fusion_stride=1)
    patches = math.ceil(size / PATCH) ** 2
    return total + patches * sum(sum(seen) * _uphead_flops(config, m) for m, seen in dates.items())


def weights_flops(config: ModelConfig, inputs: Inputs) -> int:
    """Of what one forward pass makes of weights only: Swin's position bias and `UPHead.fold`."""
    total = sum(config.fusion.dim * _uphead_flops(config, m) for m in SERIES if inputs.series(m) is not None)
    if inputs.hr is not None:
        offsets = (2 * config.hr.window - 1) ** 2
        for depth, heads in zip(config.hr.depths, config.hr.heads, strict=True):
            total += depth * 2 * offsets * _BIAS_HIDDEN * (2 + heads)
    return total


def _uphead_flops(config: ModelConfig, modality: Modality) -> int:
    """Of UPHead, per patch."""
    vit = config.s2 if modality == "s2" else config.s1
    return 2 * vit.dim * PATCH**2 * config.token_dim


def _base_side(inputs: Inputs) -> int | None:
    """Pixels of 10 m along a tile; None when HR stands alone."""
    for modality in SERIES:
        if (series := inputs.series(modality)) is not None:
            return series.x.shape[-1]
    if inputs.hr is None or inputs.hr_per_base is None:
        return None
    return inputs.hr.shape[-1] // inputs.hr_per_base


def _dates(inputs: Inputs, modality: Modality) -> list[int]:
    series = inputs.series(modality)
    return [] if series is None else _seen(series.x, series.valid, PATCH)


def _seen(x: Tensor | None, valid: Tensor | None, block: int) -> list[int]:
    """Per sample how many images have a block of pixels that counts as valid (`block_valid`).

    Args:
        x: images (B, C, H, W) or series (B, T, C, h, w).
    """
    if x is None:
        return []
    if valid is None:
        return [1 if x.ndim == 4 else x.shape[1]] * len(x)
    some = block_valid(valid, block).flatten(-2).any(-1)
    return cast(list[int], some.reshape(len(x), -1).sum(1, dtype=torch.int64).tolist())
