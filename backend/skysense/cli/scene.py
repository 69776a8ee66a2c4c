"""Arguments of the commands that make a raster of a scene with a base model, and the recipe that they make."""

import argparse
from pathlib import Path
from typing import Any

from skysense.errors import InputError
from skysense.jobs.recipe import Recipe, parse_recipe


def add_arguments(sub: argparse.ArgumentParser, output: str) -> None:
    """Add the scene, `--out` (shown as `output`), the base model and the area."""
    sub.add_argument("scene", metavar="SCENE", help="scene.json or its folder")
    sub.add_argument("--out", type=Path, required=True, metavar=output)
    sub.add_argument(
        "--model",
        type=Path,
        metavar="M",
        help="a backbone, or a trained model whose backbone to use; default: the built-in one",
    )
    sub.add_argument("--area", type=float, nargs=4, metavar=("XMIN", "YMIN", "XMAX", "YMAX"))
    sub.add_argument("--area-crs", metavar="EPSG:n", help="CRS of --area")
    sub.add_argument("--fusion-stride", type=int, default=1, choices=(1, 2, 4))


def recipe_of(args: argparse.Namespace, task: str, **options: Any) -> Recipe:
    """The recipe of a task; `options` beside those that the arguments give.

    Raises:
        InputError: an argument is wrong.
    """
    if args.area and not args.area_crs:
        raise InputError("--area needs the CRS of its numbers", f"skysense {task}", "Add --area-crs EPSG:n")
    return parse_recipe(
        {
            "skysense": 1,
            "task": task,
            "scene": args.scene,
            "model": args.model and str(args.model),
            "output": str(args.out),
            "options": {
                "device": args.device,
                "resume": args.resume,
                "fusion_stride": args.fusion_stride,
                "precision": args.precision,
                "verify": args.verify,
                "dates": args.dates,
                "area": args.area,
                "area_crs": args.area_crs,
                **options,
            },
        },
        Path.cwd(),
    )
