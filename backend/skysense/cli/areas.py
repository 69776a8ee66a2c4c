"""The commands `skysense areas`, `sample` and `estimate`: what a finished map says, and how far it can be believed."""

import argparse
from pathlib import Path

from skysense.cli.doing import Commands, Result, showing
from skysense.jobs.control import JobControl


def add(command: Commands) -> None:
    """Add the commands."""
    sub = command(
        "areas",
        lambda args: showing(lambda control: _areas(args, control)),
        _show_areas,
        "the area of each class of a map, on the ground",
    )
    sub.add_argument("map", type=Path, metavar="MAP")
    sub.add_argument("--csv", type=Path, metavar="OUT", help="write the table to this file too")

    sub = command(
        "sample",
        lambda args: showing(lambda control: _sample(args, control)),
        _show_sample,
        "draw a verification sample of a map: points in each class, whose truth you fill in",
    )
    sub.add_argument("map", type=Path, metavar="MAP")
    sub.add_argument("--out", type=Path, required=True, metavar="P.gpkg")
    number = sub.add_mutually_exclusive_group()
    number.add_argument("--points", type=int, metavar="N", help="in all; default: 100 for each mapped class")
    number.add_argument("--per-class", type=int, metavar="N", help="the same number for each class instead")
    sub.add_argument(
        "--minimum", type=int, default=50, metavar="N", help="of each class; the rest is shared out by area"
    )
    sub.add_argument("--seed", type=int, default=0)

    sub = command(
        "estimate",
        lambda args: showing(lambda control: _estimate(args, control)),
        _show_estimate,
        "accuracy and true areas of a map from its filled-in sample (Olofsson et al. 2014)",
    )
    sub.add_argument("map", type=Path, metavar="MAP")
    sub.add_argument("--sample", type=Path, required=True, metavar="P.gpkg", help="the filled-in sample")
    sub.add_argument("--field", default="reference", help="the field with what is truly there")
    sub.add_argument("--layer", help="layer inside the file, when it has several")
    sub.add_argument("--csv", type=Path, metavar="OUT", help="write the table to this file too")


def _areas(args: argparse.Namespace, control: JobControl) -> Result:
    from skysense.assessment.areas import measure_map

    return measure_map(args.map, args.csv, control)


def _sample(args: argparse.Namespace, control: JobControl) -> Result:
    from skysense.assessment.sample import draw_sample

    return draw_sample(
        args.map,
        args.out,
        control,
        points=args.points,
        per_class=args.per_class,
        minimum=args.minimum,
        seed=args.seed,
    )


def _estimate(args: argparse.Namespace, control: JobControl) -> Result:
    from skysense.assessment.verify import verify

    return verify(args.map, args.sample, args.field, args.csv, control, args.layer)


def _show_areas(result: Result) -> str:
    lines = [f"{'class':<26}{'pixels':>14}{'ha':>18}{'share':>9}"]
    lines += [
        f"{item['id']:>3} {item['name']:<22}{item['pixels']:>14,}{item['ha']:>18,.2f}{item['share']:>9.2%}"
        for item in result["classes"]
    ]
    return "\n".join([*lines, f"{'all':<40}{result['ha']:>18,.2f}"])


def _show_sample(result: Result) -> str:
    told = ", ".join(f"{item['name']} {item['points']}" for item in result["classes"] if item["points"])
    return f'{result["sample"]}\n{result["points"]} points: {told}\nFill in "reference", then run skysense estimate.'


def _show_estimate(result: Result) -> str:
    lines = [
        f"{result['points']} points; overall accuracy {_pm(result['overall'], result['overall_ci95'])} (95 %)",
        f"{'class':<26}{'mapped ha':>14}{'estimated ha':>30}{'user’s':>16}{'producer’s':>16}",
    ]
    lines += [
        f"{item['id']:>3} {item['name']:<22}{item['mapped_ha']:>14,.2f}"
        f"{item['ha']:>16,.2f} ± {item['ha_ci95']:>11,.2f}"
        f"{_pm(item['users'], item['users_ci95']):>16}{_pm(item['producers'], item['producers_ci95']):>16}"
        for item in result["classes"]
    ]
    return "\n".join(lines)


def _pm(value: float | None, half: float | None) -> str:
    return "-" if value is None else f"{value:.3f} ± {half:.3f}"
