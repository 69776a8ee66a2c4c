"""The commands `skysense convert`, `info` and `download`: model files, and where they come from."""

import argparse
from pathlib import Path

from skysense.cli.doing import Commands, Result, show_pairs, showing
from skysense.errors import InputError


def add(command: Commands) -> None:
    """Add the commands."""
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
    sub.add_argument(
        "--bands",
        action="append",
        default=[],
        metavar="hr=R,G,B,NIR",
        help="an encoder of four bands instead: hr=R,G,B,NIR or s2=B2,B3,B4,B8",
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


def _convert(args: argparse.Namespace) -> Result:
    from skysense.model.checkpoint.convert import convert

    inputs: list[tuple[Path, str | None]] = [(path, None) for path in args.inputs]
    for item in args.part:
        part, equals, path = item.partition("=")
        if not (part and equals and path):
            raise InputError(f"--part {item} names no file", "skysense convert", "Write --part head_s2=FILE")
        inputs.append((Path(path), part))
    bands = {}
    for item in args.bands:
        modality, _, names = item.partition("=")
        if modality in bands:
            raise InputError(
                f"--bands {modality} is given twice", "skysense convert", "Leave one of them out"
            )
        bands[modality] = names.split(",")
    return showing(lambda control: convert(inputs, args.out, control, bands))


def _show_conversion(result: Result) -> str:
    from skysense.model.checkpoint.convert import show

    return show(result)


def _info(args: argparse.Namespace) -> Result:
    from skysense.model.info import describe_model

    return describe_model(args.model)


def _show_info(result: Result) -> str:
    from skysense.finetune.report_words import lacking
    from skysense.model.costs import compare_presets, show_preset

    if "spares" in result:
        result = result | {"spares": " ".join(lacking(result["report"])) or "none"}
    if "presets" in result:
        return compare_presets(result["presets"])
    return show_preset(result) if "hr_tile" in result else show_pairs(result)


def _download(args: argparse.Namespace) -> Result:
    from skysense.hub.source import environment_token, make_source

    source = make_source(args.repository, args.file, args.revision, args.endpoint)
    if args.list:
        from skysense.hub.listing import list_weights

        return showing(lambda control: list_weights(source, control, environment_token()))
    from skysense.hub.sharded import download_weights

    out = args.out or Path.cwd()
    return showing(
        lambda control: download_weights(
            source,
            out,
            control,
            accepted=args.accept_licence,
            sha256=args.sha256,
            token=environment_token(),
        )
    )


def _show_download(result: Result) -> str:
    if "files" not in result:
        return f"{result['path']}\n{result['repository']} {result['revision']}\nsha256 {result['sha256']}"
    sizes = [f"{item['size'] / 1e6:12,.1f} MB" if item["size"] else "? MB" for item in result["files"]]
    lines = [f"{size:>15}  {item['file']}" for size, item in zip(sizes, result["files"])]
    return "\n".join([f"{result['repository']} {result['revision']}", *(lines or ["no weight files"])])
