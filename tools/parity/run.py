"""`make parity GOLDENS=dir`: every case of a folder of fixtures, plain and fast, in float64 and float32.

Exit status: 0 all agree; 1 something differs or is not known; 2 the folder has no usable index.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from parity.cases import run_all
from parity.fixture import BrokenIndex, read_cases
from parity.table import HEADER, row, summary


def main(arguments: list[str] | None = None) -> int:
    """Print the table and its summary; returns the exit status."""
    parser = argparse.ArgumentParser(description="Numerical parity with fixtures of the official classes.")
    parser.add_argument(
        "--goldens", type=Path, required=True, metavar="DIR", help="folder with an index.json"
    )
    try:
        cases = read_cases(parser.parse_args(arguments).goldens)
    except BrokenIndex as error:
        print(error, file=sys.stderr)
        return 2
    torch.set_num_threads(1)  # the tensors are too small to be worth sharing
    print(HEADER)
    outcomes = []
    for outcome in run_all(cases):
        print(row(outcome), flush=True)
        outcomes.append(outcome)
    print(summary(outcomes))
    return 0 if all(outcome.passed for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
