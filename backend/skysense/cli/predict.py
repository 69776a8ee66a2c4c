"""The command `skysense predict`: its arguments, the recipe that they make, and how the map is shown."""

import argparse
import shlex
from contextlib import suppress
from pathlib import Path
from typing import Any

from skysense.cli.doing import Commands, Result, add_running, add_sharing, run, sharing_of
from skysense.cli.scene import recipe_of
from skysense.errors import InputError
from skysense.jobs.recipe import PRODUCTS


def add(command: Commands) -> None:
    """Add the command."""
    sub = command("predict", _predict, _show, "map a scene with a fine-tuned model")
    sub.add_argument("scene", metavar="SCENE", help="scene.json or its folder")
    sub.add_argument(
        "--model", type=Path, metavar="M.safetensors", help="a trained model (skysense finetune)"
    )
    sub.add_argument("--out", type=Path, required=True, metavar="OUT.tif")
    sub.add_argument(
        "--split",
        metavar="YYYY-MM-DD",
        help="with a model of changes: the first day of the second period; default: that of the training",
    )
    sub.add_argument(
        "--polygons", metavar="GPKG", help="polygons to classify, with a model of whole polygons"
    )
    sub.add_argument("--polygons-layer", metavar="NAME", help="layer inside that file, when it has several")
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
    add_sharing(sub)
    sub.add_argument("--memory-gb", type=float, metavar="GB", help="of a GPU's memory that may be used")
    sub.add_argument("--area", type=float, nargs=4, metavar=("XMIN", "YMIN", "XMAX", "YMAX"))
    sub.add_argument("--area-crs", metavar="EPSG:n", help="CRS of --area")
    sub.add_argument("--fusion-stride", type=int, default=1, choices=(1, 2, 4))
    add_running(sub)


def _predict(args: argparse.Namespace) -> Result:
    more = {"split": args.split, "polygons": args.polygons, "polygons_layer": args.polygons_layer}
    recipe = recipe_of(args, "predict", **more, **_options_of(args))
    _check_trained(args)
    return run(recipe)


def _check_trained(args: argparse.Namespace) -> None:
    """Raises InputError, with the commands that lead to a map, where the model is a backbone: the built-in one is."""
    if args.model is None:
        what, where, base = "no trained model is given, and the built-in one has no classes", "--model", []
    else:
        from skysense.model.modelfile import read_header

        if read_header(args.model).get("kind") != "backbone":
            return
        what, where = "is a backbone, which has no classes", str(args.model)
        base = ["--model", str(args.model)]
    labels = [] if _has_labels(args.scene) else ["--labels", "LABELS.gpkg", "--field", "FIELD"]
    train = ["skysense", "finetune", args.scene, *base, *labels, "--out", "M.safetensors"]
    map_it = ["skysense", "predict", args.scene, "--model", "M.safetensors", "--out", str(args.out)]
    raise InputError(
        what, where, f"Train one first with `{shlex.join(train)}`, then map with `{shlex.join(map_it)}`"
    )


def _has_labels(scene: str) -> bool:
    """Whether a scene can be trained on as it is."""
    from skysense.scene.scenefile import load_scene

    with suppress(InputError):  # mapping would say what is wrong with it
        return load_scene(Path(scene)).labels is not None
    return False


def _options_of(args: argparse.Namespace) -> dict[str, Any]:
    """The recipe's options that say where a map is made, what it consists of, and who makes it.

    Raises:
        InputError: one is wrong.
    """
    if args.start and not args.area_crs:
        raise InputError("--start needs the CRS of its numbers", "skysense predict", "Add --area-crs EPSG:n")
    if args.memory_gb is not None and args.memory_gb <= 0:
        raise InputError("--memory-gb is not above 0", "skysense predict", "Give a number of GB")
    return {
        "at": args.at,
        "within": args.within,
        "within_layer": args.within_layer,
        "products": args.products,
        "blend": args.blend,
        "start": args.start,
        "memory_gb": args.memory_gb,
        **sharing_of(args),
    }


def _show(result: Result) -> str:
    files = [result.get(name) for name in ("map", "confidence", "uncertainty", "polygons", "objects")]
    return "\n".join([*filter(None, files), f"{result['seconds']:.1f} s"])
