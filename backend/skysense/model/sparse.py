"""Fusion of a few locations of a tile: what `fuse.fuse_tile` gives there, without fusing the rest.

Fusion is most of what a 10 m pixel costs, and each location is fused by itself, so a training step need fuse no
pixel without a label. Shapes: N locations, U patches that hold them, r = 4 / stride cells along a patch, T tokens,
D fusion dim.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from skysense.model.fuse import usual_locations
from skysense.model.fusion import TransformerEncoder
from skysense.model.tokens import MapTokens, SeriesTokens, TokenSource


def fuse_cells(
    fusion: TransformerEncoder,
    sources: Sequence[TokenSource],
    rows: Tensor,
    cols: Tensor,
    per_patch: int,
    like: Tensor,
) -> tuple[Tensor, Tensor]:
    """Fuse cells of one tile.

    Args:
        sources: the modalities with at least one valid token in this tile; none at all gives invalid cells.
        rows, cols: (N,) int64 cells of the whole tile, on the features' device.
        per_patch: r.
        like: a tensor of the features' dtype and device.

    Returns:
        (N, D), zeros where no token is valid, and validity (N,) bool.
    """
    assert fusion.cls_token is not None
    if not sources or not len(rows):
        dim = fusion.porj_linear.out_features
        return like.new_zeros(len(rows), dim), torch.zeros(len(rows), dtype=torch.bool, device=like.device)
    step = usual_locations(like.device)
    parts = [
        _fuse(fusion, sources, part_rows, part_cols, per_patch)
        for part_rows, part_cols in zip(rows.split(step), cols.split(step), strict=True)
    ]
    return torch.cat([fused for fused, _ in parts]), torch.cat([valid for _, valid in parts])


def _fuse(
    fusion: TransformerEncoder, sources: Sequence[TokenSource], rows: Tensor, cols: Tensor, r: int
) -> tuple[Tensor, Tensor]:
    patches, place = torch.unique(torch.stack((rows // r, cols // r)), dim=1, return_inverse=True)
    row, col = rows % r, cols % r
    tokens, known = [], []
    for source in sources:
        # One column of patches (U, r, 1, r, T, D), of which the cells are picked.
        x, valid = _column(source, *patches).band(slice(0, patches.shape[1]), slice(0, 1))
        tokens.append(x[place, row, 0, col])
        known.append(None if valid is None else valid[place, row, 0, col])
    x_NTD = fusion.with_cls(torch.cat(tokens, 1))
    if all(part is None for part in known):
        return fusion.fuse(x_NTD), torch.ones(len(rows), dtype=torch.bool, device=rows.device)
    valid_NT = torch.cat(
        [
            torch.ones(t.shape[:2], dtype=torch.bool, device=t.device) if part is None else part
            for t, part in zip(tokens, known, strict=True)
        ],
        1,
    )
    some = valid_NT.any(1)
    fused = fusion.fuse(x_NTD, None if bool(valid_NT.all()) else valid_NT)
    return torch.where(some[:, None], fused, torch.zeros_like(fused)), some


def _column(source: TokenSource, rows: Tensor, cols: Tensor) -> TokenSource:
    """The same source with the patches at (rows, cols), (U,) each, one below the other."""
    if isinstance(source, SeriesTokens):
        return replace(
            source,
            patches=source.patches[:, rows, cols][:, :, None],
            valid=None if source.valid is None else source.valid[:, rows, cols][:, :, None],
        )
    assert isinstance(source, MapTokens)
    r = source.per_patch

    def picked(cells: Tensor) -> Tensor:
        return cells.unflatten(1, (-1, r)).unflatten(0, (-1, r))[rows, :, cols].flatten(0, 1)

    valid = None if source.valid is None else picked(source.valid)
    return replace(source, cells=picked(source.cells), valid=valid)
