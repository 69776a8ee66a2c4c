"""Imagery in a zip file on this disk, read in place by GDAL: "/vsizip//data/a.zip/b.tif", as QGIS names a layer that lies in one.

Such a file is a `Path` like any other; that pathlib makes one slash of two is mended where it is opened.
"""

import re
from pathlib import Path

_INSIDE = re.compile(r"/vsizip/+(?:\{(.+?)\}|(.+?\.zip))(/.*)?", re.IGNORECASE | re.DOTALL)
_DRIVE = re.compile(r"[A-Za-z]:/")


def archive_of(path: Path) -> Path | None:
    """The zip file that holds a file; None: none does."""
    found = _INSIDE.fullmatch(path.as_posix())
    if found is None:
        return None
    text = found[1] or found[2]
    return Path(text if text.startswith("/") or _DRIVE.match(text) else f"/{text}")


def gdal_name(path: Path) -> str:
    """What GDAL calls a file that a zip file holds."""
    found, archive = _INSIDE.fullmatch(path.as_posix()), archive_of(path)
    assert found is not None and archive is not None
    return f"/vsizip/{archive.as_posix()}{found[3] or ''}"
