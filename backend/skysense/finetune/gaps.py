"""Gaps in a pixel's series, filled by what usually goes with what was seen of it.

A straight line between the dates before and after a cloud knows nothing of what grows there. The series of a scene's pixels vary
together in few ways, so a pixel's clear dates tell much of the others: factor analysis (Rubin and Thayer 1982, EM algorithms for ML
factor analysis), fitted to pixels that have gaps themselves (Ghahramani and Jordan 1994, Supervised learning from incomplete data).

    x = mean + std * (loadings z + e),  z ~ N(0, I),  e ~ N(0, diag(noise))

A line stays where little is known: where two orbits see two halves of a scene, no pixel has shown how their dates go together.

On three crop scenes, 30 % of all dates of each pixel hidden, 30 to 46 % of a line's error are left for Sentinel-2 and 57 to 60 % for
Sentinel-1; half the factors leave up to a fifth more, twice the rounds nothing less.

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
#: Standard deviations up to which a value counts: undeclared nodata would else outweigh all pixels.
_FAR = 10.0
#: Shares of a column's variance, left by what was seen, up to which what is expected counts alone, and from which the line does.
_KNOWN, _UNKNOWN = 0.6, 0.9
#: Pixels that have seen a column at least; of fewer nothing is learned.
_FEWEST = 20
#: Rows of a pattern that one number holds, beside the number of the rows before.
_BITS = 32


@dataclass(frozen=True, eq=False)
class Gaps:
    """How the columns of a series vary together.

    Attributes:
        mean, std: (D,) float32; loadings: (D, K) float32; noise: (D,) float32, in shares of a column's variance, infinite where
            too little was seen to learn from.
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
    def told(self) -> NDArray[np.bool_]:
        """Which columns (D,) something was learned of."""
        return torch.isfinite(self.noise).numpy()

    def part(self, columns: NDArray[np.bool_]) -> Self:
        """Of some of the columns, (D,)."""
        kept = torch.from_numpy(columns)
        return type(self)(*(tensor[kept] for tensor in vars(self).values()))

    @property
    def digest(self) -> str:
        """Hex SHA-256."""
        return hashlib.sha256(
            b"".join(tensor.numpy().tobytes() for tensor in vars(self).values())
        ).hexdigest()

    @torch.inference_mode()
    def fill(self, values: NDArray[np.float32], seen: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Series (D, N): where they were not `seen` (D, N), what is expected given what was, as far as that is known.

        Args:
            values: (D, N), of a line where they were not seen: it stays where nothing is known.
        """
        given, known = torch.from_numpy(values), torch.from_numpy(seen)
        mean, std, noise = self.mean[:, None], self.std[:, None], self.noise[:, None]
        # Clouds are wide: pixels with the same gaps, side by side, share the costly part.
        first, number = patterns(seen)
        of, order = torch.from_numpy(number), torch.from_numpy(np.argsort(number, kind="stable"))
        some = known[:, first]
        spread = _spread(some.float().T, self.loadings, self.noise)
        y = (given - mean).div_(std).clamp_(-_FAR, _FAR).mul_(known)
        weighed = ((self.loadings / noise).T @ y).index_select(1, order)
        parts = weighed.split(torch.bincount(of).tolist(), 1)
        z = torch.empty_like(weighed)
        z.index_copy_(1, order, torch.cat([own @ part for own, part in zip(spread, parts)], 1))
        left = (_products(self.loadings) @ spread.flatten(1).T + noise) / (
            self.loadings.square().sum(1, keepdim=True) + noise
        )
        share = ((_UNKNOWN - left) / (_UNKNOWN - _KNOWN)).clamp(0, 1).nan_to_num(0.0).mul_(~some)
        expected = torch.addmm(mean, std * self.loadings, z)
        return expected.sub_(given).mul_(share.index_select(1, of)).add_(given).numpy()


@torch.inference_mode()
def learn_gaps(x: NDArray[np.float32], seen: NDArray[np.bool_]) -> Gaps:
    """Fit to series (N, D); where they were not `seen` (N, D) they are those of lines, from which the search sets out: from nothing
    it would take the dates of two orbits for things that have nothing to do with each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the last bits depend on it, and what is kept of tiles on them
    try:
        return _learned(x, seen)
    finally:
        torch.set_num_threads(threads)


def _learned(x: NDArray[np.float32], seen: NDArray[np.bool_]) -> Gaps:
    known = torch.from_numpy(seen)
    count = known.sum(0)
    values = torch.where(known, torch.from_numpy(x), 0.0).clamp(-_FAR, _FAR)
    mean = values.sum(0) / count.clamp_min(1)
    y = torch.where(known, values - mean, 0.0)
    std = (y.square().sum(0) / count.clamp_min(1)).sqrt()
    told = (count >= _FEWEST) & (std > 1e-6 * (1 + mean.abs()))
    std = torch.where(told, std, 1.0)
    y, w = y / std * told, (known & told).float()
    squares, number = y.square().sum(0), w.sum(0).clamp_min(1)
    factors = min(_FACTORS, y.shape[1] // 2)
    lines = ((torch.from_numpy(x) - mean) / std).clamp(-_FAR, _FAR) * told
    size, axes = torch.linalg.eigh(lines.T @ lines / max(len(lines), 1))
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
    return Gaps(mean, std, loadings, torch.where(told, noise, torch.inf))


def patterns(seen: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which pixels of `seen` (D, N) have the same gaps: one pixel of each pattern, (P,), and each pixel's pattern, (N,)."""
    # Bands of a date mostly have the same gaps, so few rows tell all; and numbers are sorted forty times as fast as columns.
    telling = seen[np.append(True, (seen[1:] != seen[:-1]).any(axis=1))]
    first, number = np.zeros(1, np.int64), np.zeros(seen.shape[1], np.int64)
    for rows in np.split(telling, range(_BITS, len(telling), _BITS)):
        key = number << _BITS | (1 << np.arange(len(rows))) @ rows
        _, first, number = np.unique(key, return_index=True, return_inverse=True)
    return first, number


def _spread(seen: Tensor, loadings: Tensor, noise: Tensor) -> Tensor:
    """Covariance of the factors (P, K, K) given which columns were seen (P, D, 1 or 0)."""
    factors = loadings.shape[1]
    precision = (seen @ (_products(loadings) / noise[:, None])).unflatten(1, (factors, factors)) + torch.eye(
        factors
    )
    return torch.linalg.inv(precision)


def _products(loadings: Tensor) -> Tensor:
    """Of each column's loadings with each other, (D, K * K)."""
    return (loadings[:, :, None] * loadings[:, None, :]).flatten(1)
