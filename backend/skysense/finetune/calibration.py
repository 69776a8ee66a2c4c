"""Temperatures: divisors that make scores probabilities, fitted to scores of polygons held out.

A temperature suits the pixels that it was fitted to better than any others. A model file's is fitted to all that were held out;
what a report shows of a fold has the temperature of the other folds, so that no pixel has told how sure to be of itself.

Shape legend: N labelled pixels, n some of them, K classes.
"""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from skysense.finetune.judging import Fold

_DOUBT = 0.02


def fit_temperature(scores: Tensor, target: Tensor) -> float:
    """The divisor of the scores (n, K) that makes the held-out labels (n,) most likely (Guo et al. 2017, temperature scaling).

    At least 1: pixels of a polygon resemble each other, so a class's distribution claims more than it knows, never less. Labels
    count as right but for `_DOUBT`: where every held-out pixel is right, few polygons are no proof of certainty.
    """
    candidates = torch.logspace(0, 3, 121)

    def loss(place: int) -> float:
        return float(F.cross_entropy(scores / candidates[place], target, label_smoothing=_DOUBT))

    # Over the inverse of the temperature the loss is convex: it falls up to the best one and rises beyond.
    low, high = 0, len(candidates) - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if loss(middle) > loss(middle + 1) else (low, middle)
    return float(candidates[low])


def apart(folds: list[Fold]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """The pixels of each fold, and those of all others, by which it is calibrated; of a single fold these are its own."""
    tests = [test for _, test in folds]
    for test in tests:
        others = np.setdiff1d(np.concatenate(tests), test)
        yield test, others if len(others) else test


def cross_fitted(scores: Tensor, target: Tensor, folds: list[Fold]) -> NDArray[np.float32]:
    """Probabilities (N, K) of held-out pixels from their scores (N, K) and classes (N,), NaN for pixels in no fold."""
    out = torch.full_like(scores, torch.nan)
    for test, others in apart(folds):
        out[test] = torch.softmax(scores[test] / fit_temperature(scores[others], target[others]), 1)
    return out.numpy()
