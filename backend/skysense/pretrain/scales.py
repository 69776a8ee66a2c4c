"""Initial values of a fresh HR encoder: every stage says how bright a place is and how much it varies, scale by scale.

The specification's own initial values (1.9) mix a patch's pixels at random, and each stage mixes the last one's mixtures, so
that a linear probe finds less in the deep stages than in the colours themselves. These values are ours, for what the paper
leaves open, and everything is trained from there. They make of the Swin what Bruna and Mallat (2013, Invariant Scattering
Convolution Networks) call a scattering transform, with Haar's wavelets:

* Patch embedding: the mean of each band, and the luminance's differences inside the patch.
* First FFN of each stage: the differences' absolute values ("energies"), a mean for each direction and scale.
* Patch merging: means of means and of energies, and the differences of 2 x 2 mean luminances, for the next FFN.

What else a block adds begins at zero. A constant in each token keeps layer norms nearly linear; output norms take it away.

Shapes: C channels of a stage, n components of a token, K pixels of a patch x bands.
"""

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from skysense.errors import InputError
from skysense.model.layers import FeedForward
from skysense.model.skysense import SkySense
from skysense.model.swin_v2 import PatchMerging, SwinBlock, SwinStage, SwinTransformerV2

#: What a component of size 1 adds to a token, as a share of the token's constant.
_SHARE = 0.2
#: Size of a difference in a token, of its own: there for the FFN to read, hardly seen in features.
_SEEN = 0.1
#: Size of an energy, of its own: about that of means, which it is then no less to a head than.
_ENERGY = 2.0
#: How much sharper than GELU's the bend of an absolute value is.
_SHARP = 20.0
_BANDS, _FINE = 3, 12  # differences inside the four quarters of a patch
#: Differences of four quarters (Haar): across rows, across columns, across both.
_HAAR = torch.tensor([[1.0, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]]) / 4


@dataclass(frozen=True)
class _Stage:
    """Where the components of a stage's tokens lie: constant (C,), then each (C, n)."""

    constant_C: Tensor
    means_Cn: Tensor
    energies_Cn: Tensor
    differences_Cn: Tensor

    @property
    def root(self) -> float:
        return math.sqrt(len(self.constant_C))


@torch.no_grad()
def begin_with_scales(model: SkySense, seed: int) -> None:
    """Give the HR encoder of a model with the specification's initial values the ones described above, in place.

    Args:
        model: on the CPU.
        seed: of the random directions.

    Raises:
        InputError: its first stage has too few channels to tell all of that apart.
    """
    random = torch.Generator().manual_seed(seed)
    swin = cast(SwinTransformerV2, model.backbone_gep)
    stage = _stage(swin.patch_embed.projection.out_channels, 2, _FINE + 3, random)
    _analyse(swin.patch_embed.projection, stage)
    for index, module in enumerate(cast(list[SwinStage], list(swin.stages))):
        if module.downsample is not None:
            finer, stage = stage, _stage(2 * len(stage.constant_C), index + 2, 3, random)
            _merge(module.downsample, finer, stage)
        first, *others = cast(list[SwinBlock], list(module.blocks))
        for norm in (first.norm1, *(norm for block in others for norm in (block.norm1, block.norm2))):
            norm.weight.zero_()
        _rectify(first, stage)
        if index in swin.out_indices:
            cast(nn.LayerNorm, swin.get_submodule(f"norm{index}")).bias.copy_(-stage.root * stage.constant_C)


def _stage(channels: int, scales: int, differences: int, random: torch.Generator) -> _Stage:
    counts = (1, 1, _BANDS, 3 * scales, differences)
    if channels < sum(counts):
        raise InputError(
            f"an HR encoder of {channels} channels is too narrow", "model", "Use a larger preset"
        )
    # Orthogonal to ones, which a layer norm takes away.
    start = torch.cat((torch.ones(channels, 1), torch.randn(channels, sum(counts) - 1, generator=random)), 1)
    _, constant, means, energies, seen = torch.linalg.qr(start).Q.split(counts, 1)
    return _Stage(constant[:, 0], means, energies, seen)


def _analyse(projection: nn.Conv2d, stage: _Stage) -> None:
    """Patch embedding: 4 x 4 pixels of three bands to their means and differences."""
    quarter_of = (
        torch.arange(16).view(2, 2, 2, 2).transpose(1, 2).reshape(4, 4)
    )  # (quarter, place in it) -> pixel
    luminance_nP = torch.zeros(_FINE + 3, 16)
    for quarter in range(4):
        luminance_nP[3 * quarter : 3 * quarter + 3, quarter_of[quarter]] = _HAAR
        luminance_nP[_FINE:, quarter_of[quarter]] = _HAAR[:, quarter, None] / 4
    means_nK = torch.eye(_BANDS).repeat_interleave(16, 1) / 16
    differences_nK = _SEEN * luminance_nP.repeat(1, _BANDS) / _BANDS
    content_CK = stage.means_Cn @ means_nK + stage.differences_Cn @ differences_nK
    projection.weight.copy_(stage.root * _SHARE * content_CK.view_as(projection.weight))
    cast(Tensor, projection.bias).copy_(stage.root * stage.constant_C)


def _merge(merging: PatchMerging, finer: _Stage, stage: _Stage) -> None:
    """2 x 2 tokens of the finer stage to their means, and to the differences of their luminances."""
    kept = finer.energies_Cn.shape[1]
    mean_CC = (
        torch.outer(stage.constant_C, finer.constant_C)
        + stage.means_Cn @ finer.means_Cn.T
        + stage.energies_Cn[:, :kept] @ finer.energies_Cn.T
    ) / 4
    luminance_C = finer.means_Cn.mean(1)
    for place in range(4):
        difference_C = _SEEN * stage.differences_Cn @ _HAAR[:, place]
        weight_CC = mean_CC + torch.outer(difference_C, luminance_C)
        merging.reduction.weight[:, place::4] = stage.root / finer.root * weight_CC


def _rectify(block: SwinBlock, stage: _Stage) -> None:
    """FFN of a stage's first block: the energies of its differences, added to the token."""
    count = stage.differences_Cn.shape[1]
    ffn = cast(FeedForward, block.ffn)
    first, second = cast(nn.Linear, cast(nn.Sequential, ffn.layers[0])[0]), cast(nn.Linear, ffn.layers[1])
    read_nC = _SHARP * stage.differences_Cn.T / (stage.root * _SHARE * _SEEN)
    for weight in (first.weight, first.bias, second.weight):
        weight.zero_()
    first.weight[:count], first.weight[count : 2 * count] = read_nC, -read_nC
    energy_nn = torch.zeros(stage.energies_Cn.shape[1], count)
    for difference in range(count):
        fine = difference < count - 3
        energy_nn[difference % 3 - (6 if fine else 3), difference] = 0.25 if fine else 1.0
    write_Cn = stage.root * _SHARE * _ENERGY / _SHARP * stage.energies_Cn @ energy_nn
    second.weight[:, :count], second.weight[:, count : 2 * count] = write_Cn, write_Cn
    # Through the norm behind it with the constant, which is there already.
    second.bias.copy_(stage.root * stage.constant_C)
    block.norm2.bias.copy_(-stage.root * stage.constant_C)
