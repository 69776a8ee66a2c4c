"""Agreement with the official classes' numbers: what `make parity` runs, one test for each line of its table.

The fixtures lie outside the project (GOLDENS names another folder of them); without them the tests skip.
"""

import os
from pathlib import Path

import pytest
from parity.cases import run, runs_of
from parity.fixture import Case, read_cases

SHARED = Path(__file__).resolve().parents[4] / "shared"
GOLDENS = Path(os.environ.get("GOLDENS", SHARED / "reference" / "goldens"))
CASES = read_cases(GOLDENS) if (GOLDENS / "index.json").is_file() else []
RUNS = [(case, *names) for case in CASES for names in runs_of(case)]
ABSENT = pytest.param(
    None, "", "", marks=pytest.mark.skip(f"no reference fixtures at {GOLDENS} (set GOLDENS)"), id="absent"
)


@pytest.mark.parametrize(
    ("case", "path", "precision"),
    [pytest.param(*names, id="-".join((names[0].name, *names[1:]))) for names in RUNS] or [ABSENT],
)
def test_agrees_with_the_official_numbers(case: Case, path: str, precision: str) -> None:
    outcome = run(case, path, precision)
    assert outcome.passed, outcome
