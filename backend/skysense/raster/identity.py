"""Which imagery a result was made from: a digest that changes when a file or what is said of it does."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

from skysense.errors import InputError
from skysense.raster.handles import open_raster
from skysense.scene.acquisition import Acquisition, Scene
from skysense.scene.archives import archive_of, member_of
from skysense.scene.remote import is_remote, stamp

#: Bytes at either end of a file that are looked at: headers, tables of tiles, and the newest writing lie there.
_END = 64 * 1024
#: Gives the SHA-256 of a whole file; None: its ends and time tell it.
_Whole = Callable[[Path], str] | None


def file_identities(scene: Scene) -> dict[Path, list[Any]]:
    """What `scene_identity` knows of each of a scene's files.

    Raises:
        InputError: a file is gone or cannot be opened.
    """
    paths = {band.path for item in scene.acquisitions for band in item.bands.values()}
    paths |= {item.mask for item in scene.acquisitions if item.mask is not None}
    return {path: _identity(path, None) for path in sorted(paths)}


def scene_identity(scene: Scene, whole: bool = False) -> str:
    """Hex SHA-256 over the scene's acquisitions and their files, wherever these lie.

    Of each file, and of those that it draws on (a VRT's sources, masks and overviews beside it), counts its size, its time of
    change in nanoseconds and the SHA-256 of its first and last 64 KB. Of `.aux.xml` files beside it, which QGIS writes when it shows
    an image, counts what they say of the values.

    Args:
        whole: all bytes count instead of the time of change and the ends: slow, and the same for a copy.

    Raises:
        InputError: a file is gone or cannot be opened.
    """

    read = cache(_digest) if whole else None  # a zip file holds many images

    @cache
    def identity(path: Path) -> list[Any]:
        return _identity(path, read)

    entries = [_entry(item, identity) for item in scene.acquisitions]
    return hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()


def _entry(item: Acquisition, identity: Any) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "bands": {name: [identity(band.path), band.index] for name, band in item.bands.items()},
        "mask": item.mask and identity(item.mask),
    }
    for part in fields(item):
        if part.name not in ("path", "bands", "mask", "extra", "assumed"):
            entry[part.name] = repr(getattr(item, part.name))
    return entry


def _identity(path: Path, whole: _Whole) -> list[Any]:
    """Of a raster and of the files that it draws on."""
    with open_raster(path) as dataset:
        files = sorted(Path(name) for name in dataset.files if not name.endswith(".aux.xml"))
        said = repr((dataset.nodatavals, dataset.scales, dataset.offsets, dataset.descriptions))
    return [said, *([_name(file), *_file_identity(file, whole)] for file in files or [path])]


def _name(file: Path) -> str:
    """Of a file in a zip file with its folders there."""
    return member_of(file) if archive_of(file) else file.name


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _file_identity(path: Path, whole: _Whole) -> tuple[int | str, ...]:
    try:
        if is_remote(path):
            return stamp(path)
        whole_file = archive_of(path) or path
        status = whole_file.stat()
        with whole_file.open("rb") as file:
            if whole:
                return status.st_size, whole(whole_file)
            digest = hashlib.sha256(file.read(_END))
            if status.st_size > _END:
                file.seek(max(status.st_size - _END, _END))
                digest.update(file.read(_END))
    except OSError as error:
        raise InputError(
            f"cannot be read ({error.strerror})", str(path), "Check that the file is still there"
        ) from None
    return status.st_size, status.st_mtime_ns, digest.hexdigest()
