"""The head on frozen features: multinomial logistic regression, fitted to few polygons and honest about it.

A linear head is convex: no luck of a seed, no early stopping, and strong where labels are few. Being linear it is
also applied to every feature map at the map's own resolution (see `features.py`).

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

#: Weight of the ridge penalty, for blocks scaled to unit total variance. Scores on the labelled scenes change little
#: from a tenth of it to itself; beyond, rare classes begin to suffer.
RIDGE = 7e-3


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
    ridge: float = RIDGE,
) -> tuple[Head, NDArray[np.int64]]:
    """Fit the head, and one for each fold that has not seen the fold's polygons.

    Args:
        features: (N, F).
        ids: (N,) class ids, at least two different ones.
        folds: see `judging.held_out_folds`; the temperature is fitted on them, and is 1 without any.
        blocks: widths add up to F.

    Returns:
        The head, fitted to everything, and the classes (N,) that held-out pixels are given, 0 for pixels in no fold.
    """
    classes = np.unique(ids)
    target = torch.from_numpy(np.searchsorted(classes, ids))
    x = torch.from_numpy(features).double()
    mean, scale = _standardise(x, blocks)
    x = (x - mean) / scale
    temperature, predicted = 1.0, np.zeros_like(ids)
    if folds:
        tested, held_out = _held_out_scores(x, target, len(classes), folds, ridge)
        temperature = _fit_temperature(held_out, target[tested])
        predicted[tested] = classes[held_out.argmax(1).numpy()]
    weight, bias = _fit(x, target, len(classes), ridge)
    weight = weight / scale
    bias = bias - weight @ mean
    head = Head(blocks, tuple(int(c) for c in classes), weight.float(), bias.float(), temperature)
    return head, predicted


def _standardise(x: Tensor, blocks: tuple[Block, ...]) -> tuple[Tensor, Tensor]:
    """Mean and scale per feature: after (x - mean) / scale a block's total variance is prior², whatever its width."""
    mean, std = x.mean(0), x.std(0)
    width = torch.cat([torch.full((block.dim,), block.dim**0.5 / block.prior) for block in blocks]).double()
    # A constant feature says nothing: its deviation from the mean is kept at 0.
    std = torch.where(std > 1e-9 * (1 + mean.abs()), std, torch.inf)
    return mean, std * width


def _fit(x: Tensor, target: Tensor, classes: int, ridge: float) -> tuple[Tensor, Tensor]:
    """Weights (K, F) and bias (K,) that minimise the class-balanced cross-entropy plus the ridge penalty."""
    count = torch.bincount(target, minlength=classes).double()
    share = (1 / (count * (count > 0).sum()))[target]
    parameters = torch.zeros(classes, x.shape[1] + 1, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [parameters], max_iter=300, history_size=20, tolerance_grad=1e-7, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimiser.zero_grad()
        logits = x @ parameters[:, :-1].T + parameters[:, -1]
        value = (F.cross_entropy(logits, target, reduction="none") * share).sum()
        value = value + ridge / 2 * parameters[:, :-1].square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(loss)
    found = parameters.detach()
    return found[:, :-1], found[:, -1]


def _held_out_scores(
    x: Tensor, target: Tensor, classes: int, folds: list[Fold], ridge: float
) -> tuple[NDArray[np.int64], Tensor]:
    """Pixels in folds (n,), and scores (n, K) of each from a fit that has not seen its polygon."""
    out = []
    for train, test in folds:
        weight, bias = _fit(x[train], target[train], classes, ridge)
        out.append(x[test] @ weight.T + bias)
    return np.concatenate([test for _, test in folds]), torch.cat(out)


def _fit_temperature(logits: Tensor, target: Tensor) -> float:
    """The divisor of the scores that makes the held-out labels most likely (Guo et al. 2017, temperature scaling)."""
    candidates = torch.logspace(-1.5, 1.5, 121, dtype=torch.float64)
    losses = torch.stack([F.cross_entropy(logits / t, target) for t in candidates])
    return float(candidates[losses.argmin()])
