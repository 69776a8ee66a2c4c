"""The commands `skysense describe`, `date` and `evaluate`: what files are, and how good a map is where the truth is known."""

import argparse
import json
from pathlib import Path

from skysense.cli.doing import Commands, Result
from skysense.errors import InputError


def add(command: Commands) -> None:
    """Add the commands."""
    sub = command(
        "describe", _describe, _show_descriptions, "what a file or folder holds: sensor, date, bands, CRS"
    )
    sub.add_argument("paths", nargs="+", type=Path, metavar="PATH")

    sub = command("date", _date, _show_dates, "the acquisition date that a product's name or metadata gives")
    sub.add_argument("names", nargs="+", metavar="NAME")

    sub = command("evaluate", _evaluate, _show_scores, "score a map on a labelled scene's truth")
    sub.add_argument("scene", type=Path, metavar="SCENE")
    sub.add_argument("--map", type=Path, required=True, metavar="MAP.tif")
    sub.add_argument("--eval-mask", type=Path)


def _describe(args: argparse.Namespace) -> Result:
    from skysense.scene.describe import describe
    from skysense.scene.remote import exists

    found = [{**describe(_whole(path)).to_json(), "path": str(path)} for path in args.paths]
    result = {"descriptions": found}
    if not any(exists(path) for path in args.paths):
        if args.json:  # the rows say it too
            print(json.dumps(result, ensure_ascii=False))
        names = ", ".join(str(path) for path in args.paths)
        raise InputError("there is no such file or folder", names, "Check the path")
    return result


def _whole(path: Path) -> Path:
    """The absolute path of what is there: the names of the folders above it may tell what it is."""
    return path.absolute() if path.exists() else path


def _show_descriptions(result: Result) -> str:
    lines = []
    for item in result["descriptions"]:
        bands = ",".join(item["bands"] or ())
        facts = [
            item["modality"] or "?",
            item["date"] or "no date",
            bands or "no bands",
            item["crs"] or "no CRS",
        ]
        lines.append(
            f"{item['status']:<6}{item['path']}: {'  '.join(facts)}"
            + (f"\n      {item['reason']}" * bool(item["reason"]))
        )
    return "\n".join(lines)


def _date(args: argparse.Namespace) -> Result:
    from skysense.scene.dates import acquisition_date

    dates = [acquisition_date(_whole(Path(name)))[0] for name in args.names]
    return {"dates": [found.isoformat() if found else None for found in dates]}


def _show_dates(result: Result) -> str:
    return "\n".join(found or "" for found in result["dates"])


def _evaluate(args: argparse.Namespace) -> Result:
    from skysense.finetune.scores import score_map

    return score_map(args.scene, args.map, eval_mask=args.eval_mask)


def _show_scores(result: Result) -> str:
    lines = [f"OA {result['oa']:.4f}  macro F1 {result['macro_f1']:.4f}  mIoU {result['miou']:.4f}"]
    lines += [
        f"  {name:<24} IoU {item['iou']:.3f}  F1 {item['f1']:.3f}"
        for name, item in result["per_class"].items()
    ]
    return "\n".join(lines)
