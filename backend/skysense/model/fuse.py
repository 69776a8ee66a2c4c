"""Fusion over the locations of a tile, band by band, and back to 10 m.

Shapes: r = 4 / stride cells along a patch, D fusion dim, K output dim (D, or 2D with geo-context).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from skysense.model.fusion import TransformerEncoder
from skysense.model.team import each
from skysense.model.tokens import PATCH, TokenSource

#: Locations fused at a time: on a CPU their activations should stay near its caches, elsewhere they should
#: fill the device.
CPU_LOCATIONS, DEVICE_LOCATIONS = 512, 32768


def usual_locations(device: torch.device) -> int:
    """Locations that are fused at a time."""
    return CPU_LOCATIONS if device.type == "cpu" else DEVICE_LOCATIONS


@dataclass(frozen=True)
class CellWindow:
    """The cells of a tile that are fused: those of the core, and a ring around it for the interpolation back
    to pixels.

    Attributes:
        stride: pixels along a cell, 1, 2 or 4.
        crop: pixels dropped at each side of the tile.
        height, width: pixels of the whole tile.
    """

    stride: int
    crop: int
    height: int
    width: int

    def __post_init__(self) -> None:
        if self.stride not in (1, 2, 4):
            raise ValueError(f"fusion_stride must be 1, 2 or 4, not {self.stride}")
        if self.crop < 0 or 2 * self.crop >= min(self.height, self.width):
            raise ValueError(
                f"crop {self.crop} leaves nothing of a tile of {self.height} x {self.width} pixels"
            )

    @property
    def per_patch(self) -> int:
        return PATCH // self.stride

    def cells(self, size: int) -> tuple[int, int]:
        """First and one past the last cell along a side of `size` pixels."""
        ring = 1 if self.stride > 1 else 0
        last = -(-(size - self.crop) // self.stride) + ring
        return max(self.crop // self.stride - ring, 0), min(last, -(-size // self.stride))

    def to_pixels(self, fused: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Cells (B, y, x, K) and (B, y, x) -> pixels of the core (B, K, hf, wf) and (B, hf, wf).

        Bilinear between valid cells only.
        """
        fused = fused.permute(0, 3, 1, 2)
        if self.stride == 1:
            return fused, valid
        scale = float(self.stride)
        fused = F.interpolate(fused, scale_factor=scale, mode="bilinear", align_corners=False)
        pixels = valid.repeat_interleave(self.stride, -2).repeat_interleave(self.stride, -1)
        if not bool(valid.all()):
            weight = valid.to(fused.dtype)[:, None]
            weight = F.interpolate(weight, scale_factor=scale, mode="bilinear", align_corners=False)
            fused = torch.where(pixels[:, None], fused / weight.clamp(min=1e-6), torch.zeros_like(fused))
        rows, cols = (
            slice(self.crop - start * self.stride, size - self.crop - start * self.stride)
            for size, start in ((s, self.cells(s)[0]) for s in (self.height, self.width))
        )
        return fused[..., rows, cols], pixels[..., rows, cols]


def fuse_tile(
    fusion: TransformerEncoder,
    sources: Sequence[TokenSource],
    window: CellWindow,
    like: Tensor,
    locations: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Fuse the locations of one tile.

    Args:
        sources: the modalities with at least one valid token in this tile; none at all gives an invalid tile.
        like: a tensor of the features' dtype and device.
        locations: that are fused at a time, in whole rows of patches; None: as many as suit the device.

    Returns:
        Cells of the window (y, x, D), zeros where no token is valid, and validity (y, x).
    """
    if not sources:
        return _nothing(fusion, window, like)
    (row0, row1), (col0, col1) = window.cells(window.height), window.cells(window.width)
    r = window.per_patch
    per_row = (-(-col1 // r) - col0 // r) * r * r
    step = max(1, (locations or usual_locations(like.device)) // per_row)
    first, last = row0 // r, -(-row1 // r)
    bands = each(
        lambda rows: _fused(fusion, *_tokens(fusion, sources, window, rows)),
        [slice(start, min(start + step, last)) for start in range(first, last, step)],
    )
    return torch.cat([fused for fused, _ in bands]), torch.cat([some for _, some in bands])


def fuse_tiles(
    fusion: TransformerEncoder, tiles: Sequence[Sequence[TokenSource]], window: CellWindow, like: Tensor
) -> list[tuple[Tensor, Tensor]]:
    """`fuse_tile` of every tile of a batch; those with the same number of tokens go together, as many as suit the device.

    For GPUs: a tile of a pretraining is so small that they wait for Python between two layers. The sums are the same and are
    rounded otherwise.
    """
    done: dict[int, tuple[Tensor, Tensor]] = {}
    alike: dict[int, list[tuple[int, Tensor, Tensor | None]]] = {}
    top, bottom = window.cells(window.height)
    rows = slice(top // window.per_patch, -(-bottom // window.per_patch))
    for number, sources in enumerate(tiles):
        if not sources:
            done[number] = _nothing(fusion, window, like)
            continue
        tokens, valid = _tokens(fusion, sources, window, rows)
        alike.setdefault(tokens.shape[2], []).append((number, tokens, valid))
    for members in alike.values():
        height, width = members[0][1].shape[:2]
        count = max(1, usual_locations(like.device) // (height * width))
        for start in range(0, len(members), count):
            part = members[start : start + count]
            valid = None
            if any(own is not None for _, _, own in part):
                valid = torch.cat(
                    [
                        tokens.new_ones((*tokens.shape[:2], tokens.shape[2] - 1), dtype=torch.bool)
                        if own is None
                        else own
                        for _, tokens, own in part
                    ]
                )
            fused, some = _fused(fusion, torch.cat([tokens for _, tokens, _ in part]), valid)
            for (number, _, _), *own in zip(part, fused.split(height), some.split(height), strict=True):
                done[number] = (own[0], own[1])
    return [done[number] for number in range(len(tiles))]


def _nothing(fusion: TransformerEncoder, window: CellWindow, like: Tensor) -> tuple[Tensor, Tensor]:
    """A tile without a valid token."""
    (row0, row1), (col0, col1) = window.cells(window.height), window.cells(window.width)
    empty = like.new_zeros(row1 - row0, col1 - col0, fusion.porj_linear.out_features)
    return empty, torch.zeros(empty.shape[:2], dtype=torch.bool, device=like.device)


def _tokens(
    fusion: TransformerEncoder, sources: Sequence[TokenSource], window: CellWindow, rows: slice
) -> tuple[Tensor, Tensor | None]:
    """The tokens of some rows of patches, F_e first, (y, x, 1 + T, D), and which count, (y, x, T), None: all."""
    (row0, row1), (col0, col1) = window.cells(window.height), window.cells(window.width)
    r = window.per_patch
    cols = slice(col0 // r, -(-col1 // r))
    assert fusion.cls_token is not None
    parts = [source.band(rows, cols) for source in sources]
    lead = parts[0][0].shape[:4]
    tokens = torch.cat([fusion.cls_token.expand(*lead, 1, -1), *(tokens for tokens, _ in parts)], 4)
    # Patches may reach past the window: cut to its cells.
    cut_rows = slice(max(row0 - rows.start * r, 0), row1 - rows.start * r)
    cut_cols = slice(col0 - cols.start * r, col1 - cols.start * r)
    tokens = tokens.flatten(2, 3).flatten(0, 1)[cut_rows, cut_cols]
    if all(part is None for _, part in parts):
        return tokens, None
    known = [
        torch.ones(t.shape[:-1], dtype=torch.bool, device=t.device) if part is None else part
        for t, part in parts
    ]
    valid = torch.cat(known, 4).flatten(2, 3).flatten(0, 1)[cut_rows, cut_cols]
    return tokens, None if bool(valid.all()) else valid


def _fused(fusion: TransformerEncoder, tokens: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """F_e of locations (y, x, 1 + T, D), zeros where no token is valid, (y, x, D), and validity (y, x)."""
    size = tokens.shape[:2]
    flat = None if valid is None else valid.flatten(0, 1)
    fused = fusion.fuse(tokens.flatten(0, 1), flat)
    if flat is None:
        some = torch.ones(len(fused), dtype=torch.bool, device=fused.device)
    else:
        some = flat.any(1)
        fused = torch.where(some[:, None], fused, torch.zeros_like(fused))
    return fused.unflatten(0, size), some.unflatten(0, size)
