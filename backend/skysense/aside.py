"""Whole files or none: written under another name beside their place and renamed. Standard library only."""

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from skysense.errors import StorageError


@contextmanager
def open_aside(path: Path, mark: str = "", lasting: bool = True) -> Iterator[BinaryIO]:
    """In a `with` block: a file beside its place, which is renamed at the block's end; its folder is there.

    Args:
        mark: tells the name beside the file from those of others who write the same one at the same time.
        lasting: a file that is there after a power cut is whole.

    Raises:
        StorageError: it cannot be written. Whatever is raised, nothing is left, and an old file is kept.
    """
    part = path.with_name(f"{path.name}{mark}.part")
    try:
        with open(part, "wb") as out:
            yield out
            if lasting:
                out.flush()
                os.fsync(out.fileno())
        os.replace(part, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            part.unlink()
        if isinstance(error, OSError):
            raise storage_error(path, error) from None
        raise


def write_aside(path: Path, data: bytes, mark: str = "", lasting: bool = False) -> None:
    """Write a file aside and rename it; see `open_aside`.

    Raises:
        StorageError: it cannot be written; nothing is left, and an old file is kept.
    """
    with open_aside(path, mark, lasting) as out:
        out.write(data)


def storage_error(path: Path, error: OSError) -> StorageError:
    """What the user is told when a file cannot be written."""
    return StorageError(
        f"cannot be written ({error.strerror})", str(path), "Free some space or choose another folder"
    )
