"""Open raster files, kept open between reads, and the decoded blocks that GDAL keeps of them."""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError  # some of GDAL's errors come out as they are
from rasterio.enums import ColorInterp, Interleaving, MaskFlags
from rasterio.env import set_gdal_config
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader

from skysense.errors import InputError
from skysense.raster import CACHE_IS_OURS, CACHE_MB
from skysense.raster.crs import crs_text
from skysense.raster.grid import Grid, Window
from skysense.scene.header import without_rounding
from skysense.scene.remote import address, exists, is_remote, open_dataset

#: Files that stay open; a series of 24 dates with ten files each stays open, below the usual limit of 1,024.
_MOST_OPEN = 256
_MOST_CACHE_MB = 256


def block_bytes(dataset: DatasetReader, bands: list[int]) -> int:
    """What GDAL keeps in memory of some bands of a file to read a pixel of them."""
    rows, cols = dataset.block_shapes[bands[0] - 1]
    # The bands of a file by pixel are decoded together.
    count = dataset.count if dataset.interleaving is Interleaving.pixel else len(bands)
    return int(rows * cols * count * np.dtype(dataset.dtypes[bands[0] - 1]).itemsize)


def cache_bytes(needed: int) -> int:
    """Of GDAL's cache, where the blocks of all dates that a tile lies in take `needed` bytes.

    With less, tile after tile decodes the same blocks of every date again: the first is gone when the last has come.
    """
    return min(max(CACHE_MB * 2**20, needed * 5 // 4), _MOST_CACHE_MB * 2**20)


class _Blocks:
    """What all open series of this process need of GDAL's cache, which is one for all."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._needed = 0

    def add(self, needed: int) -> None:
        """More bytes, or less."""
        with self._lock:
            self._needed += needed
            if CACHE_IS_OURS:
                set_gdal_config("GDAL_CACHEMAX", cache_bytes(self._needed))


_blocks = _Blocks()


def open_raster(path: Path, overview: int | None = None) -> DatasetReader:
    """Open a raster for reading, at full size or at one of its overviews.

    Raises:
        InputError: there is no such file, or it is no raster, or it has no place on the Earth.
    """
    options = {} if overview is None else {"overview_level": overview}
    try:
        dataset: DatasetReader = open_dataset(path, **options)
    except (RasterioError, CPLE_BaseError, OSError):
        if is_remote(path):
            raise InputError(
                "cannot be reached, or is no image",
                address(path),
                "Check the address and the connection, or download it",
            ) from None
        gone = not exists(path)
        raise InputError(
            "does not exist"
            if gone
            else "cannot be opened as an image; it is damaged or of an unknown format",
            str(path),
            "Choose the file again" if gone else "Download or export it again",
        ) from None
    return dataset


def grid_of(dataset: DatasetReader, path: Path) -> Grid:
    """A raster's grid.

    Raises:
        InputError: it has no coordinate system, or none of its pixels has a place.
    """
    if dataset.crs is None:
        raise InputError(
            "has no coordinate system", str(path), "Assign its CRS in Layer Properties, or georeference it"
        )
    if dataset.transform.is_identity or dataset.transform.determinant == 0:
        raise InputError("is not georeferenced", str(path), "Georeference or geocode it first")
    terms = without_rounding(tuple(dataset.transform)[:6], dataset.width, dataset.height)
    return Grid(crs_text(dataset.crs), Affine(*terms), dataset.width, dataset.height)


def alpha_band(dataset: DatasetReader) -> int | None:
    """Number of the band that the file declares as alpha, if any."""
    found = [number for number, kind in enumerate(dataset.colorinterp, start=1) if kind == ColorInterp.alpha]
    return found[0] if found else None


def has_mask(dataset: DatasetReader) -> bool:
    """Whether the file carries a mask of its own beside its bands (an internal or .msk mask)."""
    flags = dataset.mask_flag_enums[0]
    return MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags


def read_window(
    dataset: DatasetReader, path: Path, bands: list[int], window: Window, mask: bool = False
) -> NDArray[Any]:
    """Stored values of a window inside the file, (bands, height, width); with `mask` the file's mask, (1, …).

    Raises:
        InputError: the part is damaged.
    """
    part = rasterio.windows.Window(window.col, window.row, window.width, window.height)
    try:
        values: NDArray[Any] = (
            dataset.read_masks(bands[:1], window=part) if mask else dataset.read(bands, window=part)
        )
    except (RasterioError, CPLE_BaseError, OSError):
        raise _unreadable(path) from None
    except IndexError:
        raise InputError(
            f"has {dataset.count} bands, but band {max(bands)} is asked for",
            str(path),
            "Correct the band numbers",
        ) from None
    return values


def _unreadable(path: Path) -> InputError:
    """A part of a file that could be opened cannot be read."""
    if is_remote(path):
        return InputError(
            "a part of the file cannot be read; its server does not answer, or the file is damaged",
            address(path),
            "Check the connection and try again, or download it",
        )
    if not exists(path):
        return InputError("was removed while it was read", str(path), "Put it back, or choose the file again")
    return InputError(
        "a part of the file cannot be read; it is damaged or cut off, or was changed meanwhile",
        str(path),
        "Download or export it again",
    )


class Handles:
    """Open files by path and overview; `close` ends them all.

    A handle serves one thread at a time; a file that is in use is opened once more. The handle that was used last is given first: the
    blocks that it has decoded serve the next tile, whichever thread computes it.
    """

    def __init__(self) -> None:
        self._idle: OrderedDict[tuple[Path, int | None], list[DatasetReader]] = OrderedDict()
        self._open = 0  # those in `_idle`
        self._needed = 0
        self._lock = threading.Lock()

    @contextmanager
    def use(self, path: Path, overview: int | None = None) -> Iterator[DatasetReader]:
        """An open file, for this thread alone.

        Raises:
            InputError: see `open_raster`.
        """
        key = (path, overview)
        with self._lock:
            idle = self._idle.get(key)
            dataset = idle.pop() if idle else None
            self._open -= dataset is not None
        dataset = dataset or open_raster(path, overview)
        try:
            yield dataset
        finally:
            with self._lock:
                self._idle.setdefault(key, []).append(dataset)
                self._idle.move_to_end(key)
                self._open += 1
                while self._open > _MOST_OPEN:
                    _, oldest = self._idle.popitem(last=False)
                    self._open -= len(oldest)
                    _close(oldest)

    def hold_blocks(self, needed: int) -> None:
        """See to it that GDAL's cache has room for so many bytes more, until `close`."""
        with self._lock:
            self._needed += needed
            _blocks.add(needed)

    def close(self) -> None:
        """Close every file; to be called when no thread is reading."""
        with self._lock:
            _blocks.add(-self._needed)
            self._needed = 0
            for datasets in self._idle.values():
                _close(datasets)
            self._idle.clear()
            self._open = 0


def _close(datasets: list[DatasetReader]) -> None:
    for dataset in datasets:
        dataset.close()
