"""Whole files or none: written under another name beside their place and renamed. Standard library only."""

import os
from pathlib import Path

from skysense.errors import StorageError


def write_aside(path: Path, data: bytes, mark: str = "", lasting: bool = False) -> None:
    """Write a file aside and rename it; its folder is there.

    Args:
        mark: tells the name beside the file from those of others who write the same one at the same time.
        lasting: what is there after a power cut must be whole, which takes a little longer.

    Raises:
        StorageError: it cannot be written; nothing is left, and an old file is kept.
    """
    part = path.with_name(f"{path.name}{mark}.part")
    try:
        with part.open("wb") as out:
            out.write(data)
            if lasting:
                out.flush()
                os.fsync(out.fileno())
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise storage_error(path, error) from None


def storage_error(path: Path, error: OSError) -> StorageError:
    """What the user is told when a file cannot be written."""
    return StorageError(
        f"cannot be written ({error.strerror})", str(path), "Free some space or choose another folder"
    )
