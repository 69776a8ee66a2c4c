"""What a model file's JSON header must hold, so that whoever has read one need not look again."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skysense.errors import InputError

_Types = Mapping[str, type]

_BACKBONE_FILE: _Types = {"backbone": dict, "licence": dict, "source": dict}
_LICENCE: _Types = {"name": str, "terms": str, "may_embed": bool}
#: Of a "backbone" entry, whatever the file.
_NAMED: _Types = {"preset": str, "weights": str, "sha256": str, "path": str, "note": str, "config": dict}
_WEIGHTS: _Types = {"preset": str, "weights": str, "sha256": str, "config": dict, "left_initial": list}
_EMBEDDED: _Types = {**_WEIGHTS, "licence": str, "terms": str}
_LEFT_INITIAL: _Types = {"part": str, "title": str, "random": bool, "meaning": str}


def check_header(header: Mapping[str, Any], path: Path) -> None:
    """Check the "format", the "backbone" and, of a backbone file, the "licence" and "source".

    The head of a trained model, and the sizes in a backbone's "config", are for those who build them to check.

    Args:
        header, path: of a file of a format that this version reads.

    Raises:
        InputError: something needed is missing or of another type.
    """
    wrong = _wrong(header)
    if wrong:
        raise InputError(
            f"has a header that cannot be used (its {wrong} is missing or of another type)",
            str(path),
            "Get or make the file again",
        )


def _wrong(header: Mapping[str, Any]) -> str | None:
    """The first entry that is missing or of another type, as "backbone.preset"."""
    is_backbone = header.get("kind") == "backbone"
    wrong = _unlike(header, _BACKBONE_FILE if is_backbone else {}) or _unlike(
        header, {"format": int, "backbone": dict}, optional=True
    )
    if wrong or "backbone" not in header:
        return wrong
    entry = header["backbone"]
    needed = _WEIGHTS if is_backbone else _EMBEDDED if entry.get("embedded") else {}
    wrong = _unlike(entry, needed) or _unlike(entry, _NAMED, optional=True)
    if wrong:
        return f"backbone.{wrong}"
    if needed and not all(
        isinstance(group, dict) and not _unlike(group, _LEFT_INITIAL) for group in entry["left_initial"]
    ):
        return "backbone.left_initial"
    wrong = _unlike(header["licence"], _LICENCE) if is_backbone else None
    return wrong and f"licence.{wrong}"


def _unlike(entries: Mapping[str, Any], types: _Types, optional: bool = False) -> str | None:
    """The first name of `types` whose entry is not of its type, or lacking unless `optional`."""
    for name, kind in types.items():
        if not (isinstance(entries[name], kind) if name in entries else optional):
            return name
    return None
