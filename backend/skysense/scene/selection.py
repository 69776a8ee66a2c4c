"""Which dates of a long series are used: the rule that a recipe states, and dates evenly over time. Standard library only."""

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from skysense.errors import InputError

Kind = Literal["all", "even", "clearest"]

_RULE = re.compile(r"(even|clearest):([1-9][0-9]{0,3})")


@dataclass(frozen=True)
class DateRule:
    """Which dates of each series are used.

    Attributes:
        kind: "all"; "even": spaced evenly over the series' time; "clearest": those with most valid pixels, of
            Sentinel-1, which sees through clouds, "even".
        count: how many at most; 0 with "all".
    """

    kind: Kind = "all"
    count: int = 0


def parse_rule(text: Any) -> DateRule:
    """A rule from "all", "even:N" or "clearest:N".

    Raises:
        InputError: it is none of them.
    """
    if text == "all":
        return DateRule()
    found = _RULE.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise InputError(f"dates is {text!r}", "recipe", "Write all, even:6 or clearest:6, with any number")
    return DateRule("even" if found[1] == "even" else "clearest", int(found[2]))


def evenly(days: Sequence[datetime.date], count: int) -> list[datetime.date]:
    """The `count` days that lie nearest to as many instants, evenly spaced from the first day to the last.

    Nearest by the sum of squared distances, every day once, the earlier of equals; one day: the nearest to the middle.

    Args:
        days: different, in order; all are returned where there are no more than `count`.
    """
    if len(days) <= count:
        return list(days)
    first, last = days[0].toordinal(), days[-1].toordinal()
    # In units of 1 / steps of a day, so that all is whole numbers.
    steps = max(count - 1, 1) * 2
    instants = [first * steps + (last - first) * (2 * number if count > 1 else 1) for number in range(count)]
    # best[j]: least cost of the instants so far on days up to j, and the days taken.
    best: list[tuple[int, tuple[int, ...]] | None] = [(0, ())] * (len(days) + 1)
    for instant in instants:
        found: list[tuple[int, tuple[int, ...]] | None] = [None]
        for j, day in enumerate(days):
            before, kept = best[j], found[j]
            if before is not None:
                taken = (before[0] + (day.toordinal() * steps - instant) ** 2, (*before[1], j))
                kept = taken if kept is None or taken < kept else kept
            found.append(kept)
        best = found
    chosen = best[-1]
    assert chosen is not None
    return [days[j] for j in chosen[1]]
