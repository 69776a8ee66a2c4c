"""Gaps in a pixel's series, filled by what usually goes with what was seen of it.

A straight line between the dates before and after a cloud knows nothing of what grows there. The series of a scene's pixels vary
together in few ways, so a pixel's clear dates tell much of the others: factor analysis (Rubin and Thayer 1982, EM algorithms for ML
factor analysis), fitted to pixels that have gaps themselves (Ghahramani and Jordan 1994, Supervised learning from incomplete data).

    x = mean + std * (loadings z + e),  z ~ N(0, I),  e ~ N(0, diag(noise))

On three crop scenes, 30 % of all dates of each pixel hidden, a third to two fifths of a line's error is left for Sentinel-2 and three
fifths for Sentinel-1; half the factors leave up to a fifth more, twice the rounds nothing less.

Shape legend: N pixels, D columns (anchors x bands), K factors, P different patterns of gaps.
"""

import hashlib
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: K at most, and rounds of the EM algorithm.
_FACTORS, _ROUNDS = 24, 8
#: Least variance of a column's own noise: what one pixel in few dates seems to follow exactly is chance.
_LEAST_NOISE = 0.05
#: Pixels' worth of belief that a column follows no factor.
_BELIEF = 10.0
#: Pixels that have seen a column at least; of fewer nothing is learned.
_FEWEST = 20


@dataclass(frozen=True, eq=False)
class Gaps:
    """How the columns of a series vary together.

    Attributes:
        mean, std: (D,) float32; loadings: (D, K) float32; noise: (D,) float32, in shares of a column's variance.
    """

    mean: Tensor
    std: Tensor
    loadings: Tensor
    noise: Tensor

    def tensors(self, prefix: str) -> dict[str, Tensor]:
        return {f"{prefix}{name}": tensor for name, tensor in vars(self).items()}

    @classmethod
    def load(cls, tensors: dict[str, Tensor], prefix: str) -> Self | None:
        """The inverse of `tensors`; None where there are none."""
        names = [f"{prefix}{name}" for name in cls.__dataclass_fields__]
        return cls(*(tensors[name] for name in names)) if names[0] in tensors else None

    @property
    def digest(self) -> str:
        """Hex SHA-256."""
        return hashlib.sha256(
            b"".join(tensor.numpy().tobytes() for tensor in vars(self).values())
        ).hexdigest()

    @torch.inference_mode()
    def fill(self, values: NDArray[np.float32], seen: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Series (D, N): where they were not `seen` (D, N), their expectation given what was."""
        given, known = torch.from_numpy(values), torch.from_numpy(seen)
        y = torch.where(known, (given - self.mean[:, None]) / self.std[:, None], 0.0)
        # Clouds are wide: pixels with the same gaps share the costly part.
        patterns = np.packbits(seen, axis=0).T
        _, first, number = np.unique(patterns, axis=0, return_index=True, return_inverse=True)
        spread = _spread(known[:, first].float().T, self.loadings, self.noise)
        weighed = (y / self.noise[:, None]).T @ self.loadings
        z = torch.bmm(spread[torch.from_numpy(number.reshape(-1))], weighed[..., None])[..., 0]
        expected = self.mean[:, None] + self.std[:, None] * (self.loadings @ z.T)
        return torch.where(known, given, expected).numpy()


@torch.inference_mode()
def learn_gaps(x: NDArray[np.float32], seen: NDArray[np.bool_]) -> Gaps:
    """Fit to series (N, D); where they were not `seen` (N, D) their values do not matter."""
    known = torch.from_numpy(seen)
    count = known.sum(0)
    values = torch.where(known, torch.from_numpy(x), 0.0)
    mean = values.sum(0) / count.clamp_min(1)
    y = torch.where(known, values - mean, 0.0)
    std = (y.square().sum(0) / count.clamp_min(1)).sqrt()
    told = (count >= _FEWEST) & (std > 1e-6 * (1 + mean.abs()))
    std = torch.where(told, std, 1.0)
    y, w = y / std * told, (known & told).float()
    squares, number = y.square().sum(0), w.sum(0).clamp_min(1)
    factors = min(_FACTORS, y.shape[1] // 2)
    size, axes = torch.linalg.eigh(y.T @ y / max(len(y), 1))
    loadings = axes[:, -factors:] * size[-factors:].clamp_min(0).sqrt()
    noise = torch.full_like(mean, 0.5)
    for _ in range(_ROUNDS):
        spread = _spread(w, loadings, noise)
        z = torch.bmm(spread, ((y / noise) @ loadings)[..., None])[..., 0]
        second = spread + z[:, :, None] * z[:, None, :]
        moments = (w.T @ second.flatten(1)).unflatten(1, (factors, factors)) + _BELIEF * torch.eye(factors)
        follows = y.T @ z
        loadings = torch.linalg.solve(moments, follows[..., None])[..., 0]
        noise = ((squares - (loadings * follows).sum(1)) / number).clamp_min(_LEAST_NOISE)
    return Gaps(mean, std, loadings, noise)


def _spread(seen: Tensor, loadings: Tensor, noise: Tensor) -> Tensor:
    """Covariance of the factors (P, K, K) given which columns were seen (P, D, 1 or 0)."""
    factors = loadings.shape[1]
    products = (loadings[:, :, None] * loadings[:, None, :] / noise[:, None, None]).flatten(1)
    precision = (seen @ products).unflatten(1, (factors, factors)) + torch.eye(factors)
    return torch.linalg.inv(precision)
