"""How fast an adaptation goes: seconds a step, measured while it runs and remembered for the next one."""

from __future__ import annotations

import json

from qgis.core import QgsSettings

from ..duration import duration

_KEY = "skysense/adapt_pace"
_MODELS = 20  # whose paces are kept


class Pace:
    """Measures the time of a step from the steps that are told."""

    def __init__(self) -> None:
        self._first: tuple[float, int] | None = None
        self.step_s: float | None = None

    def interrupt(self) -> None:
        """The run begins, waits or goes on: the next step told is the first of a new measurement."""
        self._first = None

    def take(self, step: int, now_s: float) -> None:
        """`step` steps were done at `now_s`, seconds of any clock."""
        if self._first is None or step <= self._first[1]:
            self._first = (now_s, step)
        else:
            self.step_s = (now_s - self._first[0]) / (step - self._first[1])


def pace_text(step_s: float) -> str:
    """The time of a step as it is shown: "0.32 s", "2.3 s", "45 s", "2 min"."""
    return f"{step_s:.{2 if step_s < 1 else 1}f} s" if step_s < 10 else duration(step_s)


def remembered_pace(model: str) -> float | None:
    """Seconds that a step took with a model file ("" = none) when it was last adapted or made here; None = unknown."""
    return _paces().get(model)


def remember_pace(model: str, step_s: float) -> None:
    """Keep it for `remembered_pace`."""
    paces = _paces()
    paces.pop(model, None)
    kept = list(paces.items())[1 - _MODELS :]
    QgsSettings().setValue(_KEY, json.dumps({**dict(kept), model: step_s}))


def _paces() -> dict[str, float]:
    try:
        paces = json.loads(str(QgsSettings().value(_KEY, "") or "{}"))
        return {str(model): float(step_s) for model, step_s in paces.items()}
    except (ValueError, TypeError, AttributeError):
        return {}
