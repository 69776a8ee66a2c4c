"""The head that finds objects: a small convolutional network on HR bands and, where it helps, the model's features.

Zhou et al. 2019, Objects as Points (arXiv:1904.07850): an object is a peak of its class's heat map, and what else is known of it is
read off at the peak. The network is a feature pyramid (Lin et al. 2017) that ends at every 4th pixel.

Shape legend: B pictures, C bands, K classes, H x W pixels, h x w cells (h = H / 4).
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skysense.finetune.features import Block

#: Pixels of a cell's side.
STRIDE = 4
#: Sides of pictures are multiples of this.
COARSEST = 32
#: What is known of an object beside its class: offset x, y from the cell's centre in cells, logarithm of the sides w, h over the
#: usual side, and cosine and sine of twice the angle.
GEOMETRY = 6
_WIDTHS = (32, 48, 64, 96)
_WIDTH = 32
_SPARSE = -4.6  # a heat map begins at 1 %


class ObjectNet(nn.Module):
    """The network.

    Args:
        bands: C.
        blocks: the model's features that it sees beside the bands.
        classes: K.
    """

    def __init__(self, bands: int, blocks: Sequence[Block], classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.zeros(bands))
        self.register_buffer("std", torch.ones(bands))
        self.stem = nn.Sequential(_unit(bands, 16, 2), _unit(16, _WIDTHS[0], 2))
        self.seen = nn.ModuleList(nn.Conv2d(block.dim, 16, 1) for block in blocks)
        self.join = _unit(_WIDTHS[0] + 16 * len(blocks), _WIDTHS[0]) if blocks else nn.Identity()
        self.down = nn.ModuleList(
            nn.Sequential(_unit(fine, coarse, 2), _unit(coarse, coarse)) for fine, coarse in pairwise(_WIDTHS)
        )
        self.lateral = nn.ModuleList(nn.Conv2d(width, _WIDTH, 1) for width in _WIDTHS)
        self.up = nn.ModuleList(_unit(_WIDTH, _WIDTH) for _ in _WIDTHS[1:])
        self.last = _unit(_WIDTH, 48)
        self.out = nn.Conv2d(48, classes + GEOMETRY, 1)
        nn.init.normal_(self.out.weight, std=0.01)
        with torch.no_grad():
            assert self.out.bias is not None
            self.out.bias.zero_()[:classes] = _SPARSE

    def forward(self, bands: Tensor, valid: Tensor, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits of the heat maps (B, K, h, w), and the geometry (B, GEOMETRY, h, w).

        Args:
            bands: (B, C, H, W) on 0..1, H and W multiples of `COARSEST`.
            valid: (B, H, W) bool.
            features: of each block (B, dim, any, any) over the same ground.
        """
        x = (bands - self.mean[:, None, None]) / self.std[:, None, None] * valid[:, None]
        x = self.stem(x)
        if len(self.seen):
            maps = [
                F.interpolate(conv(values), x.shape[-2:], mode="bilinear", align_corners=False)
                for conv, values in zip(self.seen, features, strict=True)
            ]
            x = self.join(torch.cat([x, *maps], 1))
        levels = [x]
        for step in self.down:
            levels.append(step(levels[-1]))
        x = self.lateral[-1](levels[-1])
        for level in range(len(levels) - 2, -1, -1):
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = self.up[level](x + self.lateral[level](levels[level]))
        x = self.out(self.last(x)).float()
        return x[:, : self.classes], x[:, self.classes :]


def _unit(channels: int, out: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    return nn.Sequential(conv, nn.BatchNorm2d(out), nn.ReLU(inplace=True))


def net_of(header: dict[str, Any], tensors: dict[str, Tensor], prefix: str) -> ObjectNet:
    """The network of a model file, in evaluation mode; the arguments are its "head" entry and tensors."""
    blocks = blocks_of(header)
    net = ObjectNet(band_count(blocks), seen_blocks(blocks), len(header["ids"]))
    net.load_state_dict(
        {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
    )
    return net.eval()


def blocks_of(header: dict[str, Any]) -> tuple[Block, ...]:
    """The blocks that a head was trained on."""
    return tuple(Block(name, dim) for name, dim in header["blocks"])


def band_count(blocks: Sequence[Block]) -> int:
    """HR bands among a pixel's blocks: a third of that block, beside their means and deviations (see `features`)."""
    return next(block.dim for block in blocks if block.spectral) // 3


def seen_blocks(blocks: Sequence[Block]) -> tuple[Block, ...]:
    """The blocks that are the model's own features."""
    return tuple(block for block in blocks if not block.spectral)
