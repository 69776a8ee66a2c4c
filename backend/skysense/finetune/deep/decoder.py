"""The spatial decoder: a small convolutional pyramid on frozen features, whose logits are added to the head's scores.

A feature pyramid (Lin et al. 2017, arXiv:1612.03144), which is also the decoder of UPerNet (Xiao et al. 2018, arXiv:1807.10221):
every block of features enters at the level of its own stride, merged down by 2 x 2 pixels and up again by interpolation. Its last
layer begins at zero, so that without a step the scores are the head's. Normalised is each pixel's vector of channels alone (as
in ConvNeXt, Liu et al. 2022), so that a pixel depends on what lies within the decoder's reach and on no other statistics.

Shape legend: B views, C features of a block, K classes, n cells along a side, S compute pixels along a side.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skysense.errors import InputError
from skysense.finetune.features import Block, TileFeatures

#: Before the names of a model file's tensors.
PREFIX = "decoder."
#: Compute pixels of a level's cell side. With HR up to a quarter of the tile's margin, so that the reach stays inside of it;
#: Sentinel features end at the tile's core and have seen their surroundings already: there a few pixels must do.
_WITH_HR, _WITHOUT = (2, 4, 8, 16), (1, 2)
_WIDTH = 32
#: Share of the channels that a step does not see: few polygons would be learned by heart.
_DROPPED = 0.1
#: Standard deviations beyond which a feature says no more.
_FARTHEST = 5.0


@dataclass(frozen=True)
class Entry:
    """A block that the decoder sees: its name and width, and its stride in the scene that it was trained on."""

    name: str
    dim: int
    stride: int

    @property
    def block(self) -> Block:
        return Block(self.name, self.dim)


class Decoder(nn.Module):
    """The network.

    Args:
        entries: what it sees; classes: K.

    Attributes:
        mean, std: (F,) of the entries' features at labelled pixels, in their order.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, entries: Sequence[Entry], classes: int) -> None:
        super().__init__()
        self.entries = tuple(entries)
        self.strides = strides_of(entries)
        features = sum(entry.dim for entry in entries)
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("std", torch.ones(features))
        self.enter = nn.ModuleList(self._entrance(entry) for entry in entries)
        self.first = nn.ModuleList(_Unit() for _ in self.strides)
        self.merge = nn.ModuleList(nn.Conv2d(_WIDTH, _WIDTH, 2, 2) for _ in self.strides[1:])
        self.second = nn.ModuleList(_Unit() for _ in self.strides[1:])
        self.out = nn.Conv2d(_WIDTH, classes, 1)
        nn.init.zeros_(self.out.weight)
        assert self.out.bias is not None
        nn.init.zeros_(self.out.bias)

    def forward(self, maps: Mapping[str, Tensor], side: int) -> Tensor:
        """Logits (B, K, S, S).

        Args:
            maps: by block (B, C, n, n) over the same ground; one that is missing counts as its mean.
            side: S of that ground, a multiple of every stride.
        """
        seen: list[Tensor | float] = [0.0 for _ in self.strides]
        parts = zip(*(t.split([entry.dim for entry in self.entries]) for t in (self.mean, self.std)))
        for entry, conv, (mean, std) in zip(self.entries, self.enter, parts, strict=True):
            if entry.name in maps:
                x = (maps[entry.name].float() - mean[:, None, None]) / std[:, None, None]
                x = conv(x.clamp(-_FARTHEST, _FARTHEST))
                level = self._level(entry)
                cells = side // self.strides[level]
                if x.shape[-1] != cells:
                    x = F.interpolate(x, (cells, cells), mode="bilinear", align_corners=False)
                seen[level] = seen[level] + F.dropout2d(x, _DROPPED, self.training)
        first = seen[0]
        if not isinstance(first, Tensor):
            batch, cells = len(next(iter(maps.values()))), side // self.strides[0]
            first = self.mean.new_zeros(batch, _WIDTH, cells, cells)
        levels = [self.first[0](first)]
        for level, merge in enumerate(self.merge, start=1):
            levels.append(self.first[level](merge(levels[-1]) + seen[level]))
        x = levels.pop()
        for unit in reversed(self.second):
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = unit(x + levels.pop())
        x = self.out(x)
        if self.strides[0] > 1:
            x = F.interpolate(x, (side, side), mode="bilinear", align_corners=False)
        return x

    def _level(self, entry: Entry) -> int:
        """Where a block enters: the first level that is as coarse, else the coarsest."""
        return next((i for i, s in enumerate(self.strides) if s >= entry.stride), len(self.strides) - 1)

    def _entrance(self, entry: Entry) -> nn.Conv2d:
        """To `_WIDTH` channels, from squares of pixels where the block is finer than its level; the mean comes to zero."""
        side = max(self.strides[self._level(entry)] // entry.stride, 1)
        return nn.Conv2d(entry.dim, _WIDTH, side, side, bias=False)


class _Unit(nn.Module):
    """3 x 3 convolution (edges carried on), each pixel's channels normalised, GELU."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1, padding_mode="replicate", bias=False)
        self.norm = nn.LayerNorm(_WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.norm(self.conv(x).movedim(1, -1)).movedim(-1, 1))


def spread(features: TileFeatures, side: int, strides: Sequence[int]) -> tuple[dict[str, Tensor], int]:
    """The maps of a tile over the same ground: its core and as much around it as the widest of them shows.

    Where a map ends earlier its edge is carried on.

    Args:
        side: of the core in compute pixels.
        strides: of the decoder's levels; the ground's side is a multiple of each.

    Returns:
        Each block's map (C, n, n), and the compute pixels from its corner to the core's.
    """
    coarsest = max((*strides, *(m.stride for m in features.maps.values())))
    shown = max(m.origin for m in features.maps.values())
    margin = next(m for m in range(shown, shown + coarsest) if (side + 2 * m) % coarsest == 0)
    whole = {}
    for name, feature in features.maps.items():
        before = (margin - feature.origin) // feature.stride
        after = (side + 2 * margin) // feature.stride - before - feature.stored.shape[-1]
        around = (before, after, before, after)
        whole[name] = (
            F.pad(feature.stored[None], around, mode="replicate")[0] if any(around) else feature.stored
        )
    return whole, margin


def strides_of(entries: Sequence[Entry]) -> tuple[int, ...]:
    """Of the levels of a decoder that sees these blocks."""
    return _WITH_HR if any(entry.name.startswith("hr.") for entry in entries) else _WITHOUT


def decoder_of(entries: Sequence[Entry], tensors: Mapping[str, Tensor], classes: int) -> Decoder:
    """The decoder of K classes whose tensors are among a model file's, in evaluation mode.

    Raises:
        InputError: the tensors are not those of such a decoder.
    """
    decoder = Decoder(entries, classes)
    own = {name.removeprefix(PREFIX): t for name, t in tensors.items() if name.startswith(PREFIX)}
    try:
        decoder.load_state_dict(own)
    except RuntimeError:
        raise InputError(
            "holds a decoder of another version of SkySense",
            "the model file",
            "Train it again with this version",
        ) from None
    return decoder.eval()
