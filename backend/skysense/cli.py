"""The `skysense` command (contract C2). The edge where typed errors become one sentence and an exit code."""

import argparse
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import skysense
from skysense import (
    cli_areas,
    cli_cache,
    cli_change,
    cli_embed,
    cli_explore,
    cli_predict,
    cli_pretrain,
    cli_probe,
    cli_vectorize,
)
from skysense.errors import Cancelled, InputError, SkySenseError
from skysense.jobs.control import JobControl
from skysense.jobs.recipe import MODES, TARGETS, Options, Recipe, load_recipe, parse_split
from skysense.scene.selection import parse_rule

EXIT_DONE, EXIT_DEFECT, EXIT_INPUT, EXIT_CANCELLED = 0, 1, 2, 3

Result = dict[str, Any]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise InputError(message, self.prog, f"See `{self.prog} --help`")


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 2 wrong input, 3 cancelled, 1 a defect of ours."""
    as_json = "--json" in (sys.argv[1:] if arguments is None else arguments)
    try:
        options = _parser().parse_args(arguments)
        if options.command == "worker":
            from skysense.jobs.worker import main as worker

            return worker()
        result = options.run(options)
        if not _is_silent():
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
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run, show=show)
        sub.add_argument("--json", action="store_true", help="print one JSON object")
        return sub

    def running(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:n")
        sub.add_argument(
            "--precision",
            choices=("float32", "bfloat16"),
            help="of the model's numbers; bfloat16 is faster where the hardware computes in it",
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

    sub = command(
        "describe", _describe, _show_descriptions, "what a file or folder holds: sensor, date, bands, CRS"
    )
    sub.add_argument("paths", nargs="+", type=Path, metavar="PATH")

    sub = command("finetune", _finetune, _show_model, "train a model on labelled polygons")
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
    running(sub)

    sub = command("predict", _predict, _show_map, "map a scene with a fine-tuned model")
    sub.add_argument("scene", metavar="SCENE", help="scene.json or its folder")
    sub.add_argument("--model", type=Path, required=True, metavar="M.safetensors")
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
    cli_predict.add_arguments(sub)
    sub.add_argument("--area", type=float, nargs=4, metavar=("XMIN", "YMIN", "XMAX", "YMAX"))
    sub.add_argument("--area-crs", metavar="EPSG:n", help="CRS of --area")
    sub.add_argument("--fusion-stride", type=int, default=1, choices=(1, 2, 4))
    running(sub)

    cli_embed.add(command, running, _run)
    cli_change.add(command, running, _run)
    cli_probe.add(command, _showing)
    cli_areas.add(command, _showing)
    cli_vectorize.add(command, _showing)
    cli_explore.add(command, _showing)
    cli_pretrain.add(command, _run)
    cli_cache.add(command)

    sub = command("evaluate", _evaluate, _show_scores, "score a map on a labelled scene's truth")
    sub.add_argument("scene", type=Path, metavar="SCENE")
    sub.add_argument("--map", type=Path, required=True, metavar="MAP.tif")
    sub.add_argument("--eval-mask", type=Path)

    sub = command(
        "convert", _convert, _show_conversion, "make a backbone file from released SkySense checkpoints"
    )
    sub.add_argument(
        "inputs", nargs="*", type=Path, metavar="IN", help=".pth, .pt, .ckpt, .safetensors, .index.json"
    )
    sub.add_argument("out", type=Path, metavar="OUT.safetensors")
    sub.add_argument(
        "--part",
        action="append",
        default=[],
        metavar="PART=FILE",
        help="a further input whose part neither its content nor its name tells: head_s2, head_s1, ...",
    )

    sub = command("info", _info, _show_info, "what a model file is, or what a preset costs")
    sub.add_argument(
        "model",
        metavar="MODEL",
        nargs="?",
        default="all",
        help="a model file, a preset (tiny, small, base, huge), or all presets (default)",
    )

    sub = command("download", _download, _show_download, "download released weights from a hub")
    sub.add_argument("repository", metavar="REPO", help="owner/name")
    sub.add_argument("file", nargs="?", metavar="FILE", help="its path in the repository")
    sub.add_argument("--list", action="store_true", help="list the repository's weight files instead")
    sub.add_argument("--revision", help="a commit, which pins the content, or a branch or tag; default: main")
    sub.add_argument("--out", type=Path, metavar="PATH", help="file or folder; default: here")
    sub.add_argument("--endpoint", metavar="URL", help="the hub or a mirror; default: HF_ENDPOINT")
    sub.add_argument("--sha256", metavar="H", help="what the file must have")
    sub.add_argument("--accept-licence", action="store_true", help="you agree to the weights' licence")

    sub = command("date", _date, _show_dates, "the acquisition date that a product's name or metadata gives")
    sub.add_argument("names", nargs="+", metavar="NAME")

    sub = command("run", _run_recipe, _show_pairs, "run a recipe file")
    sub.add_argument("recipe", type=Path, metavar="RECIPE.json")

    sub = command("synthetic", _synthetic, _show_pairs, "make a small synthetic scene with labels and truth")
    sub.add_argument("out", type=Path, metavar="DIR")
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--size-m", type=int, default=1280, help="side of the square scene in metres")

    command("doctor", _doctor, _show_pairs, "check this installation")
    commands.add_parser("worker", help="serve a QGIS session over stdin and stdout")
    return parser


def _dates(text: str) -> str:
    parse_rule(text)
    return text


def _run(recipe: Recipe) -> Result:
    from skysense.jobs.runner import run

    return _showing(lambda control: run(recipe, control))


def _is_silent() -> bool:
    """Of several processes under torchrun the first one speaks."""
    return os.environ.get("RANK", "0") != "0"


def _showing(job: Callable[[JobControl], Result]) -> Result:
    """Do a job; its notes, and on a terminal its progress, go to stderr. Ctrl-C asks it to stop, a second one ends it.

    Away from a terminal notes wait for the end: where the input is wrong, the sentence that says so stands alone (C2).
    """
    notes: list[str] = []

    def show(event: dict[str, Any]) -> None:
        if _is_silent():
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


def _describe(args: argparse.Namespace) -> Result:
    from skysense.scene.describe import describe

    return {"descriptions": [describe(path).to_json() for path in args.paths]}


def _finetune(args: argparse.Namespace) -> Result:
    from skysense.jobs.recipe import parse_recipe

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
            labels["path"] = str(own.path)
    return _run(
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


def _predict(args: argparse.Namespace) -> Result:
    if args.area and not args.area_crs:
        raise InputError("--area needs the CRS of its numbers", "skysense predict", "Add --area-crs EPSG:n")
    return _run(
        Recipe(
            task="predict",
            scene=str(Path.cwd() / args.scene),
            root=Path.cwd(),
            output=Path.cwd() / args.out,
            model=Path.cwd() / args.model,
            options=Options(
                device=args.device,
                resume=args.resume,
                fusion_stride=args.fusion_stride,
                precision=args.precision,
                verify=args.verify,
                area=tuple(args.area) if args.area else None,
                area_crs=args.area_crs,
                split=args.split and parse_split(args.split),
                polygons=args.polygons and str(Path.cwd() / args.polygons),
                polygons_layer=args.polygons_layer,
                dates=args.dates,
                **cli_predict.options_of(args),
            ),
        )
    )


def _evaluate(args: argparse.Namespace) -> Result:
    from skysense.finetune.scores import score_map

    return score_map(args.scene, args.map, eval_mask=args.eval_mask)


def _convert(args: argparse.Namespace) -> Result:
    from skysense.model.checkpoint.convert import convert

    inputs: list[tuple[Path, str | None]] = [(path, None) for path in args.inputs]
    for item in args.part:
        part, equals, path = item.partition("=")
        if not (part and equals and path):
            raise InputError(f"--part {item} names no file", "skysense convert", "Write --part head_s2=FILE")
        inputs.append((Path(path), part))
    return convert(inputs, args.out)


def _show_conversion(result: Result) -> str:
    from skysense.model.checkpoint.convert import show

    return show(result)


def _info(args: argparse.Namespace) -> Result:
    from skysense.model.info import describe_model

    return describe_model(args.model)


def _download(args: argparse.Namespace) -> Result:
    from skysense.hub.source import environment_token, make_source

    source = make_source(args.repository, args.file, args.revision, args.endpoint)
    if args.list:
        from skysense.hub.listing import list_weights

        return list_weights(source, environment_token())
    from skysense.hub.sharded import download_weights

    out = args.out or Path.cwd()
    return _showing(
        lambda control: download_weights(
            source,
            out,
            control,
            accepted=args.accept_licence,
            sha256=args.sha256,
            token=environment_token(),
        )
    )


def _date(args: argparse.Namespace) -> Result:
    from skysense.scene.dates import acquisition_date

    dates = [acquisition_date(Path(name))[0] for name in args.names]
    return {"dates": [found.isoformat() if found else None for found in dates]}


def _run_recipe(args: argparse.Namespace) -> Result:
    return _run(load_recipe(args.recipe))


def _synthetic(args: argparse.Namespace) -> Result:
    from skysense.synthetic.landscape import make_landscape

    return {"scene": str(make_landscape(args.out, seed=args.seed, size_m=args.size_m))}


def _doctor(args: argparse.Namespace) -> Result:
    from skysense.jobs.doctor import examine

    return examine()


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


def _show_model(result: Result) -> str:
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


def _show_map(result: Result) -> str:
    files = [result.get(name) for name in ("map", "confidence", "uncertainty", "polygons", "objects")]
    return "\n".join([*filter(None, files), f"{result['seconds']:.1f} s"])


def _show_scores(result: Result) -> str:
    lines = [f"OA {result['oa']:.4f}  macro F1 {result['macro_f1']:.4f}  mIoU {result['miou']:.4f}"]
    lines += [
        f"  {name:<24} IoU {item['iou']:.3f}  F1 {item['f1']:.3f}"
        for name, item in result["per_class"].items()
    ]
    return "\n".join(lines)


def _show_download(result: Result) -> str:
    if "files" not in result:
        return f"{result['path']}\n{result['repository']} {result['revision']}\nsha256 {result['sha256']}"
    sizes = [f"{item['size'] / 1e6:12,.1f} MB" if item["size"] else "? MB" for item in result["files"]]
    lines = [f"{size:>15}  {item['file']}" for size, item in zip(sizes, result["files"])]
    return "\n".join([f"{result['repository']} {result['revision']}", *(lines or ["no weight files"])])


def _show_dates(result: Result) -> str:
    return "\n".join(found or "" for found in result["dates"])


def _show_info(result: Result) -> str:
    from skysense.model.costs import compare_presets, show_preset

    if "presets" in result:
        return compare_presets(result["presets"])
    return show_preset(result) if "hr_tile" in result else _show_pairs(result)


def _show_pairs(result: Result) -> str:
    return "\n".join(f"{key}: {value}" for key, value in result.items())
