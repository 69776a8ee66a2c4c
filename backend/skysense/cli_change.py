"""The command `skysense change`: its arguments, and the recipe that they make."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from skysense.errors import InputError
from skysense.jobs.recipe import Recipe, parse_recipe

Result = dict[str, Any]


def add(
    command: Callable[..., argparse.ArgumentParser],
    running: Callable[[argparse.ArgumentParser], None],
    run: Callable[[Recipe], Result],
) -> None:
    """Add the command.

    Args:
        command: makes a subparser from a name, what to run, what to show and a help text.
        running: adds the arguments that jobs share.
        run: does a recipe.
    """
    sub = command(
        "change",
        lambda args: run(_recipe(args)),
        lambda result: f"{result['change']}\n{result['seconds']:.1f} s",
        "where a scene changed between two periods, without labels",
    )
    sub.add_argument("scene", metavar="SCENE", help="scene.json or its folder")
    sub.add_argument(
        "--split", required=True, metavar="YYYY-MM-DD", help="the first day of the second period"
    )
    sub.add_argument("--out", type=Path, required=True, metavar="C.tif")
    sub.add_argument(
        "--model",
        type=Path,
        metavar="M",
        help="a backbone, or a trained model whose backbone to use; default: the built-in one",
    )
    sub.add_argument("--area", type=float, nargs=4, metavar=("XMIN", "YMIN", "XMAX", "YMAX"))
    sub.add_argument("--area-crs", metavar="EPSG:n", help="CRS of --area")
    sub.add_argument("--fusion-stride", type=int, default=1, choices=(1, 2, 4))
    running(sub)


def _recipe(args: argparse.Namespace) -> Recipe:
    if args.area and not args.area_crs:
        raise InputError("--area needs the CRS of its numbers", "skysense change", "Add --area-crs EPSG:n")
    return parse_recipe(
        {
            "skysense": 1,
            "task": "change",
            "scene": args.scene,
            "model": args.model and str(args.model),
            "output": str(args.out),
            "options": {
                "device": args.device,
                "resume": args.resume,
                "split": args.split,
                "fusion_stride": args.fusion_stride,
                "precision": args.precision,
                "area": args.area,
                "area_crs": args.area_crs,
            },
        },
        Path.cwd(),
    )
