"""The command `skysense change`: its arguments, and the recipe that they make."""

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
        "change",
        lambda args: run(recipe_of(args, "change", split=args.split)),
        lambda result: f"{result['change']}\n{result['seconds']:.1f} s",
        "where a scene changed between two periods, without labels",
    )
    add_arguments(sub, "C.tif")
    sub.add_argument(
        "--split", required=True, metavar="YYYY-MM-DD", help="the first day of the second period"
    )
    running(sub)
