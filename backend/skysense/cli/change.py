"""The command `skysense change`: its arguments, and the recipe that they make."""

from skysense.cli.doing import Commands, add_running, add_sharing, run, sharing_of
from skysense.cli.scene import add_arguments, recipe_of


def add(command: Commands) -> None:
    """Add the command."""
    sub = command(
        "change",
        lambda args: run(recipe_of(args, "change", split=args.split, **sharing_of(args))),
        lambda result: f"{result['change']}\n{result['seconds']:.1f} s",
        "where a scene changed between two periods, without labels",
    )
    add_arguments(sub, "C.tif")
    sub.add_argument(
        "--split", required=True, metavar="YYYY-MM-DD", help="the first day of the second period"
    )
    add_sharing(sub)
    add_running(sub)
