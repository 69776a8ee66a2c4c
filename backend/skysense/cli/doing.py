"""How a command does its work: a recipe or a job, with its notes and progress on stderr; and what commands of jobs have in common."""

import argparse
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, Protocol

from skysense.errors import InputError
from skysense.jobs.control import JobControl
from skysense.jobs.recipe import Recipe
from skysense.scene.selection import parse_rule

Result = dict[str, Any]


class Commands(Protocol):
    """Adds a command."""

    def __call__(
        self, name: str, run: Callable[[argparse.Namespace], Result], show: Callable[[Result], str], text: str
    ) -> argparse.ArgumentParser:
        """The parser of a new command.

        Args:
            name: as it is typed.
            run: does it; the result is what `--json` prints.
            show: the same for people.
            text: help.
        """


def add_running(sub: argparse.ArgumentParser) -> None:
    """Add the arguments of every command that runs a model."""
    sub.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:n")
    sub.add_argument(
        "--precision",
        choices=("float32", "bfloat16"),
        help="of the model's numbers; bfloat16 is faster where the hardware computes in it (default: on a GPU that does bfloat16, "
        "else float32; in mapping what the model was trained with)",
    )
    sub.add_argument(
        "--dates",
        default="all",
        type=_dates,
        metavar="RULE",
        help="of Sentinel series: all, even:N (N dates evenly over the time) or clearest:N (N with fewest clouds)",
    )
    sub.add_argument(
        "--resume",
        action="store_true",
        help="go on with an interrupted training; maps, embeddings and changes go on by themselves",
    )
    sub.add_argument(
        "--verify",
        action="store_true",
        help="read all of the imagery to know whether kept features are of it, not its files' times and ends alone",
    )


def add_sharing(sub: argparse.ArgumentParser) -> None:
    """Add the arguments of every command whose raster several processes can make together."""
    sub.add_argument(
        "--workers", type=int, default=1, metavar="N", help="processes that make the raster together"
    )
    sub.add_argument("--scheduler", metavar="tcp://HOST:PORT", help="of a Dask cluster that makes the raster")


def sharing_of(args: argparse.Namespace) -> dict[str, Any]:
    """The recipe's options that say who makes a raster.

    Raises:
        InputError: one is wrong, or they do not go together.
    """
    command = f"skysense {args.command}"
    if args.workers < 1:
        raise InputError("--workers is less than 1", command, "Give a number of processes")
    if args.scheduler is not None and args.workers > 1:
        raise InputError(
            "--workers are processes of this machine, --scheduler has its own",
            command,
            "Leave one of them out",
        )
    if args.scheduler == "":
        raise InputError("--scheduler is empty", command, "Give its address, such as tcp://host:8786")
    return {"workers": args.workers, "scheduler": args.scheduler}


def _dates(text: str) -> str:
    parse_rule(text)
    return text


def run(recipe: Recipe) -> Result:
    """Do a recipe, see `showing`."""
    from skysense.jobs.runner import run as run_recipe

    return showing(lambda control: run_recipe(recipe, control))


def is_silent() -> bool:
    """Of several processes under torchrun the first one speaks."""
    return os.environ.get("RANK", "0") != "0"


def showing(job: Callable[[JobControl], Result]) -> Result:
    """Do a job; its notes, and on a terminal its progress, go to stderr. Ctrl-C asks it to stop, a second one ends it.

    Away from a terminal notes wait for the end: where the input is wrong, the sentence that says so stands alone (C2).
    """
    notes: list[str] = []

    def show(event: dict[str, Any]) -> None:
        if is_silent():
            return
        if event["event"] == "note":
            if sys.stderr.isatty():
                print(f"Note: {event['text']}", file=sys.stderr)
            else:
                notes.append(event["text"])
        elif event["event"] == "progress" and sys.stderr.isatty():
            print(f"\r{event['fraction']:4.0%} {event['text']:<40}", end="", file=sys.stderr, flush=True)

    control = JobControl(show)

    def stop(number: int, frame: FrameType | None) -> None:
        control.cancel()
        signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        result = job(control)
    except InputError:
        notes.clear()
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for note in notes:
            print(f"Note: {note}", file=sys.stderr)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    return result


def show_pairs(result: Result) -> str:
    """A line for each entry."""
    return "\n".join(f"{key}: {value}" for key, value in result.items())
