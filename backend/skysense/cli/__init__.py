"""The `skysense` command (contract C2), a module for each command or group of them. The edge where typed errors become one sentence and an exit code."""

import argparse
import json
import sys
import traceback
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import skysense
from skysense.cli import (
    areas,
    cache,
    change,
    embed,
    explore,
    finetune,
    looking,
    predict,
    pretrain,
    probe,
    vectorize,
    weights,
)
from skysense.cli.doing import Result, is_silent, run, show_pairs
from skysense.errors import Cancelled, InputError, SkySenseError
from skysense.jobs.recipe import load_recipe

EXIT_DONE, EXIT_DEFECT, EXIT_INPUT, EXIT_CANCELLED = 0, 1, 2, 3


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise InputError(message, self.prog, f"See `{self.prog} --help`")


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 2 wrong input, 3 cancelled, 1 a defect of ours."""
    as_json = "--json" in (sys.argv[1:] if arguments is None else arguments)
    # Images without a place are told of in our own words.
    warnings.filterwarnings("ignore", message="Dataset has no geotransform")
    try:
        options = _parser().parse_args(arguments)
        if options.command == "worker":
            from skysense.jobs.worker import main as worker

            return worker()
        result = options.run(options)
        if not is_silent():
            print(json.dumps(result, ensure_ascii=False) if as_json else options.show(result))
        return EXIT_DONE
    except (Cancelled, KeyboardInterrupt):
        print("Cancelled.", file=sys.stderr)
        return EXIT_CANCELLED
    except InputError as error:
        print(error.sentence, file=sys.stderr)
        return EXIT_INPUT
    except BrokenPipeError:
        return EXIT_DONE
    except SkySenseError as error:
        print(error.sentence, file=sys.stderr)
        return EXIT_DEFECT
    except Exception:
        traceback.print_exc()
        print("This is a defect of SkySense: please report the lines above.", file=sys.stderr)
        return EXIT_DEFECT


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="skysense", description="SkySense: from layers and labels to maps.")
    parser.add_argument("--version", action="version", version=skysense.__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)

    def command(
        name: str, run: Callable[[argparse.Namespace], Result], show: Callable[[Result], str], text: str
    ) -> argparse.ArgumentParser:
        # A command that needs a device or can go on adds these anew; scripts may give them to all (C2).
        sub = commands.add_parser(name, help=text, description=text, conflict_handler="resolve")
        sub.set_defaults(run=run, show=show)
        sub.add_argument("--json", action="store_true", help="print one JSON object")
        sub.add_argument("--device", help=argparse.SUPPRESS)
        sub.add_argument("--resume", action="store_true", help=argparse.SUPPRESS)
        return sub

    for group in (
        looking,
        finetune,
        predict,
        embed,
        change,
        probe,
        areas,
        vectorize,
        explore,
        pretrain,
        cache,
        weights,
    ):
        group.add(command)

    sub = command("run", _run_recipe, show_pairs, "run a recipe file")
    sub.add_argument("recipe", type=Path, metavar="RECIPE.json")
    sub.add_argument("--device", help="auto, cpu, cuda or cuda:n; default: the recipe's")
    sub.add_argument("--resume", action="store_true", help="go on with an interrupted run")

    sub = command("synthetic", _synthetic, show_pairs, "make a small synthetic scene with labels and truth")
    sub.add_argument("out", type=Path, metavar="DIR")
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--size-m", type=int, default=1280, help="side of the square scene in metres")

    command("doctor", _doctor, show_pairs, "check this installation")
    commands.add_parser("worker", help="serve a QGIS session over stdin and stdout")
    return parser


def _run_recipe(args: argparse.Namespace) -> Result:
    recipe = load_recipe(args.recipe)
    options = replace(
        recipe.options,
        device=args.device or recipe.options.device,
        resume=args.resume or recipe.options.resume,
    )
    return run(replace(recipe, options=options))


def _synthetic(args: argparse.Namespace) -> Result:
    from skysense.synthetic.landscape import make_landscape

    return {"scene": str(make_landscape(args.out, seed=args.seed, size_m=args.size_m))}


def _doctor(args: argparse.Namespace) -> Result:
    from skysense.jobs.doctor import examine

    return examine()
