"""The head for numbers on frozen features: ridge regression, and trees on the spectral values where they can be judged.

Ridge regression (Hoerl and Kennard 1970) in closed form on the features that the discriminants see, standardised as they are
(see `head.py`): linear, so it is applied to every feature map at the map's own resolution. A number belongs to a polygon, so
polygons weigh alike however many pixels they have. The penalty is the one with the smallest error on polygons held out.

Beside it stand extremely randomised regression trees (see `trees.py`), which also tell how much the numbers differ among pixels
that look alike. That spread, times a factor, is the half width of an interval: the factor is the quantile of held-out errors in
units of the spread (locally weighted split conformal prediction; Lei et al. 2018, Distribution-free predictive inference for
regression, JASA 113), so 9 in 10 polygons lie within it.

Shape legend: N labelled pixels, F features, P polygons.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skysense.finetune.features import Block
from skysense.finetune.head import standardise
from skysense.finetune.judging import Fold
from skysense.finetune.trees import Trees, fit_value_trees

#: Share of the trees in a prediction where they stand beside the ridge regression: as good or better than either alone on
#: vegetation indices of plots on the labelled scenes.
SHARE = 0.7
#: Penalties that are tried; features have a variance of about 1 together.
PENALTIES = tuple(10.0**power for power in np.arange(-5, 1.01, 0.5))
#: Penalty where nothing can be held out to choose it by.
_DEFAULT_PENALTY = 1e-2
#: Share of held-out polygons whose number lies within the half width.
LEVEL = 0.9
#: Added to the trees' spread, in standard deviations of the numbers: leaves where all agree are no proof of certainty.
_FLOOR = 0.1


@dataclass(frozen=True)
class ValueHead:
    """Number = (1 - share) * (weight @ features + bias) + share * trees' mean, kept within the numbers it was trained with.

    Attributes:
        blocks: the features' blocks in the order of the weight's columns.
        weight: (1, F) float32, for features as they come; bias: (1,) float32; in the field's units.
        low, high: the smallest and the largest number of the labels.
        center, scale: what the trees' numbers are times `scale` plus `center`.
        trees: on the spectral blocks, in their order; or None.
        share: of the trees.
        factor: of the spread, for the half width of an interval of 90 %; None where it is not known.
    """

    blocks: tuple[Block, ...]
    weight: Tensor
    bias: Tensor
    low: float
    high: float
    center: float
    scale: float
    trees: Trees | None = None
    share: float = 0.0
    factor: float | None = None

    @property
    def seen_by_trees(self) -> tuple[Block, ...]:
        return tuple(block for block in self.blocks if block.spectral)

    @property
    def depth(self) -> int:
        """Values that it gives a pixel: the number, and with trees its spread."""
        return 2 if self.trees else 1

    def combine(self, linear: Tensor, moments: Tensor | None) -> Tensor:
        """Numbers, and with trees their spread, in the field's units.

        Args:
            linear: (N,) what the weights give; moments: (N, 2) of the trees (see `trees.py`), or None.

        Returns:
            (N, 1), or (N, 2) with trees.
        """
        if moments is None:
            return linear.clamp(self.low, self.high)[:, None]
        mean = moments[:, 0]
        voted = self.center + self.scale * mean
        number = ((1 - self.share) * linear + self.share * voted).clamp(self.low, self.high)
        spread = self.scale * ((moments[:, 1] - mean * mean).clamp_min(0).sqrt() + _FLOOR)
        return torch.stack([number, spread], 1)

    def tensors(self) -> dict[str, Tensor]:
        trees = self.trees.tensors() if self.trees else {}
        return {"head.weight": self.weight, "head.bias": self.bias, **trees}

    def header(self) -> dict[str, object]:
        return {
            "kind": "ridge and trees" if self.trees else "ridge",
            "blocks": [{"name": block.name, "dim": block.dim} for block in self.blocks],
            **{name: getattr(self, name) for name in ("low", "high", "center", "scale", "share", "factor")},
        }

    @classmethod
    def load(cls, header: dict[str, object], tensors: dict[str, Tensor]) -> "ValueHead":
        """The inverse of `header` and `tensors`."""
        low, high, center, scale, share = (
            float(header[name])  # type: ignore[arg-type]
            for name in ("low", "high", "center", "scale", "share")
        )
        factor = header["factor"]
        return cls(
            tuple(Block(**block) for block in header["blocks"]),  # type: ignore[attr-defined]
            tensors["head.weight"],
            tensors["head.bias"],
            low,
            high,
            center,
            scale,
            Trees.load(tensors) if header["kind"] == "ridge and trees" else None,
            share,
            None if factor is None else float(factor),  # type: ignore[arg-type]
        )


def fit_value_head(
    features: NDArray[np.float32],
    values: NDArray[np.float64],
    polygons: NDArray[np.int64],
    repeats: list[list[Fold]],
    blocks: tuple[Block, ...],
) -> tuple[ValueHead, list[NDArray[np.float64]]]:
    """Fit the head, and one for each fold that has not seen the fold's polygons.

    Args:
        features: (N, F).
        values: (N,) numbers, at least two different ones; polygons: (N,) numbers of the polygons.
        repeats: see `value_judging.value_folds`; the penalty and the factor are fitted on them.
        blocks: widths add up to F.

    Returns:
        The head, fitted to everything, and for each repeat what held-out pixels are given (N,), NaN for pixels in no fold.
    """
    x = torch.from_numpy(features).double()
    mean, spread = standardise(x, blocks)
    x = (x - mean) / spread
    weights = polygon_weights(polygons)
    center = float(np.average(values, weights=weights))
    scale = float(np.sqrt(np.average((values - center) ** 2, weights=weights)))
    y, w = torch.from_numpy((values - center) / scale), torch.from_numpy(weights)
    given = torch.full((len(repeats), len(PENALTIES), len(x)), torch.nan, dtype=torch.float64)
    moments = torch.full((len(repeats), len(x), 2), torch.nan)
    own = features[:, np.concatenate([np.full(block.dim, block.spectral) for block in blocks])]
    judged = any(repeats)
    with_trees = judged and own.shape[1] > 0 and not any(b.name.endswith("hr.bands") for b in blocks)
    for number, folds in enumerate(repeats):
        for train, test in folds:
            for row, (slope, offset) in enumerate(ridge(x[train], y[train], w[train], PENALTIES)):
                given[number, row, test] = x[test] @ slope + offset
            if with_trees:
                trees = fit_value_trees(own[train], y[train].numpy(), weights[train])
                moments[number, test] = trees.means(torch.from_numpy(own[test]))
    best = _DEFAULT_PENALTY
    if judged:
        errors = [_held_out_error(given[:, row], y, polygons) for row in range(len(PENALTIES))]
        best = PENALTIES[int(np.argmin(errors))]
        given = given[:, PENALTIES.index(best)]
    slope, offset = ridge(x, y, w, (best,))[0]
    slope = slope * scale / spread
    head = ValueHead(
        blocks,
        slope.float()[None],
        (offset * scale + center - slope @ mean).float()[None],
        float(values.min()),
        float(values.max()),
        center,
        scale,
    )
    if not judged:
        return head, [np.full(len(x), np.nan) for _ in repeats]
    if with_trees:
        head = replace(head, trees=fit_value_trees(own, y.numpy(), weights), share=SHARE)
    found = [
        head.combine((center + scale * lines).float(), votes if with_trees else None).double().numpy()
        for lines, votes in zip(given, moments)
    ]
    if with_trees:
        head = replace(head, factor=_factor(found, values, polygons))
    return head, [item[:, 0] for item in found]


def ridge(x: Tensor, y: Tensor, weights: Tensor, penalties: tuple[float, ...]) -> list[tuple[Tensor, Tensor]]:
    """Weighted ridge regressions: argmin over w, b of sum_n p_n (w · x_n + b - y_n)² + penalty |w|², p = weights / their sum.

    One decomposition of the smaller of XᵀX and XXᵀ serves all penalties.

    Args:
        x: (N, F) float64; y, weights: (N,).

    Returns:
        For each penalty the slope (F,) and the offset ().
    """
    share = weights / weights.sum()
    x_mean, y_mean = share @ x, share @ y
    root = share.sqrt()
    x, y = (x - x_mean) * root[:, None], (y - y_mean) * root
    wide = x.shape[0] < x.shape[1]
    values, vectors = torch.linalg.eigh(x @ x.T if wide else x.T @ x)
    values, turned = values.clamp_min(0), vectors.T @ (y if wide else x.T @ y)
    found = []
    for penalty in penalties:
        solved = vectors @ (turned / (values + penalty))
        slope = x.T @ solved if wide else solved
        found.append((slope, y_mean - slope @ x_mean))
    return found


def polygon_weights(polygons: NDArray[np.int64]) -> NDArray[np.float64]:
    """(N,) weights of pixels with which polygons (N,) count alike; their mean is 1."""
    _, place, count = np.unique(polygons, return_inverse=True, return_counts=True)
    return len(polygons) / (len(count) * count[place])


def polygon_means(values: NDArray[np.float64], polygons: NDArray[np.int64]) -> NDArray[np.float64]:
    """(P, ...) means of the polygons' pixels (N, ...), in ascending order of the polygons' numbers."""
    _, place, count = np.unique(polygons, return_inverse=True, return_counts=True)
    total = np.zeros((len(count), *values.shape[1:]))
    np.add.at(total, place, values)
    return total / count.reshape(-1, *(1 for _ in values.shape[1:]))


def _held_out_error(given: Tensor, y: Tensor, polygons: NDArray[np.int64]) -> float:
    """Mean squared error of the polygons' means over all repeats (R, N)."""
    errors = []
    for lines in given.numpy():
        tested = ~np.isnan(lines)
        errors.append(polygon_means(lines[tested] - y.numpy()[tested], polygons[tested]) ** 2)
    return float(np.concatenate(errors).mean())


def _factor(
    found: list[NDArray[np.float64]], values: NDArray[np.float64], polygons: NDArray[np.int64]
) -> float | None:
    """The conformal quantile of held-out polygons' errors in units of their spread; None where they are too few for it.

    The mean of each repeat's own: one head makes the map, and the mean of several errs less.

    Args:
        found: R times (N, 2) number and spread, see `ValueHead.combine`.
    """
    tested = ~np.isnan(found[0][:, 0])
    true = polygon_means(values[tested], polygons[tested])
    rank = math.ceil(LEVEL * (len(true) + 1))
    if rank > len(true):
        return None
    each = (polygon_means(item[tested], polygons[tested]) for item in found)
    ratios = [np.sort(np.abs(given[:, 0] - true) / given[:, 1]) for given in each]
    return float(np.mean([ratio[rank - 1] for ratio in ratios]))
