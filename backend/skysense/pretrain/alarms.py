"""Alarms of a collapse: features that no longer differ, outputs that no longer compete.

The figures are those of `objective.health`: 0 where it has happened, about 1 where all is well. A healthy run has low
values now and then, so an alarm looks at the mean of many steps.
"""

from collections import defaultdict, deque
from collections.abc import Mapping

from skysense.scene.sensors import SENSORS

#: Least mean over `_STEPS` steps, and what a lower one means.
_LEAST = {
    "spread": (0.1, "the features are nearly the same everywhere"),
    "sharpness": (0.02, "the teacher prefers nothing, and there is nothing to learn from it"),
    "usage": (0.01, "the teacher gives nearly everything the same answer"),
}
_STEPS = 50


class Alarms:
    """Looks at a run's health figures and says of each kind of features once what is wrong."""

    def __init__(self) -> None:
        self._recent: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_STEPS))
        self._told: set[str] = set()

    def look(self, stats: Mapping[str, float]) -> list[str]:
        """Take in a step's `Objective.stats`; sentences for the user about what has just gone wrong."""
        sentences = []
        for name, value in stats.items():
            kind, figure = name.split(".")
            recent = self._recent[name]
            recent.append(value)
            mean = sum(recent) / len(recent)
            least, meaning = _LEAST[figure]
            if len(recent) == _STEPS and mean < least and name not in self._told:
                self._told.add(name)
                sentences.append(
                    f"The training may have collapsed: of the {_title(kind)}, {meaning} ({name} {mean:.3f}). "
                    "Stop it and lower the learning rate, or add more varied imagery."
                )
        return sentences


def _title(kind: str) -> str:
    if kind.startswith("hr_"):
        return f"{SENSORS['hr'].title} features of stage {kind[3:]}"
    if kind in SENSORS:
        return f"{SENSORS[kind].title} features"  # type: ignore[index]
    return "regions' prototypes" if kind == "prototypes" else f"{kind} features"
