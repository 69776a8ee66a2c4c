"""Comparing arrays: which is worst, and that none is left over."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from parity.fixture import FixtureError


class Comparison:
    """One run of a case: hands out its arrays, and remembers the greatest difference from them.

    Args:
        arrays: all arrays of the case.
        dtype: precision that the inputs are handed out in.
        rtol: share of an expected number's size by which ours may differ for free.

    Attributes:
        worst: greatest absolute difference so far, beyond what `rtol` allows; NaN when a difference was not finite.
        where: the array it was found in.
    """

    def __init__(self, arrays: Mapping[str, Tensor], dtype: torch.dtype, rtol: float = 0.0) -> None:
        self._arrays, self._dtype, self._rtol = arrays, dtype, rtol
        self._known: set[str] = set()
        self.worst, self.where = 0.0, ""

    @property
    def names(self) -> list[str]:
        """Of all arrays."""
        return list(self._arrays)

    def has(self, name: str) -> bool:
        return name in self._arrays

    def array(self, name: str) -> Tensor:
        """An array as it is stored; it counts as known from now on."""
        if name not in self._arrays:
            raise FixtureError(f"the array {name} is missing")
        self._known.add(name)
        return self._arrays[name]

    def input(self, name: str) -> Tensor:
        """An array in the precision of this run."""
        return self.array(name).to(self._dtype)

    def close(self, name: str, actual: Tensor) -> None:
        """Compare with the array of this name."""
        self.differ(name, actual, self.array(name))

    def differ(self, name: str, actual: Tensor, expected: Tensor) -> None:
        """Compare two tensors, float64; `name` says what they are."""
        if actual.shape != expected.shape:
            raise FixtureError(f"{name} is {_sides(expected)}, ours is {_sides(actual)}")
        beyond = (actual.double() - expected.double()).abs() - self._rtol * expected.double().abs()
        difference = float(beyond.clamp(min=0).max()) if expected.numel() else 0.0
        if math.isnan(self.worst):
            return
        if not math.isfinite(difference):
            self.worst, self.where = math.nan, name
        elif difference >= self.worst:
            self.worst, self.where = difference, name

    def seen(self, name: str) -> None:
        """An expectation without numbers was met."""
        self.where = self.where or name

    def finish(self) -> None:
        """Raises FixtureError for arrays that nothing has asked for, and when nothing was compared."""
        unknown = [name for name in self._arrays if name not in self._known]
        if unknown:
            raise FixtureError(f"does not know the array {', '.join(unknown)}")
        if not self.where:
            raise FixtureError("nothing in it was compared")


def _sides(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "a number"
