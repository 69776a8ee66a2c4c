"""The head on frozen features: linear discriminants with a shrunken covariance, and trees where they help.

Each class is a normal distribution around the mean of its pixels, and all share one covariance (Fisher 1936; Hastie,
Tibshirani and Friedman, The Elements of Statistical Learning, 4.3). A few polygons tell the means well and the covariance of
hundreds of features badly, so it is drawn far towards a multiple of the identity. On the labelled scenes that beats logistic
regression and forests where labels are few, in closed form: no luck of a seed, no steps to count. Being linear they are also
applied to every feature map at the map's own resolution (see `features.py`). Where polygons are too few to hold some out, pixels around
them take part (see `discriminants.discriminants_among`): on the five labelled scenes that brings 1.4 points of mIoU with a
polygon a class (5.6 on one of them, 0.3 on the mean of the others) and 1.1 with two (2.6, 0.7).

Beside them stand extremely randomised trees on the spectral values (see `trees.py`) where every class that counts has polygons
enough to hold some out: with a polygon or two a class trees are worse, and with more they are better where a class is not a
single cloud. They are asked pixel by pixel, so there are fewer of them on a picture (HR alone), and HR beside series does without.

Shape legend: N labelled pixels, F features, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skysense.finetune.calibration import apart, fit_temperature
from skysense.finetune.discriminants import discriminants, discriminants_among
from skysense.finetune.features import Block
from skysense.finetune.judging import Fold
from skysense.finetune.trees import OF_PICTURES, USUAL, Growth, Trees, fit_trees

#: Variance of all features of the model together, against that of all spectral values: the variance of a direction is how far
#: the head trusts it before it has seen a label.
MODEL_VARIANCE = 0.25
#: The same where labels are too few to hold some out: what the model knows beforehand then counts for more. On three crop scenes
#: 1 instead of 0.25 brings 1.0 points of mIoU with a polygon a class and 0.5 with two, and costs 0.4 with all.
MODEL_VARIANCE_OF_FEW = 1.0
#: Times the root of F: divides the scores where nothing can be held out to find the divisor. Of that size it is on the labelled
#: scenes; features repeat each other, so independent ones as the discriminants take them would claim far too much.
DEFAULT_TEMPERATURE = 3.0
#: Pixels of the imagery below which they say nothing of its spread.
_FEWEST_AROUND = 100
#: Share of the trees in the scores. On the redrawn crop scenes 0.7 is as good as trees alone, and 2 points of mIoU better than the
#: discriminants alone; choosing it anew by held-out polygons was worse, for those few polygons are too few to choose by.
SHARE = 0.7


@dataclass(frozen=True)
class Head:
    """Class scores = weight @ features + bias + gain * trees(spectral features), softened by a temperature.

    Attributes:
        blocks: the features' blocks in the order of the weight's columns.
        ids: (K,) class ids.
        weight: (K, F) float32, for features as they come (the standardisation is folded in).
        bias: (K,) float32.
        temperature: divides the scores; fitted so that the probabilities are calibrated on held-out polygons.
        trees: on the spectral blocks, in their order; or None.
        gain: of the trees' scores.
    """

    blocks: tuple[Block, ...]
    ids: tuple[int, ...]
    weight: Tensor
    bias: Tensor
    temperature: float
    trees: Trees | None = None
    gain: float = 0.0

    @property
    def seen_by_trees(self) -> tuple[Block, ...]:
        return tuple(block for block in self.blocks if block.spectral)

    def scores(self, x: Tensor) -> Tensor:
        """Scores (N, K) before the temperature, at features (N, F)."""
        total = x @ self.weight.T + self.bias
        if self.trees is None:
            return total
        spectral = torch.from_numpy(spectral_columns(self.blocks))
        return total + self.gain * self.trees.scores(x[:, spectral])

    def tensors(self) -> dict[str, Tensor]:
        trees = self.trees.tensors() if self.trees else {}
        return {"head.weight": self.weight, "head.bias": self.bias, **trees}

    def header(self) -> dict[str, object]:
        return {
            "kind": "linear and trees" if self.trees else "linear",
            "blocks": [{"name": block.name, "dim": block.dim} for block in self.blocks],
            "ids": list(self.ids),
            "temperature": self.temperature,
            **({"gain": self.gain} if self.trees else {}),
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
            Trees.load(tensors) if "gain" in header else None,
            float(header.get("gain", 0)),  # type: ignore[arg-type]
        )


def fit_head(
    features: NDArray[np.float32],
    ids: NDArray[np.int64],
    repeats: list[list[Fold]],
    blocks: tuple[Block, ...],
    trees: bool = True,
    votes: list[Tensor] | None = None,
    polygons: NDArray[np.int64] | None = None,
    around: NDArray[np.float32] | None = None,
) -> tuple[Head, list[NDArray[np.float32]]]:
    """Fit the head, and one for each fold that has not seen the fold's polygons.

    Args:
        features: (N, F).
        ids: (N,) class ids, at least two different ones.
        repeats: see `judging.repeated_folds`; gain and temperature are fitted on them.
        blocks: widths add up to F.
        trees: False leaves them out.
        votes: what `held_out_votes` has given for the same spectral values, where it is known.
        polygons, around: (N,) number of each pixel's polygon, and (M, F) any pixels of the same imagery (`surroundings`), which
            then take part where nothing can be held out.

    Returns:
        The head, fitted to everything, and for each repeat the probabilities (N, K) that held-out pixels are given, NaN for
        pixels in no fold. Gain and temperature behind them are of the other folds (see `calibration`), the head's own of all.
    """
    classes = np.unique(ids)
    target = torch.from_numpy(np.searchsorted(classes, ids))
    nothing = torch.full((len(ids), len(classes)), torch.nan)
    if not any(repeats):
        weight, bias, temperature = _of_few(features, target, blocks, polygons, around)
        few = Head(blocks, tuple(int(c) for c in classes), weight.float(), bias.float(), temperature)
        return few, [nothing.numpy() for _ in repeats]
    x = torch.from_numpy(features).double()
    mean, scale = standardise(x, blocks)
    # Single precision is enough for sums that the identity's share keeps well conditioned, and twice as fast.
    x = ((x - mean) / scale).float()
    weight, bias = _as_they_come(*discriminants(x, target, len(classes)), mean, scale)
    linear = Head(blocks, tuple(int(c) for c in classes), weight.float(), bias.float(), 1.0)
    given = [nothing.clone() for _ in repeats]
    for number, folds in enumerate(repeats):
        for train, test in folds:
            w, b = discriminants(x[train], target[train], len(classes))
            given[number][test] = x[test] @ w.T + b
    with_trees = trees and asks_trees(blocks)
    lines, said = torch.stack(given), torch.zeros(len(repeats), *nothing.shape)
    if with_trees:
        said = torch.stack(votes or held_out_votes(features, ids, repeats, blocks))

    def calibrated(held: NDArray[np.int64]) -> tuple[float, float]:
        """Gain of the trees, and temperature, by what some pixels (n,) are given when they are held out."""
        of_lines, of_trees = lines[:, held].flatten(0, 1), said[:, held].flatten(0, 1)
        truth = target[held].repeat(len(repeats))
        temperature = fit_temperature(of_lines, truth)
        if not with_trees:
            return 0.0, temperature
        gain = SHARE / (1 - SHARE) * temperature / fit_temperature(of_trees, truth)
        return gain, fit_temperature(of_lines + gain * of_trees, truth)

    held_out = [nothing.clone() for _ in repeats]
    for number, folds in enumerate(repeats):
        for test, others in apart(folds):
            gain, temperature = calibrated(others)
            both = lines[number, test] + gain * said[number, test]
            held_out[number][test] = torch.softmax(both / temperature, 1)
    gain, temperature = calibrated(np.flatnonzero(~lines[0, :, 0].isnan()))
    head = replace(linear, temperature=temperature)
    if with_trees:
        final = fit_trees(
            features[:, spectral_columns(blocks)], target.numpy(), len(classes), _growth(blocks)
        )
        head = replace(head, trees=final, gain=gain)
    return head, [item.numpy() for item in held_out]


def _of_few(
    features: NDArray[np.float32],
    target: Tensor,
    blocks: tuple[Block, ...],
    polygons: NDArray[np.int64] | None,
    around: NDArray[np.float32] | None,
) -> tuple[Tensor, Tensor, float]:
    """Weights, biases and temperature where nothing can be held out; arguments as of `fit_head`."""
    x, classes = torch.from_numpy(features).double(), int(target.max()) + 1
    temperature = DEFAULT_TEMPERATURE * x.shape[1] ** 0.5
    if polygons is None or around is None or len(around) < _FEWEST_AROUND:
        mean, scale = standardise(x, blocks, MODEL_VARIANCE_OF_FEW)
        weight, bias = discriminants(((x - mean) / scale).float(), target, classes)
        return *_as_they_come(weight, bias, mean, scale), temperature
    u = torch.from_numpy(around).double()
    mean, scale = standardise(u, blocks, MODEL_VARIANCE_OF_FEW)
    x, u = ((x - mean) / scale).float(), ((u - mean) / scale).float()
    drawn = np.unique(np.stack([target.numpy(), polygons]), axis=1)[0]
    count = torch.from_numpy(np.bincount(drawn))
    weight, bias = discriminants_among(x, target, count, u, temperature)
    # The usual lead of the likeliest class over the next, over the root of the number of polygons, divides the scores: the spread
    # inside a polygon tells nothing of how it differs from others of its class. With one polygon a class the labelled scenes'
    # confidence is then off by 0.16, not 0.30, and with two by 0.11, not 0.17 (mean distance from accuracy).
    best, second = (u @ weight.T + bias).topk(2, dim=1).values.T
    usual_margin = float((best - second).median()) or 1.0
    return *_as_they_come(weight, bias, mean, scale), usual_margin / float(count.median()) ** 0.5


def _as_they_come(weight: Tensor, bias: Tensor, mean: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Weights and biases on (x - mean) / scale, as such on x; float64."""
    weight = weight.double() / scale
    return weight, bias.double() - weight @ mean


def held_out_votes(
    features: NDArray[np.float32],
    ids: NDArray[np.int64],
    repeats: list[list[Fold]],
    blocks: tuple[Block, ...],
) -> list[Tensor]:
    """For each repeat the scores (N, K) of trees that have not seen the fold's polygons; arguments as of `fit_head`."""
    values, classes = features[:, spectral_columns(blocks)], np.unique(ids)
    target = np.searchsorted(classes, ids)
    votes = [torch.full((len(ids), len(classes)), torch.nan) for _ in repeats]
    for given, folds in zip(votes, repeats):
        for train, test in folds:
            grown = fit_trees(values[train], target[train], len(classes), _growth(blocks))
            given[test] = grown.scores(torch.from_numpy(values[test]))
    return votes


def spectral_columns(blocks: tuple[Block, ...]) -> NDArray[np.bool_]:
    """Which columns (F,) hold values of the imagery and not of the model."""
    return np.concatenate([np.full(block.dim, block.spectral) for block in blocks])


def asks_trees(blocks: tuple[Block, ...]) -> bool:
    """Whether there are values that trees can be asked about in time."""
    spectral = [block for block in blocks if block.spectral]
    return bool(spectral) and (of_picture(spectral) or not any(block.picture for block in spectral))


def of_picture(blocks: Sequence[Block]) -> bool:
    """Whether the values are those of HR alone."""
    return all(block.picture for block in blocks if block.spectral)


def _growth(blocks: Sequence[Block]) -> Growth:
    return OF_PICTURES if of_picture(blocks) else USUAL


def standardise(
    x: Tensor, blocks: tuple[Block, ...], of_model: float = MODEL_VARIANCE
) -> tuple[Tensor, Tensor]:
    """Mean and scale per feature: after (x - mean) / scale all features of the model have the variance `of_model` together, and
    all spectral values 1; within either group each feature has the same."""
    mean, std = x.mean(0), x.std(0)
    spectral = torch.cat([torch.full((block.dim,), block.spectral) for block in blocks])
    variance = torch.where(
        spectral, 1 / max(int(spectral.sum()), 1), of_model / max(int((~spectral).sum()), 1)
    )
    # A constant feature says nothing: its deviation from the mean is kept at 0.
    std = torch.where(std > 1e-9 * (1 + mean.abs()), std, torch.inf)
    return mean, std / variance.double().sqrt()
