"""The command `skysense finetune`: its arguments, the recipe that they make, and how the model is shown."""

import argparse
from pathlib import Path

from skysense.cli.doing import Commands, Result, add_running, run
from skysense.errors import InputError
from skysense.jobs.recipe import MODES, TARGETS, parse_recipe


def add(command: Commands) -> None:
    """Add the command."""
    sub = command("finetune", _finetune, _show, "train a model on labelled polygons")
    sub.add_argument("scene", metavar="SCENE", help="scene.json or its folder")
    sub.add_argument("--labels", metavar="GPKG", help="polygon layer; default: the scene's labels")
    sub.add_argument("--field", help="class field; default: the scene's")
    sub.add_argument("--layer", help="layer inside the file, when it has several")
    sub.add_argument(
        "--date-field", help="field of the day on which a polygon is true; default: on all dates"
    )
    sub.add_argument(
        "--areas", metavar="GPKG", help="for objects: polygons inside of which all of them are drawn"
    )
    sub.add_argument(
        "--model",
        type=Path,
        help="the backbone, or a trained model whose backbone to use; default: the built-in one",
    )
    sub.add_argument("--out", type=Path, required=True, metavar="M.safetensors")
    sub.add_argument(
        "--target",
        default="classes",
        choices=TARGETS,
        help="what the labels teach: " + "; ".join(f"{name} ({text})" for name, text in TARGETS.items()),
    )
    sub.add_argument(
        "--mode",
        default="head",
        choices=MODES,
        help="what is trained: " + "; ".join(f"{name} ({text})" for name, text in MODES.items()),
    )
    sub.add_argument("--split", metavar="YYYY-MM-DD", help="for changes: the first day of the second period")
    sub.add_argument("--standalone", action="store_true", help="put the backbone into the file as well")
    sub.add_argument(
        "--report", metavar="DIR", help="write a page, tables and JSON on how good the model is into a folder"
    )
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--fusion-stride", type=int, default=1, choices=(1, 2, 4))
    add_running(sub)


def _finetune(args: argparse.Namespace) -> Result:
    labels = None
    if args.labels or args.field or args.layer or args.areas or args.date_field:
        labels = {"path": args.labels, "field": args.field, "layer": args.layer}
        if args.areas:
            labels["areas"] = args.areas
        if args.date_field:
            labels["date_field"] = args.date_field
        if not args.labels:
            from skysense.scene.scenefile import load_scene

            own = load_scene(Path(args.scene)).labels
            if own is None:
                raise InputError("has no labels of its own", args.scene, "Give --labels")
            labels |= {"path": str(own.path), "layer": args.layer or own.layer}
    return run(
        parse_recipe(
            {
                "skysense": 1,
                "task": "finetune",
                "scene": args.scene,
                "labels": labels,
                "model": args.model and str(args.model),
                "output": str(args.out),
                "options": {
                    "device": args.device,
                    "resume": args.resume,
                    "seed": args.seed,
                    "target": args.target,
                    "mode": args.mode,
                    "fusion_stride": args.fusion_stride,
                    "precision": args.precision,
                    "standalone": args.standalone,
                    "report": args.report,
                    "split": args.split,
                    "verify": args.verify,
                    "dates": args.dates,
                },
            },
            Path.cwd(),
        )
    )


def _show(result: Result) -> str:
    report = result["report"]
    if "field" in result:
        from skysense.finetune.value_report import summary

        return "\n".join(filter(None, (result["model"], summary(report, result["field"]), result["page"])))
    if "objects" in result:
        from skysense.finetune.objects.report import summary as objects_summary

        return "\n".join(filter(None, (result["model"], objects_summary(report), result["page"])))
    text = f"{result['model']}\n{len(result['classes'])} classes, {report['n_polygons']} polygons, "
    text += f"{report['n_pixels']} pixels; {report['scored_on']}"
    if report["oa"] is not None:
        for name, found in (("", report), ("\n  a random forest on the bands alone", report["forest"])):
            text += (
                f"{name}: OA {found['oa']:.3f}, macro F1 {found['macro_f1']:.3f}, mIoU {found['miou']:.3f}"
            )
    if result["page"]:
        text += f"\n{result['page']}"
    return text
