"""The same place in two views: mapping points, sampling maps at them, and drawing points that both views saw.

Points are (row, col) in view pixels of the base lattice (HR alone: HR pixels), pixel centres at + 0.5.
Shape legend: B samples, N points, C channels, T dates, h w view pixels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from skysense.model.inputs import Inputs
from skysense.model.skysense import SERIES
from skysense.model.tokens import PATCH
from skysense.model.validity import block_valid
from skysense.pretrain.collate import Group
from skysense.scene.sensors import Modality

#: Candidates per wanted point where points are drawn from a continuum (HR alone).
_CANDIDATES = 8


def correspond(
    to_window_u: Tensor, to_window_v: Tensor, shape_v: tuple[int, int], points_u: Tensor
) -> tuple[Tensor, Tensor]:
    """Points of view u where view v shows them.

    Args:
        to_window_u, to_window_v: (B, 2, 3), see `View.to_window`.
        shape_v: height and width of view v in its pixels.
        points_u: (B, N, 2).

    Returns:
        points_v (B, N, 2) float64, exact where views differ by whole pixels, turns and mirroring, and inside
        (B, N) bool: whether view v shows the point.
    """
    u, v = to_window_u.double(), to_window_v.double()
    at_window = points_u.double() @ u[:, :, :2].mT + u[:, None, :, 2]
    a, b, c, d = v[:, :, :2].flatten(1).unbind(1)
    inverse = torch.stack((d, -b, -c, a), 1).unflatten(1, (2, 2)) / (a * d - b * c)[:, None, None]
    points_v = (at_window - v[:, None, :, 2]) @ inverse.mT
    limit = torch.tensor(shape_v, dtype=torch.float64, device=points_v.device)
    return points_v, ((points_v >= 0) & (points_v <= limit)).all(-1)


def sample_at(maps: Tensor, points: Tensor, pixels_per_cell: float) -> Tensor:
    """Bilinear values of maps at points, carried on beyond the outermost centres; differentiable in `maps`.

    Args:
        maps: (B, C, h', w').
        points: (B, N, 2) in view pixels.
        pixels_per_cell: view pixels along a cell of the map.

    Returns:
        (B, N, C), exact at the cells' centres.
    """
    limit = torch.tensor(maps.shape[-2:], device=maps.device) - 1
    position = (points.to(maps.device, torch.float64) / pixels_per_cell - 0.5).clamp_min(0).minimum(limit)
    low = position.floor().long()
    high = (low + 1).minimum(limit)
    along = (position - low).to(maps.dtype)
    sample = torch.arange(len(maps), device=maps.device)[:, None]

    def values(rows: Tensor, cols: Tensor) -> Tensor:
        return maps[sample, :, rows, cols]

    down, right = along[..., :1], along[..., 1:]
    upper = values(low[..., 0], low[..., 1]) * (1 - right) + values(low[..., 0], high[..., 1]) * right
    lower = values(high[..., 0], low[..., 1]) * (1 - right) + values(high[..., 0], high[..., 1]) * right
    return upper * (1 - down) + lower * down


def seen(inputs: Inputs, modality: Modality | None = None) -> Tensor:
    """Where a view was seen: (B, h, w) bool on the lattice that points count in.

    A pixel of a series counts if it is valid itself and its patch is, on any date; one of fused HR if half of its
    HR pixels are valid.

    Args:
        modality: None for any of them.
    """
    parts = [
        dates.any(1)
        for name in SERIES
        if modality in (None, name) and (dates := seen_dates(inputs, name)) is not None
    ]
    if inputs.hr_valid is not None and modality in (None, "hr"):
        parts.append(
            inputs.hr_valid
            if inputs.hr_per_base is None
            else block_valid(inputs.hr_valid, inputs.hr_per_base)
        )
    if not parts:
        raise ValueError(f"the view has no {modality or 'modality'}")
    return torch.stack(parts).any(0)


def seen_dates(inputs: Inputs, modality: Modality) -> Tensor | None:
    """(B, T, h, w) bool: the pixel is valid and so is its patch; None where no sample has it."""
    series = inputs.series(modality)
    if series is None:
        return None
    assert series.valid is not None  # a group's inputs say what is valid
    patches = block_valid(series.valid, PATCH)
    pixels = patches.repeat_interleave(PATCH, -2).repeat_interleave(PATCH, -1)
    return series.valid & pixels[..., : series.valid.shape[-2], : series.valid.shape[-1]]


def random_points(
    group: Group,
    n: int,
    generators: Sequence[torch.Generator],
    modality: Modality | None = None,
    views: tuple[int, int] = (0, 1),
) -> tuple[Tensor, Tensor, Tensor]:
    """Random places that two views of each sample saw, without repetition.

    Where there is a series or fused HR, places are pixel centres (the fusion's tokens); for HR alone anywhere.

    Args:
        n: how many per sample.
        generators: one per sample, on the CPU: what a sample draws does not depend on its company.
        modality: the one that must have seen them, in both views; None for any, not necessarily the same.
        views: indices of u and v.

    Returns:
        points_u and points_v (B, n, 2) float64 and there (B, n) bool, False where a sample has fewer than n (the
        points are then some place inside view u, of no meaning).

    Raises:
        ValueError: a view lacks the modality in all samples.
    """
    u, v = views
    seen_u, seen_v = seen(group.views[u], modality), seen(group.views[v], modality)
    batch, height, width = seen_u.shape
    assert len(generators) == batch
    device = seen_u.device
    alone = group.views[u].hr is not None and group.views[u].hr_per_base is None
    if alone:
        draws = _draw(generators, (_CANDIDATES * n, 2))
        points = draws.to(device) * torch.tensor((height, width), device=device)
    else:
        rows, cols = torch.arange(height, device=device), torch.arange(width, device=device)
        points = (torch.cartesian_prod(rows, cols) + 0.5).double().expand(batch, -1, -1)
    others, inside = correspond(
        group.to_window[u].to(device),
        group.to_window[v].to(device),
        (seen_v.shape[1], seen_v.shape[2]),
        points,
    )
    good = inside & _at(seen_u, points) & _at(seen_v, others)
    keys = _draw(generators, good.shape[1:]).to(device).masked_fill(~good, -1)
    if keys.shape[1] < n:  # a small view: the rest is not there
        lack = n - keys.shape[1]
        keys = torch.nn.functional.pad(keys, (0, lack), value=-1)
        points, others = (torch.cat((x, x[:, :1].expand(-1, lack, -1)), 1) for x in (points, others))
    best, index = keys.topk(n, dim=1)
    pick = index[..., None].expand(-1, -1, 2)
    return points.gather(1, pick), others.gather(1, pick), best >= 0


def _draw(generators: Sequence[torch.Generator], shape: Sequence[int]) -> Tensor:
    """Uniform float64 numbers (B, *shape)."""
    return torch.stack([torch.rand(*shape, generator=g, dtype=torch.float64) for g in generators])


def _at(mask: Tensor, points: Tensor) -> Tensor:
    """(B, h, w) bool at points (B, N, 2), by the pixel they lie in; points outside take the nearest."""
    limit = torch.tensor(mask.shape[-2:], device=mask.device) - 1
    cell = points.floor().long().clamp_min(0).minimum(limit)
    sample = torch.arange(len(mask), device=mask.device)[:, None]
    return mask[sample, cell[..., 0], cell[..., 1]]
