"""The command `skysense pretrain`: its arguments, and the recipe that they make."""

import argparse
import json
from pathlib import Path
from typing import Any

from skysense.cli.doing import Commands, Result, run
from skysense.errors import InputError
from skysense.jobs.recipe import parse_recipe


def add(command: Commands) -> None:
    """Add the command."""
    sub = command(
        "pretrain",
        _pretrain,
        _show,
        "pretrain a model on unlabelled imagery, or go on pretraining one",
    )
    sub.add_argument(
        "--data",
        type=Path,
        nargs="+",
        action="extend",
        required=True,
        metavar="DIR",
        help="folders of scenes, or scenes",
    )
    sub.add_argument("--out", type=Path, required=True, metavar="DIR")
    sub.add_argument("--preset", default="tiny", help="size of a fresh model: tiny, small, base, huge")
    sub.add_argument(
        "--model", type=Path, metavar="M", help="a backbone file to go on from; default: fresh weights"
    )
    sub.add_argument("--steps", type=int, metavar="N")
    sub.add_argument("--batch", type=int, metavar="N", help="windows per step, over all processes")
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument(
        "--sources", type=Path, metavar="FILE", help="use only scenes that this list of licences allows"
    )
    sub.add_argument(
        "--leave-out",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME",
        help="scenes or places not trained on",
    )
    sub.add_argument("--synthetic", type=int, default=0, metavar="N", help="synthetic landscapes to add")
    sub.add_argument(
        "--probe",
        nargs="+",
        action="extend",
        default=[],
        metavar="SCENE",
        help="labelled scenes that score the features at the end, and every N steps with `--set probe_every=N`",
    )
    sub.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="settings, as `--set lr=0.001 crop=24`",
    )
    sub.add_argument("--workers", type=int, metavar="N", help="threads that read ahead")
    sub.add_argument("--half", action="store_true", help="write float16, half the size")
    sub.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:n")
    sub.add_argument("--resume", action="store_true", help="go on with an interrupted run")


def _pretrain(args: argparse.Namespace) -> Result:
    options = {
        "preset": args.preset,
        "steps": args.steps,
        "batch": args.batch,
        "workers": args.workers,
        "seed": args.seed,
        "device": args.device,
        "resume": args.resume,
        "settings": dict(map(_setting, args.set)),
        "sources": args.sources and str(args.sources),
        "leave_out": args.leave_out,
        "synthetic": args.synthetic,
        "probe": args.probe,
        "half": args.half,
    }
    data = {
        "skysense": 1,
        "task": "pretrain",
        "data": [str(path) for path in args.data],
        "model": args.model and str(args.model),
        "output": str(args.out),
        "options": options,
    }
    return run(parse_recipe(data, Path.cwd()))


def _setting(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    try:
        if not equals:
            raise ValueError
        return name, json.loads(value)
    except ValueError:
        raise InputError(
            f"--set {text} is not a setting",
            "skysense pretrain",
            "Write KEY=VALUE, as lr=0.001 or bfloat16=true",
        ) from None


def _show(result: Result) -> str:
    text = f"{result['model']}\n{result['steps']} steps in {result['seconds']:.0f} s"
    if result["loss"] is not None:
        text += f", loss {result['loss']:.3f}"
    return text + "".join(f"\n  {scene}: linear mIoU {miou:.3f}" for scene, miou in result["probe"].items())
