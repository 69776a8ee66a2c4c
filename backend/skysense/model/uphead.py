"""UPHead: patch tokens back to pixels, by a 1 x 1 convolution and a pixel shuffle.

Shapes: I input dim, O output dim, r = up_scale, D dim of a linear map that follows. Source: reference
specification 1.4.
"""

from typing import cast

from einops import rearrange
from torch import Tensor, nn


class UPHead(nn.Module):
    """(N, I, h, w) -> (N, O, r h, r w); keys `decoder.0.*`. No norm, no activation."""

    def __init__(self, in_dim: int, out_dim: int, up_scale: int = 4) -> None:
        super().__init__()
        self.up_scale = up_scale
        conv = nn.Conv2d(in_dim, out_dim * up_scale**2, 1)
        nn.init.kaiming_normal_(conv.weight, mode="fan_in", nonlinearity="relu")
        nn.init.zeros_(cast(Tensor, conv.bias))
        self.decoder = nn.Sequential(conv, nn.PixelShuffle(up_scale))

    @property
    def conv(self) -> nn.Conv2d:
        """The 1 x 1 convolution; output channel = (o * r + row) * r + column."""
        return cast(nn.Conv2d, self.decoder[0])

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.decoder(x)
        return out

    def fold(self, weight_DO: Tensor, bias_D: Tensor, stride: int = 1) -> tuple[Tensor, Tensor]:
        """UPHead, a mean over stride x stride pixels and a linear map O -> D, as one linear map per patch.

        All three are linear and none crosses a patch, so their product is exact.

        Returns:
            weight ((r/stride)^2 D, I) and bias ((r/stride)^2 D), outputs ordered (row, column, D) within the
            patch.
        """
        r, conv = self.up_scale, self.conv
        if r % stride:
            raise ValueError(f"stride {stride} does not divide the {r} pixels of a patch")
        # In double precision: one rounding, as small as that of any weight.
        weight, bias, linear = (t.double() for t in (conv.weight, cast(Tensor, conv.bias), weight_DO))
        axes = {"y": r // stride, "x": r // stride, "i": stride, "j": stride}
        up = rearrange(weight, "(o y i x j) c 1 1 -> y x o c i j", **axes).mean((-2, -1))
        shift = rearrange(bias, "(o y i x j) -> y x o i j", **axes).mean((-2, -1))
        folded = (linear @ up).flatten(0, 2).to(weight_DO.dtype)
        return folded, (shift @ linear.T + bias_D.double()).flatten().to(weight_DO.dtype)
