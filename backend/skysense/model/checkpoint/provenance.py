"""Whether a file of weights is still what was downloaded: its SHA-256, and the one recorded beside it. No torch."""

import hashlib
import json
from pathlib import Path

from skysense.jobs.control import JobControl

_BLOCK = 1 << 20  # bytes between two points where the job can be cancelled


def record_of(path: Path) -> Path:
    """Where a download records what it has fetched: `<file>.source.json`."""
    return path.with_name(path.name + ".source.json")


def recorded_sha256(path: Path) -> str | None:
    """The SHA-256 that a download has recorded of this file; None: there is no such record."""
    try:
        told = json.loads(record_of(path).read_text(encoding="utf-8"))["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return told if isinstance(told, str) else None


def file_sha256(path: Path, control: JobControl) -> str:
    """Hex SHA-256 of a whole file; raises Cancelled."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            control.check()
            digest.update(block)
    return digest.hexdigest()
