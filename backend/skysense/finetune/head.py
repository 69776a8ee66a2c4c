"""The head on frozen features: linear discriminants with a shrunken covariance, from few polygons to class scores.

Each class is a normal distribution around the mean of its pixels, and all share one covariance (Fisher 1936; Hastie,
Tibshirani and Friedman, The Elements of Statistical Learning, 4.3). A few polygons tell the means well and the covariance of
hundreds of features badly, so it is drawn far towards a multiple of the identity. On the labelled scenes that beats logistic
regression and forests where labels are few, in closed form: no luck of a seed, no steps to count. Being linear it is also
applied to every feature map at the map's own resolution (see `features.py`).

Shape legend: N labelled pixels, F features, K classes.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from skysense.finetune.features import Block
from skysense.finetune.judging import Fold

#: Share of the identity in the covariance. From 0.7 to 0.95 the labelled scenes' mean score moves by 0.5 points of mIoU.
SHRINKAGE = 0.85
#: Variance of all features of the model together, against that of all spectral values: the variance of a direction is how far
#: the head trusts it before it has seen a label.
MODEL_VARIANCE = 0.25
#: Times the root of F: divides the scores where nothing can be held out to find the divisor. Of that size it is on the labelled
#: scenes; features repeat each other, so independent ones as the discriminants take them would claim far too much.
DEFAULT_TEMPERATURE = 3.0


@dataclass(frozen=True)
class Head:
    """Class scores = weight @ features + bias, softened by a temperature.

    Attributes:
        blocks: the features' blocks in the order of the weight's columns.
        ids: (K,) class ids.
        weight: (K, F) float32, for features as they come (the standardisation is folded in).
        bias: (K,) float32.
        temperature: divides the scores; fitted so that the probabilities are calibrated on held-out polygons.
    """

    blocks: tuple[Block, ...]
    ids: tuple[int, ...]
    weight: Tensor
    bias: Tensor
    temperature: float

    def tensors(self) -> dict[str, Tensor]:
        return {"head.weight": self.weight, "head.bias": self.bias}

    def header(self) -> dict[str, object]:
        return {
            "kind": "linear",
            "blocks": [{"name": block.name, "dim": block.dim} for block in self.blocks],
            "ids": list(self.ids),
            "temperature": self.temperature,
        }

    @classmethod
    def load(cls, header: dict[str, object], tensors: dict[str, Tensor]) -> "Head":
        """The inverse of `header` and `tensors`."""
        return cls(
            tuple(Block(**block) for block in header["blocks"]),  # type: ignore[attr-defined]
            tuple(header["ids"]),  # type: ignore[arg-type]
            tensors["head.weight"],
            tensors["head.bias"],
            float(header["temperature"]),  # type: ignore[arg-type]
        )


def fit_head(
    features: NDArray[np.float32],
    ids: NDArray[np.int64],
    folds: list[Fold],
    blocks: tuple[Block, ...],
) -> tuple[Head, NDArray[np.float32]]:
    """Fit the head, and one for each fold that has not seen the fold's polygons.

    Args:
        features: (N, F).
        ids: (N,) class ids, at least two different ones.
        folds: see `judging.held_out_folds`; the temperature is fitted on them.
        blocks: widths add up to F.

    Returns:
        The head, fitted to everything, and the probabilities (N, K) that held-out pixels are given, NaN for pixels in no fold.
    """
    classes = np.unique(ids)
    target = torch.from_numpy(np.searchsorted(classes, ids))
    x = torch.from_numpy(features).double()
    mean, scale = _standardise(x, blocks)
    x = (x - mean) / scale
    temperature, held_out = (
        DEFAULT_TEMPERATURE * x.shape[1] ** 0.5,
        torch.full((len(x), len(classes)), torch.nan, dtype=torch.float64),
    )
    for train, test in folds:
        weight, bias = discriminants(x[train], target[train], len(classes))
        held_out[test] = x[test] @ weight.T + bias
    if folds:
        tested = torch.from_numpy(np.unique(np.concatenate([test for _, test in folds])))
        temperature = _fit_temperature(held_out[tested], target[tested])
    weight, bias = discriminants(x, target, len(classes))
    weight = weight / scale
    bias = bias - weight @ mean
    head = Head(blocks, tuple(int(c) for c in classes), weight.float(), bias.float(), temperature)
    return head, torch.softmax(held_out / temperature, 1).float().numpy()


def _standardise(x: Tensor, blocks: tuple[Block, ...]) -> tuple[Tensor, Tensor]:
    """Mean and scale per feature: after (x - mean) / scale all features of the model have `MODEL_VARIANCE` together, and all
    spectral values 1; within either group each feature has the same."""
    mean, std = x.mean(0), x.std(0)
    spectral = torch.cat([torch.full((block.dim,), block.spectral) for block in blocks])
    variance = torch.where(
        spectral, 1 / max(int(spectral.sum()), 1), MODEL_VARIANCE / max(int((~spectral).sum()), 1)
    )
    # A constant feature says nothing: its deviation from the mean is kept at 0.
    std = torch.where(std > 1e-9 * (1 + mean.abs()), std, torch.inf)
    return mean, std / variance.double().sqrt()


def discriminants(x: Tensor, target: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Linear discriminants of classes that are taken as equally frequent.

    log p(k | x) = w_k · x + b_k + const, with w_k = S⁻¹ m_k and b_k = -m_k · S⁻¹ m_k / 2, where m_k is a class's mean and
    S = (1 - a) C + a tr(C) / F · I, C the mean over classes of the covariance within.

    Args:
        x: (N, F) float64.
        target: (N,) int64, 0..K-1; a class without a pixel is never given.
        classes: K.

    Returns:
        Weights (K, F) and biases (K,).
    """
    count = torch.bincount(target, minlength=classes).double()
    mean = (
        torch.zeros(classes, x.shape[1], dtype=x.dtype).index_add_(0, target, x) / count.clamp_min(1)[:, None]
    )
    share = 1 / (count * (count > 0).sum())[target]
    spread = (x - mean[target]) * share.sqrt()[:, None]
    # Where every class is a single point there is no spread to learn from: any multiple of the identity ranks alike.
    ridge = SHRINKAGE * (float(spread.square().sum()) / x.shape[1] or 1.0)
    spread = spread * (1 - SHRINKAGE) ** 0.5
    if len(x) < x.shape[1]:  # the same by the Woodbury identity: a system of N equations instead of F
        inner = spread @ spread.T
        inner.diagonal().add_(ridge)
        weight = (mean - torch.linalg.solve(inner, spread @ mean.T).T @ spread) / ridge
    else:
        covariance = spread.T @ spread
        covariance.diagonal().add_(ridge)
        weight = torch.linalg.solve(covariance, mean.T).T
    bias = -(weight * mean).sum(1) / 2
    return weight, torch.where(count > 0, bias, -torch.inf)


def _fit_temperature(logits: Tensor, target: Tensor) -> float:
    """The divisor of the scores that makes the held-out labels most likely (Guo et al. 2017, temperature scaling).

    At least 1: pixels of a polygon resemble each other, so a class's distribution claims more than it knows, never less.
    """
    candidates = torch.logspace(0, 3, 121, dtype=torch.float64)
    losses = torch.stack([F.cross_entropy(logits / t, target) for t in candidates])
    return float(candidates[losses.argmin()])
