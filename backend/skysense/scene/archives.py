"""Imagery in a zip file on this disk, read in place by GDAL: "/vsizip//data/a.zip/b.tif", as QGIS names a layer that lies in one.

Such a file is a `Path` like any other; that pathlib makes one slash of two is mended where it is opened.
"""

import re
from pathlib import Path

_INSIDE = re.compile(r"/vsizip/+(.*)", re.DOTALL)
_ENDING = re.compile(r"\.zip\}?(?=/|$)", re.IGNORECASE)
_DRIVE = re.compile(r"[A-Za-z]:/")


def archive_of(path: Path) -> Path | None:
    """The zip file that holds a file; None: none does."""
    found = _parts(path)
    return found and found[0]


def gdal_name(path: Path) -> str:
    """What GDAL calls a file that a zip file holds."""
    return f"/vsizip/{_known(path)[0].as_posix()}{member_of(path)}"


def member_of(path: Path) -> str:
    """Where a file lies in the zip file that holds it: "/folder/image.tif"."""
    return _known(path)[1]


def _known(path: Path) -> tuple[Path, str]:
    found = _parts(path)
    assert found is not None
    return found


def _parts(path: Path) -> tuple[Path, str] | None:
    """The zip file, and what follows; GDAL's braces around the former are taken off."""
    found = _INSIDE.fullmatch(path.as_posix())
    if found is None:
        return None
    text = found[1].removeprefix("{").lstrip("/")
    text = text if _DRIVE.match(text) else f"/{text}"
    ends = [match.end() for match in _ENDING.finditer(text)]
    parts = [(Path(text[:end].removesuffix("}")), text[end:]) for end in ends]
    # A folder may end in ".zip", too.
    return next((part for part in parts if part[0].is_file()), parts[0] if parts else None)
