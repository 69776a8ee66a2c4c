"""`skysense convert`: released checkpoints to one backbone file."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from skysense.errors import InputError
from skysense.jobs.control import JobControl
from skysense.model.checkpoint.assemble import Assembly, assemble
from skysense.model.checkpoint.backbonefile import RELEASED, BackboneHeader, save_backbone
from skysense.model.checkpoint.provenance import file_sha256, recorded_sha256
from skysense.model.checkpoint.report import report
from skysense.model.config import ENCODER_BANDS
from skysense.scene.bands import canonical_band
from skysense.scene.sensors import Modality


def convert(
    inputs: Sequence[tuple[Path, str | None]],
    output: Path,
    control: JobControl,
    bands: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Any]:
    """Convert checkpoints, a combined one or several single ones, to a backbone file.

    Args:
        inputs: files, each with its part where its content and name do not tell (see `layout.recognise`).
        bands: "hr" or "s2" -> the bands of an encoder that takes others than the released one, see `ENCODER_BANDS`.

    Returns:
        `report.report`, and "out", "files": [{"file", "sha256", "as_downloaded": False where no download has recorded
        what it should be}], "sha256" (of the tensors), "bytes", "licence".

    Raises:
        InputError: a file cannot be used, no encoder takes such bands, or is not what was downloaded any more; StorageError: the output cannot be written; Cancelled. An old output is kept then.
    """
    if not inputs:
        raise InputError("no checkpoint is given", "skysense convert", "Give at least one file")
    if output.suffix != ".safetensors" or any(path.resolve() == output.resolve() for path, _ in inputs):
        raise InputError(
            "is no place for the result, which may not take a checkpoint's own place",
            str(output),
            "Give a new file that ends in .safetensors as the last argument",
        )
    control.progress(0.0, "Reading the checkpoints")
    assembly = assemble(inputs, _encoder_bands(bands or {}))
    told = report(assembly)
    files = [_identified(file, control) for item in assembly.sources for file in item.files]
    header = BackboneHeader(
        preset=assembly.preset,
        config=assembly.config,
        weights=_description(assembly),
        licence=RELEASED,
        left_initial=tuple(told["left_initial"]),
        source={"files": {item["file"]: item["sha256"] for item in files}},
    )
    sha256 = save_backbone(output, header, assembly.specs, _telling(assembly, control.share(0.1, 1.0)))
    return {
        "out": str(output),
        "sha256": sha256,
        "bytes": output.stat().st_size,
        **told,
        "files": files,
        "licence": RELEASED.terms,
    }


def show(result: dict[str, Any]) -> str:
    """The report as text for a terminal."""
    lines = [f"{result['out']}: {result['preset']}, {result['bytes'] / 1e6:,.1f} MB"]
    lines += [
        f"loaded    {item['file']}: {item['title']}, {item['tensors']} tensors" for item in result["loaded"]
    ]
    for item in result["left_out"]:
        count = f" ({len(item['keys'])})" if len(item["keys"]) > 1 else ""
        lines.append(f"left out  {item['file']}: {item['what']}{count}: {item['reason']}")
    for item in result["left_initial"]:
        lines.append(f"initial   {item['title']} ({len(item['tensors'])} tensors): {item['meaning']}")
    lines += [f"note      {text}" for text in result["notes"]]
    for item in result["files"]:
        checked = "as downloaded" if item["as_downloaded"] else "not checked: no download has recorded it"
        lines.append(f"read      {item['file']}: SHA-256 {item['sha256']} ({checked})")
    lines += [f"licence   {result['licence']}", f"sha256    {result['sha256']}"]
    return "\n".join(lines)


def _encoder_bands(wanted: Mapping[str, Sequence[str]]) -> dict[Modality, tuple[str, ...]]:
    """The bands in the model's order, whatever order and spelling they are asked for in."""
    found: dict[Modality, tuple[str, ...]] = {}
    for modality, choices in ENCODER_BANDS.items():
        given = {canonical_band(name, modality) for name in wanted.get(modality, ())}
        once = len(given) == len(wanted.get(modality, ()))
        found.update((modality, bands) for bands in choices if once and given == set(bands))
    for unknown in sorted(wanted.keys() - found.keys()):
        raise InputError(
            f"no encoder takes the bands {','.join(wanted[unknown])}",
            f"--bands {unknown}",
            "Use hr=R,G,B,NIR or s2=B2,B3,B4,B8",
        )
    return found


def _description(assembly: Assembly) -> str:
    plus = any(source.held.plus_plus for source in assembly.sources)
    return f"{'SkySense++' if plus else 'SkySense'}: {', '.join(item.path.name for item in assembly.sources)}"


def _telling(assembly: Assembly, control: JobControl) -> Iterator[tuple[str, Tensor]]:
    """The tensors, and with each how far the job is."""
    total, done = sum(math.prod(shape) for _, shape in assembly.specs.values()), 0
    for name, tensor in assembly.tensors():
        control.progress(done / total, "Converting")
        yield name, tensor
        done += tensor.numel()


def _identified(file: Path, control: JobControl) -> dict[str, Any]:
    """A file's entry in the report, after a check against what its download has recorded."""
    control.progress(0.05, f"Reading {file.name}")
    sha256, recorded = file_sha256(file, control), recorded_sha256(file)
    if recorded not in (None, sha256):
        raise InputError(
            f"is not what was downloaded: its SHA-256 is {sha256}, and {recorded} was recorded",
            str(file),
            "Delete it and download it again",
        )
    return {"file": file.name, "sha256": sha256, "as_downloaded": recorded is not None}
