"""Rules for the dates of long series, and days evenly over time."""

import datetime
import itertools

import pytest
from skysense.errors import InputError
from skysense.scene.selection import DateRule, evenly, parse_rule

START = datetime.date(2020, 1, 1)


def days(*numbers: int) -> list[datetime.date]:
    return [START + datetime.timedelta(number) for number in numbers]


def test_rules() -> None:
    assert parse_rule("all") == DateRule("all", 0)
    assert parse_rule("even:6") == DateRule("even", 6)
    assert parse_rule("clearest:12") == DateRule("clearest", 12)


@pytest.mark.parametrize(
    "text", ["even", "even:0", "even:-1", "even:1.5", "clearest:x", "some:3", "", None, 6, "even:6 "]
)
def test_what_is_no_rule(text: object) -> None:
    with pytest.raises(InputError, match=r"dates is .* Write all, even:6 or clearest:6"):
        parse_rule(text)


@pytest.mark.parametrize(
    ("given", "count", "picked"),
    [
        ((0, 10, 20, 30, 40), 3, (0, 20, 40)),
        ((0, 1, 2, 3, 100), 3, (0, 3, 100)),
        ((0, 40, 60, 100), 3, (0, 40, 100)),  # 50 lies as near to 60: the earlier
        ((0, 40, 60, 100), 1, (40,)),
        ((0, 97, 98, 99, 100), 4, (0, 97, 98, 100)),  # no day twice; 33 and 67 wanted
        ((5, 7), 3, (5, 7)),
        ((), 3, ()),
    ],
)
def test_days_evenly_over_time(given: tuple[int, ...], count: int, picked: tuple[int, ...]) -> None:
    assert evenly(days(*given), count) == days(*picked)


def test_no_other_choice_is_nearer() -> None:
    given = days(0, 3, 4, 9, 20, 21, 22, 35, 36, 60)
    for count in range(2, 10):
        instants = [60 * number / (count - 1) for number in range(count)]

        def cost(chosen: tuple[datetime.date, ...], instants: list[float] = instants) -> float:
            return sum(((day - START).days - at) ** 2 for day, at in zip(chosen, instants, strict=True))

        best = min(cost(chosen) for chosen in itertools.combinations(given, count))
        assert cost(tuple(evenly(given, count))) == pytest.approx(best)
