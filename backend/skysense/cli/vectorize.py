"""The command `skysense vectorize`: a class map as polygons."""

import argparse
from pathlib import Path

from skysense.cli.doing import Commands, Result, showing
from skysense.jobs.control import JobControl


def add(command: Commands) -> None:
    """Add the command."""
    sub = command(
        "vectorize",
        lambda args: showing(lambda control: _vectorize(args, control)),
        _show,
        "turn a class map into polygons with class and area, whose borders fit together",
    )
    sub.add_argument("map", type=Path, metavar="MAP")
    sub.add_argument("--out", type=Path, required=True, metavar="P.gpkg")
    sub.add_argument(
        "--simplify",
        type=float,
        default=0.0,
        metavar="METRES",
        help="smooth the steps of the pixels up to this size; neighbours keep their common border",
    )
    sub.add_argument(
        "--min-area",
        type=float,
        default=0.0,
        metavar="M2",
        help="areas smaller than this on the ground join their largest neighbour first",
    )


def _vectorize(args: argparse.Namespace, control: JobControl) -> Result:
    from skysense.assessment.polygons import vectorize

    return vectorize(args.map, args.out, control, simplify_m=args.simplify, min_m2=args.min_area)


def _show(result: Result) -> str:
    lines = [f"{result['polygons']}\n{result['count']:,} polygons"]
    lines += [
        f"{item['id']:>3} {item['name']:<22}{item['polygons']:>14,}{item['m2'] / 1e4:>18,.2f} ha"
        for item in result["classes"]
    ]
    return "\n".join(lines)
