"""Vision Transformer, the encoder of one Sentinel-2 or Sentinel-1 acquisition.

Shapes: N images, h w patch rows and columns, L = h * w tokens, D model dim. Source: reference specification
1.3.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skysense.model.attention import key_mask
from skysense.model.layers import EPS, EncoderLayer, corner_pad, drop_path_rates, init_transformer


class VisionTransformer(nn.Module):
    """Images to maps of patch tokens.

    Args:
        img_size: side, or height and width, in pixels that `pos_embed` was made for; other sizes resize it.
        out_indices: layers to give out; -1 is the last one.
        with_cls_token: False drops the cls token before the first layer (it then serves `pos_embed` only).
        output_cls_token: give (map, cls) per output instead of the map.
        final_norm: LayerNorm (key `ln1`) after the last layer.
        drop_path_rate: rate of the last layer, on the FFN branch only; linear from 0.
        eps: of all LayerNorms.
        interpolate_mode: how `pos_embed` is resized.
    """

    def __init__(
        self,
        embed_dims: int,
        num_layers: int,
        num_heads: int,
        in_channels: int,
        *,
        img_size: int | Sequence[int] = 64,
        patch_size: int = 4,
        mlp_ratio: int = 4,
        out_indices: int | Sequence[int] = -1,
        with_cls_token: bool = True,
        output_cls_token: bool = False,
        final_norm: bool = False,
        drop_path_rate: float = 0.0,
        eps: float = EPS,
        interpolate_mode: str = "bicubic",
    ) -> None:
        super().__init__()
        if output_cls_token and not with_cls_token:
            raise ValueError("output_cls_token needs with_cls_token")
        indices = (out_indices,) if isinstance(out_indices, int) else tuple(out_indices)
        self.out_indices = tuple(i % num_layers for i in indices)
        height, width = (img_size, img_size) if isinstance(img_size, int) else img_size
        self.patch_size, self.native_grid = patch_size, (height // patch_size, width // patch_size)
        self.with_cls_token, self.output_cls_token = with_cls_token, output_cls_token
        self.interpolate_mode = interpolate_mode
        self.patch_embed = nn.ModuleDict(
            {"projection": nn.Conv2d(in_channels, embed_dims, patch_size, patch_size)}
        )
        self.cls_token = nn.Parameter(torch.empty(1, 1, embed_dims))
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + math.prod(self.native_grid), embed_dims))
        self.layers = nn.ModuleList(
            EncoderLayer(embed_dims, num_heads, mlp_ratio, rate, eps)
            for rate in drop_path_rates(drop_path_rate, num_layers)
        )
        self.ln1 = nn.LayerNorm(embed_dims, eps=eps) if final_norm else None
        init_transformer(self)
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def positions(self, height: int, width: int) -> Tensor:
        """`pos_embed` for a patch grid, (1, 1 + height * width, D).

        Resized only when the token count differs: the official rule, under which 8 x 32 patches take those
        of 16 x 16.
        """
        if 1 + height * width == self.pos_embed.shape[1]:
            return self.pos_embed
        return resize_positions(self.pos_embed, self.native_grid, (height, width), self.interpolate_mode)

    def forward(
        self, x: Tensor, valid: Tensor | None = None
    ) -> tuple[Tensor, ...] | tuple[tuple[Tensor, Tensor], ...]:
        """Encode.

        Args:
            x: (N, in_channels, H, W) normalised; padded with zeros to whole patches.
            valid: (N, h, w) bool: patches that may be looked at. None, or all True: every patch (the same
                bits). An image without any valid patch gives finite but meaningless values.

        Returns:
            Per output a map (N, D, h, w), or (map, cls (N, D)) where `output_cls_token`.
        """
        x = self.patch_embed["projection"](corner_pad(x, self.patch_size))
        height, width = x.shape[-2:]
        x_NLD = x.flatten(2).transpose(1, 2).contiguous()
        positions = self.positions(height, width)
        if self.with_cls_token:
            x_NLD = torch.cat((self.cls_token.expand(len(x_NLD), -1, -1), x_NLD), 1) + positions
        else:
            x_NLD = x_NLD + positions[:, 1:]
        mask = self._mask(valid)
        outputs = []
        for i, layer in enumerate(self.layers):
            x_NLD = layer(x_NLD, mask)
            if self.ln1 is not None and i == len(self.layers) - 1:
                x_NLD = self.ln1(x_NLD)
            if i in self.out_indices:
                patches = x_NLD[:, 1:] if self.with_cls_token else x_NLD
                patch_map = patches.unflatten(1, (height, width)).permute(0, 3, 1, 2)
                outputs.append((patch_map, x_NLD[:, 0]) if self.output_cls_token else patch_map)
        return tuple(outputs)

    def _mask(self, valid_Nhw: Tensor | None) -> Tensor | None:
        if valid_Nhw is None or bool(valid_Nhw.all()):
            return None
        valid_NL = valid_Nhw.flatten(1)
        return key_mask(F.pad(valid_NL, (1, 0), value=True) if self.with_cls_token else valid_NL)


def resize_positions(
    pos_embed: Tensor, native: tuple[int, int], size: tuple[int, int], mode: str = "bicubic"
) -> Tensor:
    """Resize a `pos_embed` (1, 1 + n, D) of a grid, with a leading cls position, to (1, 1 + size[0] * size[1], D)."""
    cls, grid = pos_embed[:, :1], pos_embed[:, 1:].unflatten(1, native).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=size, mode=mode, align_corners=False)
    return torch.cat((cls, grid.flatten(2).transpose(1, 2)), 1)
