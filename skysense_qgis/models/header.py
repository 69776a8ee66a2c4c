"""What a model file says of itself (contract C5): enough to tell what mapping with it will do, without starting the worker."""

from __future__ import annotations

import json
import os
from functools import lru_cache
from typing import Any

#: Of the file's own key in a safetensors file's metadata.
_KEY = "skysense"
#: A longer list of tensors than any model has: the file is something else.
_LONGEST = 100_000_000


def read_target(path: str) -> str:
    """What a trained model was trained for: "classes", "values", "polygons", "changes" or "objects".

    Returns:
        "" where the file does not tell: it is missing, or no trained model of SkySense. Why, the worker says when it is used.
    """
    header = _header(path)
    if not header or header.get("kind") == "backbone":
        return ""
    return str(header.get("target", "classes"))  # files of before there were targets: classes


def read_moment(path: str) -> frozenset[str]:
    """The sensors ("hr", "s2", "s1") of a model that maps one day; empty where it is another model or the file does not tell."""
    inputs = _header(path).get("inputs")
    if not isinstance(inputs, dict) or not inputs.get("moment"):
        return frozenset()
    return frozenset(map(str, inputs.get("modalities") or ()))


def _header(path: str) -> dict[str, Any]:
    """The JSON header; {} = there is none."""
    try:
        state = os.stat(path)
    except (OSError, ValueError):
        return {}
    return _read(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=32)
def _read(path: str, modified_ns: int, size: int) -> dict[str, Any]:
    """The JSON header; {} = there is none. A file that has changed is read again."""
    try:
        with open(path, "rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            entries = json.loads(stream.read(length)) if 2 <= length <= min(size, _LONGEST) else {}
        header = json.loads(entries["__metadata__"][_KEY])
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return header if isinstance(header, dict) else {}
