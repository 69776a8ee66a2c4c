"""The command `skysense embed`: its arguments, and the recipe that they make."""

import argparse
from collections.abc import Callable
from typing import Any

from skysense.cli_scene import add_arguments, recipe_of
from skysense.jobs.recipe import Recipe

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
        "embed",
        lambda args: run(recipe_of(args, "embed")),
        _show,
        "write a model's frozen features of a scene as a raster",
    )
    add_arguments(sub, "E.tif")
    running(sub)


def _show(result: Result) -> str:
    features = ", ".join(f"{name} {dims}" for name, dims in result["features"].items())
    size = f"{result['width']} x {result['height']} pixels of {result['gsd']:g}"
    return (
        f"{result['embedding']}\n{sum(result['features'].values())} features a pixel ({features}), {size}\n"
        f"{result['seconds']:.1f} s"
    )
