"""A raster of one byte a pixel, made window by window beside its place: what a finished layer is copied from."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError

from skysense.raster.grid import Grid, Window
from skysense.raster.maps import discard, storage_error

_BLOCK = 256


@contextmanager
def windowed(
    out: Path,
    grid: Grid,
    parts: Iterable[tuple[Window, NDArray[np.uint8]]],
    nodata: int,
    description: str = "",
    tags: dict[str, str] | None = None,
) -> Iterator[Path]:
    """The raster's path while the `with` block lasts; gone afterwards.

    Args:
        out: the layer that it is for, whose folder it lies in.
        parts: windows on `grid` of 256 x 256 pixels, fewer at the edges, and their values (h, w).

    Raises:
        StorageError: it cannot be written, or what is done with it in the block cannot.
    """
    path = out.with_name(f"{out.stem}.windows.part.tif")
    profile = {
        "driver": "GTiff", "width": grid.width, "height": grid.height, "count": 1, "dtype": "uint8", "nodata": nodata,
        "crs": grid.crs, "transform": grid.transform, "compress": "deflate", "tiled": True, "blockxsize": _BLOCK,
        "blockysize": _BLOCK, "bigtiff": "if_safer",
    }  # fmt: skip
    try:
        with rasterio.Env(GDAL_PAM_ENABLED="NO"):
            with rasterio.open(path, "w", **profile) as dataset:
                dataset.update_tags(**(tags or {}))
                dataset.set_band_description(1, description)
                for window, values in parts:
                    place = rasterio.windows.Window(window.col, window.row, window.width, window.height)
                    dataset.write(values, 1, window=place)
            yield path
    except (CPLE_BaseError, RasterioError, OSError) as error:
        raise storage_error(out, error) from None
    finally:
        discard(path)
