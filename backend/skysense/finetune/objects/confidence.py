"""The network's scores as confidence: the share of finds of such a score that were right on objects held out.

The loss teaches scores that rank finds, not chances: it pays little heed to what is nearly right. So a straight line through the
log-odds (Platt 1999, Probabilistic outputs for support vector machines) brings them to the share that is right. It is fitted to
what the threshold keeps, for nothing else is shown, and there are many times as many finds below that would bend it their way. It
goes into the last layer: what is found, and in which order, stays as it was.

Shape legend: D finds.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from skysense.finetune.objects.network import ObjectNet

#: Finds that speak for the scores as they are: a dozen cannot tell how steep the line is.
_DOUBT = 1.0
_STEPS = 50
#: Flatter lines would turn the order of finds round, or nearly.
_FLATTEST = 0.1


@dataclass(frozen=True)
class Confidence:
    """log-odds of being right = slope * log-odds of the score + shift."""

    slope: float
    shift: float

    def of(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of scores (D,), 0..1."""
        return 1 / (1 + np.exp(-(self.slope * _log_odds(scores) + self.shift)))

    @torch.no_grad()
    def put_into(self, net: ObjectNet) -> None:
        """Make the network's scores confidences."""
        weight, bias = net.out.weight[: net.classes], net.out.bias
        assert bias is not None
        weight *= self.slope
        bias[: net.classes] = self.slope * bias[: net.classes] + self.shift


def fit_confidence(scores: NDArray[np.float64], right: NDArray[np.bool_]) -> Confidence:
    """The line that makes it likeliest which finds (D,) were right; of few finds it stays near the scores."""
    odds = _log_odds(scores)
    # About their middle, so that a line that is held back from being too flat still goes through it.
    middle = float(odds.mean()) if len(odds) else 0.0
    x = np.stack((odds - middle, np.ones(len(odds))), 1)
    prior = line = np.array([1.0, middle])
    for _ in range(_STEPS):  # Newton's; the loss is convex
        p = 1 / (1 + np.exp(-x @ line))
        slope = x.T @ (right - p) - _DOUBT * (line - prior)
        step = np.linalg.solve(x.T @ (x * (p * (1 - p))[:, None]) + _DOUBT * np.eye(2), slope)
        line = line + step / max(1.0, float(np.abs(step).max()))
    steep = max(float(line[0]), _FLATTEST)
    return Confidence(steep, float(line[1]) - steep * middle)


def held_out_confidence(
    scores: NDArray[np.float64], right: NDArray[np.bool_], blocks: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(D,) what each find is shown with by a line that was fitted without the finds of its block of neighbours."""
    out = np.zeros(len(scores))
    for block in np.unique(blocks):
        own = blocks == block
        out[own] = fit_confidence(scores[~own], right[~own]).of(scores[own])
    return out


def _log_odds(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    kept = np.clip(scores, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(kept / (1 - kept)))
