"""Swin Transformer V2, the encoder of high-resolution images.

Shapes: B images, C channels, H W rows and columns of the token grid (maps are kept (B, H, W, C) inside).
Source: reference specification 1.2; Liu et al. 2022. Post-norm blocks, an extra norm every n blocks of a
stage.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from skysense.model.layers import EPS, DropPath, FeedForward, corner_pad, drop_path_rates
from skysense.model.swin_attention import WindowAttention
from skysense.model.swin_windows import window_order


class PatchEmbed(nn.Module):
    """Strided convolution ('corner' padding) and LayerNorm: (B, 3, h, w) -> (B, ceil h/p, ceil w/p, C)."""

    def __init__(self, channels: int, dim: int, patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.projection = nn.Conv2d(channels, dim, patch, patch)
        self.norm = nn.LayerNorm(dim, eps=EPS)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(self.projection(corner_pad(x, self.patch)).permute(0, 2, 3, 1))
        return out


class PatchMerging(nn.Module):
    """2 x 2 neighbours become one token: (B, H, W, C) -> (B, ceil H/2, ceil W/2, 2C).

    The released weights order the 4C inputs (channel, row, column), as `unfold` does.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fast = True
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)
        self.norm = nn.LayerNorm(2 * dim, eps=EPS)

    def forward(self, x_BHWC: Tensor) -> Tensor:
        x = corner_pad(x_BHWC.permute(0, 3, 1, 2), 2)
        if self.fast:
            x = rearrange(x, "b c (h i) (w j) -> b h w (c i j)", i=2, j=2)
        else:
            x = F.unfold(x, 2, stride=2).transpose(1, 2).unflatten(1, (x.shape[-2] // 2, -1))
        out: Tensor = self.norm(self.reduction(x))
        return out


class ShiftedWindowAttention(nn.Module):
    """Pads to whole windows, rolls, attends inside windows (key `w_msa`), and undoes both.

    The fast path does all of it with one gather before the attention and one after.
    """

    def __init__(self, dim: int, heads: int, window: int, shift: int, pad_small_map: bool) -> None:
        super().__init__()
        self.window, self.shift, self.pad_small_map, self.fast = window, shift, pad_small_map, True
        self.w_msa = WindowAttention(dim, heads, window)

    def forward(self, x_BHWC: Tensor) -> Tensor:
        """Raises ValueError for a map smaller than the window, unless `pad_small_map`."""
        height, width = x_BHWC.shape[1:3]
        shift, side = self.shift, self.window
        if not self.pad_small_map:
            if min(height, width) < side:
                raise ValueError(
                    f"a map of {height} x {width} tokens is smaller than the window ({side}); use a larger "
                    "image or pad_small_map"
                )
            if min(height, width) == side:
                shift = 0  # one window already spans this side; the official rule drops both shifts
        # Padded tokens take part as keys, as in the official code: cosine 0, bias only.
        right, down = -width % side, -height % side
        x = F.pad(x_BHWC, (0, 0, 0, right, 0, down)) if right or down else x_BHWC
        if self.fast:
            order = window_order(len(x), height, width, side, shift, x.device)
            windows = x.flatten(0, 2)[order.order].unflatten(0, (-1, side * side))
            windows = self.w_msa.attend_ordered(windows, order.kinds, shift)
            return windows.flatten(0, 1)[order.inverse].view_as(x_BHWC)
        if shift:
            x = x.roll((-shift, -shift), (1, 2))
        windows = rearrange(x, "b (y i) (x j) c -> b y x (i j) c", i=side, j=side)
        windows = self.w_msa(windows, shift)
        x = rearrange(windows, "b y x (i j) c -> b (y i) (x j) c", i=side, j=side)
        if shift:
            x = x.roll((shift, shift), (1, 2))
        return x[:, :height, :width]


class SwinBlock(nn.Module):
    """Post-norm block: x + norm1(attention), x + norm2(FFN), and norm3 of it all where `extra_norm`."""

    def __init__(
        self,
        dim: int,
        heads: int,
        window: int,
        shift: int,
        drop_path: float,
        extra_norm: bool,
        pad_small_map: bool,
    ) -> None:
        super().__init__()
        self.attn = ShiftedWindowAttention(dim, heads, window, shift, pad_small_map)
        self.norm1 = nn.LayerNorm(dim, eps=EPS)
        self.ffn = FeedForward(dim, 4 * dim)
        self.norm2 = nn.LayerNorm(dim, eps=EPS)
        self.norm3 = nn.LayerNorm(dim, eps=EPS) if extra_norm else None
        self.drop_path = DropPath(drop_path)

    def forward(self, x_BHWC: Tensor) -> Tensor:
        # Drop path acts on the branch before its norm, so a dropped branch still adds the norm's bias.
        x: Tensor = x_BHWC + self.norm1(self.drop_path(self.attn(x_BHWC)))
        x = x + self.norm2(self.drop_path(self.ffn(x)))
        return x if self.norm3 is None else self.norm3(x)


class SwinStage(nn.Module):
    """An optional patch merging, then blocks that alternate between plain and shifted windows."""

    def __init__(
        self,
        dim: int,
        heads: int,
        window: int,
        drop_paths: Sequence[float],
        extra_norm_every: int | None,
        downsample: bool,
        pad_small_map: bool,
    ) -> None:
        super().__init__()
        self.downsample = PatchMerging(dim // 2) if downsample else None
        self.blocks = nn.ModuleList(
            SwinBlock(
                dim,
                heads,
                window,
                shift=window // 2 if i % 2 else 0,
                drop_path=rate,
                extra_norm=bool(extra_norm_every) and (i + 1) % (extra_norm_every or 1) == 0,
                pad_small_map=pad_small_map,
            )
            for i, rate in enumerate(drop_paths)
        )

    def forward(self, x_BHWC: Tensor) -> Tensor:
        if self.downsample is not None:
            x_BHWC = self.downsample(x_BHWC)
        for block in self.blocks:
            x_BHWC = block(x_BHWC)
        return x_BHWC


class SwinTransformerV2(nn.Module):
    """Images to maps at strides 4, 8, 16 and 32.

    Args:
        embed_dims: channels of stage 0; they double with each stage.
        extra_norm_every_n_blocks: counted inside each stage; None for no extra norms.
        window_size: of all stages, or of each.
        out_indices: stages to give out, each through its own output norm (`norm{i}`).
        pad_small_map: pad maps smaller than the window (the official default refuses them).
        drop_path_rate: rate of the last block; linear from 0 over all blocks.

    Raises:
        ValueError: there are not as many windows as stages.
    """

    def __init__(
        self,
        embed_dims: int,
        depths: Sequence[int],
        num_heads: Sequence[int],
        *,
        extra_norm_every_n_blocks: int | None = 6,
        window_size: int | Sequence[int] = 8,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        pad_small_map: bool = True,
        drop_path_rate: float = 0.0,
        in_channels: int = 3,
        patch_size: int = 4,
    ) -> None:
        super().__init__()
        windows = [window_size] * len(depths) if isinstance(window_size, int) else window_size
        if len(windows) != len(depths):
            raise ValueError(f"{len(windows)} windows for {len(depths)} stages")
        self.out_indices = tuple(out_indices)
        self.patch_embed = PatchEmbed(in_channels, embed_dims, patch_size)
        rates = drop_path_rates(drop_path_rate, sum(depths))
        dims = [embed_dims * 2**i for i in range(len(depths))]
        self.stages = nn.ModuleList(
            SwinStage(
                dims[i],
                num_heads[i],
                windows[i],
                rates[sum(depths[:i]) : sum(depths[: i + 1])],
                extra_norm_every_n_blocks,
                downsample=i > 0,
                pad_small_map=pad_small_map,
            )
            for i in range(len(depths))
        )
        for i in self.out_indices:
            self.add_module(f"norm{i}", nn.LayerNorm(dims[i], eps=EPS))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, in_channels, h, w) normalised -> per output stage a map (B, C_i, ceil h/s, ceil w/s)."""
        outputs = []
        x = self.patch_embed(x)
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if i in self.out_indices:
                outputs.append(self.get_submodule(f"norm{i}")(x).permute(0, 3, 1, 2))
        return tuple(outputs)
