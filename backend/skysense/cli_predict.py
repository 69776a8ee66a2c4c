"""Arguments of `skysense predict` that say where a map is made, what it consists of, and who makes it."""

import argparse
from pathlib import Path
from typing import Any

from skysense.errors import InputError
from skysense.jobs.recipe import PRODUCTS, parse_day


def add_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--at",
        metavar="YYYY-MM-DD",
        help="with a model of labels with dates: the day to map; default: the newest in the scene",
    )
    sub.add_argument("--within", metavar="GPKG", help="map only inside of the polygons of a vector file")
    sub.add_argument("--within-layer", metavar="NAME", help="layer inside that file, when it has several")
    sub.add_argument(
        "--products",
        nargs="+",
        default=[],
        choices=PRODUCTS,
        help="further rasters: "
        + "; ".join(f"{name} ({text})" for name, text in PRODUCTS.items()).replace("%", "%%"),
    )
    sub.add_argument(
        "--start",
        type=float,
        nargs=2,
        metavar=("X", "Y"),
        help="where to begin, in --area-crs; default: at the top",
    )
    sub.add_argument(
        "--blend", action="store_true", help="let neighbouring tiles pass into each other at their borders"
    )
    sub.add_argument(
        "--workers", type=int, default=1, metavar="N", help="processes that make the map together"
    )
    sub.add_argument("--scheduler", metavar="tcp://HOST:PORT", help="of a Dask cluster that makes the map")
    sub.add_argument("--memory-gb", type=float, metavar="GB", help="of a GPU's memory that may be used")


def options_of(args: argparse.Namespace) -> dict[str, Any]:
    """The recipe's options that the arguments give.

    Raises:
        InputError: one is wrong.
    """
    if args.start and not args.area_crs:
        raise InputError("--start needs the CRS of its numbers", "skysense predict", "Add --area-crs EPSG:n")
    if args.workers < 1:
        raise InputError("--workers is less than 1", "skysense predict", "Give a number of processes")
    if args.memory_gb is not None and args.memory_gb <= 0:
        raise InputError("--memory-gb is not above 0", "skysense predict", "Give a number of GB")
    return {
        "at": args.at and parse_day(args.at, "at"),
        "within": args.within and str(Path.cwd() / args.within),
        "within_layer": args.within_layer,
        "products": tuple(args.products),
        "blend": args.blend,
        "start": tuple(args.start) if args.start else None,
        "workers": args.workers,
        "scheduler": args.scheduler,
        "memory_gb": args.memory_gb,
    }
