"""The kinds of case, and how one is run in one precision on one path."""

import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch

from parity import full, fusion, geo, swin, uphead, vit
from parity.compare import Comparison
from parity.fixture import Case, FixtureError

#: By the "cls" entry: a class's name, or for what is no single class the words that the entry begins with.
KINDS: dict[str, ModuleType] = {
    "SwinTransformerV2": swin,
    "VisionTransformer": vit,
    "UPHead": uphead,
    "TransformerEncoder": fusion,
    "factorized path": full,
    "paper equations": geo,
}
PRECISIONS = {"float64": torch.float64, "float32": torch.float32}
_TOLERANCE_KEYS = ("atol", "tolerance")
_RELATIVE = "rtol"


@dataclass(frozen=True)
class Outcome:
    """One line of the table.

    Attributes:
        where: the array with the greatest error.
        worst: that error; None where nothing came to be compared.
        tolerance: None where this precision is not asked of this kind of case.
        reason: why it failed, or "".
    """

    case: str
    path: str
    precision: str
    where: str
    worst: float | None
    tolerance: float | None
    reason: str

    @property
    def passed(self) -> bool:
        """Within the tolerance (a NaN is not), or not applicable."""
        if self.reason:
            return False
        return self.tolerance is None or (self.worst is not None and self.worst <= self.tolerance)


def kind_of(case: Case) -> ModuleType:
    """The module for a case; raises FixtureError for an unknown "cls"."""
    for name, module in KINDS.items():
        if case.kind == name or (" " in name and case.kind.startswith(f"{name} ")):
            return module
    raise FixtureError(f"does not know the cls {case.kind!r}" if case.kind else "the index gives no cls")


def runs_of(case: Case) -> list[tuple[str, str]]:
    """(path, precision) of every run of a case; one pair for a case that no module knows."""
    try:
        paths = kind_of(case).PATHS
    except FixtureError:
        return [("-", "-")]
    return [(path, precision) for path in paths for precision in PRECISIONS]


def run(case: Case, path: str, precision: str) -> Outcome:
    """Compare everything in a case. Whatever goes wrong is told in the outcome and stops no other case."""
    comparison, tolerance, reason = None, None, ""
    try:
        kind = kind_of(case)
        tolerance = tolerances(case.entry, kind.TOLERANCE).get(precision)
        if tolerance is not None:
            dtype = PRECISIONS[precision]
            rtol = _by_precision(case.entry, _RELATIVE).get(precision, 0.0)
            comparison = Comparison(case.arrays(), dtype, rtol)
            with torch.inference_mode():
                kind.check(case, comparison, dtype, path == "fast")
            comparison.finish()
    except FixtureError as error:
        reason = str(error)
    except Exception as error:  # a defect of ours, or a configuration that our classes refuse
        traceback.print_exc()
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
    where = comparison.where if comparison else ""
    worst = comparison.worst if comparison and where else None
    return Outcome(case.name, path, precision, where, worst, tolerance, reason)


def run_all(cases: list[Case]) -> Iterator[Outcome]:
    """Every run of every case, in order."""
    for case in cases:
        for path, precision in runs_of(case):
            yield run(case, path, precision)


def tolerances(entry: Mapping[str, Any], default: Mapping[str, float]) -> dict[str, float]:
    """Tolerance per precision: the kind's, or what the index says of this case.

    "atol" or "tolerance" is a number for both precisions, or an object with "float64", "float32" or both. So is "rtol",
    by which `rtol` times the expected number's size is allowed on top.
    """
    if strange := [key for key in entry if "tol" in key and key not in (*_TOLERANCE_KEYS, _RELATIVE)]:
        raise FixtureError(f"does not know the tolerance {strange[0]}")
    return {**default, **_by_precision(entry, *_TOLERANCE_KEYS)}


def _by_precision(entry: Mapping[str, Any], *keys: str) -> dict[str, float]:
    own: Any = next((entry[key] for key in keys if key in entry), {})
    if isinstance(own, (int, float)) and not isinstance(own, bool):
        own = dict.fromkeys(PRECISIONS, own)
    if not isinstance(own, Mapping) or set(own) - set(PRECISIONS):
        raise FixtureError(f"does not know the tolerance {own}")
    return {precision: float(value) for precision, value in own.items()}
