"""A raster of features: many float32 bands, put together from chunks on disk in constant memory.

Shape legend: F features, h x w pixels of a chunk or block.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError

from skysense.aside import open_aside
from skysense.raster.grid import Grid, Window
from skysense.raster.maps import check_whole, discard, storage_error

_BLOCK = 256


def write_feature_chunk(path: Path, values: NDArray[np.float32]) -> None:
    """Write a chunk (F, h, w) as .npy, aside and renamed: whole or absent.

    Raises:
        StorageError: it cannot be written; nothing half-written is left.
    """
    with open_aside(path, f".{os.getpid()}") as out:  # a worker taken for dead may be at it still
        np.save(out, values)


def merge_features(
    parts: Sequence[tuple[Window, Path]],
    out: Path,
    grid: Grid,
    names: Sequence[str],
    metadata: dict[str, str],
    on_block: Callable[[float], None],
) -> None:
    """Merge chunks into one tiled GeoTIFF, written aside and renamed: an old one stays until the new one is whole.

    Every block is written once and in order, so the bytes depend on the values only.

    Args:
        parts: each chunk's window on `grid` and its file, (F, h, w) float32; what no chunk covers is NaN, the
            nodata value.
        out: the raster; its folder must exist.
        names: (F,) the bands' descriptions.
        metadata: items of the default domain.
        on_block: called with the share that is done (0..1); what it raises stops the work.

    Raises:
        StorageError: it cannot be written; nothing half-written is left.
    """
    part = out.with_name(f"{out.stem}.part{out.suffix or '.tif'}")
    # Band by band, so that three bands can be looked at without reading the others.
    profile = {
        "driver": "GTiff", "width": grid.width, "height": grid.height, "count": len(names), "dtype": "float32",
        "nodata": np.nan, "crs": grid.crs, "transform": grid.transform, "tiled": True, "blockxsize": _BLOCK,
        "blockysize": _BLOCK, "interleave": "band", "compress": "deflate", "predictor": 3, "zlevel": 1,
        "bigtiff": "if_safer",
    }  # fmt: skip
    try:
        # Without PAM no .aux.xml appears beside the raster.
        with rasterio.Env(GDAL_PAM_ENABLED="NO"), rasterio.open(part, "w", **profile) as dataset:
            dataset.update_tags(**metadata)
            dataset.descriptions = tuple(names)
            for row in range(0, grid.height, _BLOCK):
                on_block(row / grid.height)
                for col in range(0, grid.width, _BLOCK):
                    window = Window(row, col, _BLOCK, _BLOCK).intersect(grid.window)
                    assert window is not None
                    dataset.write(
                        _block(parts, window, len(names)),
                        window=rasterio.windows.Window(window.col, window.row, window.width, window.height),
                    )
        check_whole(part)
        os.replace(part, out)
        # Statistics that a viewer kept of the old raster do not hold for this one.
        out.with_name(out.name + ".aux.xml").unlink(missing_ok=True)
    except (CPLE_BaseError, RasterioError, OSError) as error:
        raise storage_error(out, error) from None
    finally:
        discard(part)


def _block(parts: Sequence[tuple[Window, Path]], window: Window, depth: int) -> NDArray[np.float32]:
    """What the chunks hold of a window, (F, h, w)."""
    values = np.full((depth, window.height, window.width), np.nan, np.float32)
    for place, path in parts:
        shared = place.intersect(window)
        if shared is not None:
            rows, cols = place.slices(shared)
            to_rows, to_cols = window.slices(shared)
            values[:, to_rows, to_cols] = np.load(path, mmap_mode="r")[:, rows, cols]
    return values
