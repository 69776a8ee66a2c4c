"""Imagery on a server: a cloud-optimised GeoTIFF that is read in parts over HTTP, by GDAL, in bounded time.

Such a file is a `Path` like any other, as GDAL calls it ("/vsicurl/https://host/a.tif") or as its address; that pathlib
makes one slash of two is mended where it is opened.
"""

import functools
import http.client
import os
import re
import time
import urllib.request
from pathlib import Path
from typing import Any

from skysense.scene.archives import archive_of, gdal_name

_PREFIX = "/vsicurl/"
_ADDRESS = re.compile(r"(?:/vsicurl/)?(https?:)/+(.*)", re.DOTALL)
#: Seconds to wait for a server's first word.
_CONNECT_S = 20
#: Seconds in which a server is asked once when a file was changed.
_STAMP_S = 10

#: A server that no longer answers must end a read; what the user has set in the environment stays. Seconds, and bytes a second.
for _name, _value in (
    ("GDAL_HTTP_CONNECTTIMEOUT", str(_CONNECT_S)),
    ("GDAL_HTTP_LOW_SPEED_TIME", "30"),
    ("GDAL_HTTP_LOW_SPEED_LIMIT", "1000"),
    ("GDAL_HTTP_TIMEOUT", "120"),
):
    os.environ.setdefault(_name, _value)


def is_remote(path: Path) -> bool:
    """Whether a path is the address of a file on a server."""
    return _ADDRESS.fullmatch(path.as_posix()) is not None


def open_dataset(path: Path, **options: Any) -> Any:
    """Open a raster that may be remote or in a zip file, for reading; options and errors are those of `rasterio.open`."""
    import rasterio  # here, as all of the room works, and imports fast, without it

    if archive_of(path):
        return rasterio.open(gdal_name(path), **options)
    if not is_remote(path):
        return rasterio.open(path, **options)
    # What lies beside it is not looked for: a server has no folders.
    with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"):
        return rasterio.open(_PREFIX + address(path), **options)


def address(path: Path) -> str:
    """The address of a remote file, as a browser has it."""
    found = _ADDRESS.fullmatch(path.as_posix())
    assert found is not None
    return f"{found[1]}//{found[2]}"


def stamp(path: Path) -> tuple[int | str, int]:
    """When a file was changed, as its file system (nanoseconds) or server (ETag or date) says, and its bytes (-1 = unknown); of what
    lies in a zip file, those of that one.

    Raises:
        OSError: it is gone or cannot be reached.
    """
    if not is_remote(path):
        status = (archive_of(path) or path).stat()
        return status.st_mtime_ns, status.st_size
    return _asked(address(path), int(time.monotonic() / _STAMP_S))


@functools.lru_cache(maxsize=4096)
def _asked(url: str, moment: int) -> tuple[str, int]:
    # Not HEAD: addresses may be signed for GET alone.
    request = urllib.request.Request(url, headers={"Range": "bytes=0-0"})
    try:
        with urllib.request.urlopen(request, timeout=_CONNECT_S) as answer:
            told = answer.headers
    except http.client.HTTPException as error:  # no sensible answer, or no address
        raise OSError(str(error)) from error
    size = told.get("Content-Range", "").rpartition("/")[2] or told.get("Content-Length", "")
    changed = told.get("ETag") or told.get("Last-Modified") or ""
    return changed, int(size) if size.isdecimal() else -1


def exists(path: Path) -> bool:
    """Whether there is such a file or folder; of a remote one, and of what a zip file holds, its opening tells."""
    return is_remote(path) or (archive_of(path) or path).exists()
