"""Weights in several files: an index names the parts, which belong beside it."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from skysense.hub.download import download
from skysense.hub.errors import WrongContent
from skysense.hub.source import INDEX_SUFFIXES, Source
from skysense.jobs.control import JobControl

_PART = re.compile(r"[\w-][\w.-]*\.(safetensors|bin)")


def download_weights(
    source: Source,
    out: Path,
    control: JobControl,
    *,
    accepted: bool,
    sha256: str | None = None,
    token: str | None = None,
) -> dict[str, Any]:
    """Download a file of weights; with an index also the parts that it names, of the same commit.

    Args, Raises:
        See `download.download`; `sha256` is the named file's own.

    Returns:
        As `download.download`; of an index also "parts": a result for each.
    """
    if not source.file.endswith(INDEX_SUFFIXES):
        return download(source, out, control, accepted=accepted, sha256=sha256, token=token)
    result = download(source, out, control.share(0.0, 0.0), accepted=accepted, sha256=sha256, token=token)
    index = Path(result["path"])
    names = _parts(index, source)
    folder = source.file.rpartition("/")[0]
    parts = []
    for number, name in enumerate(names):
        part = replace(source, file=f"{folder}/{name}".lstrip("/"), revision=result["revision"])
        share = control.share(number / len(names), (number + 1) / len(names))
        parts.append(download(part, index.with_name(name), share, accepted=accepted, token=token))
    return {**result, "parts": parts}


def _parts(index: Path, source: Source) -> list[str]:
    """The files that an index names; only such that lie beside it."""
    try:
        names = sorted(
            {str(name) for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()}
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        names = []
    if not names or not all(_PART.fullmatch(name) for name in names):
        raise WrongContent(
            "is not an index of weight files", f"{source.repository}/{source.file}", "Choose another file"
        )
    return names
