"""The map is written in chunks: small GeoTIFFs, each whole or absent, that show the map while it grows."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.errors import RasterioError

from skysense.raster.grid import Grid, Window
from skysense.raster.layout import Layout
from skysense.raster.maps import MapClass, colormap, storage_error

_BLOCK = 256


@dataclass(frozen=True)
class Chunk:
    """One chunk: `window` in pixels of the whole map, and its grid."""

    window: Window
    grid: Grid


@dataclass(frozen=True)
class ChunkFiles:
    """Where a chunk lies on disk: classes and confidence, uint8, on the same grid."""

    window: Window
    classes: Path
    confidence: Path

    @classmethod
    def of(cls, folder: Path, chunk: Chunk) -> "ChunkFiles":
        stem = f"r{chunk.window.row:07d}_c{chunk.window.col:07d}"
        return cls(chunk.window, folder / f"{stem}_class.tif", folder / f"{stem}_conf.tif")

    @property
    def complete(self) -> bool:
        return self.classes.is_file() and self.confidence.is_file()


def plan_chunks(layout: Layout, size: int) -> list[Chunk]:
    """Cut the output grid into chunks of at most `size` pixels a side, row by row.

    On an aligned grid the cuts lie on multiples of `size` counted from the CRS's origin, as the tiles do.
    """
    output = layout.output
    row0, col0 = (layout.area.row % size, layout.area.col % size) if layout.aligned else (0, 0)
    whole = Window(0, 0, output.height, output.width)
    chunks = []
    for row in range(-row0, output.height, size):
        for col in range(-col0, output.width, size):
            window = Window(row, col, size, size).intersect(whole)
            assert window is not None
            chunks.append(Chunk(window, output.sub(window)))
    return chunks


def write_chunk(
    files: ChunkFiles, grid: Grid, classes: NDArray[np.uint8], confidence: NDArray[np.uint8], legend: list[MapClass]
) -> None:
    """Write a chunk aside and rename it; the confidence goes first, so that a chunk with classes is whole.

    Raises:
        StorageError: it cannot be written.
    """
    _write(files.confidence, grid, confidence, None)
    _write(files.classes, grid, classes, legend)


def _write(path: Path, grid: Grid, values: NDArray[np.uint8], legend: list[MapClass] | None) -> None:
    part = path.with_name(path.stem + ".part.tif")
    profile = {
        "driver": "GTiff", "width": grid.width, "height": grid.height, "count": 1, "dtype": "uint8", "nodata": 0,
        "crs": grid.crs, "transform": grid.transform, "compress": "deflate", "tiled": True,
        "blockxsize": _BLOCK, "blockysize": _BLOCK,
    }  # fmt: skip
    try:
        with rasterio.open(part, "w", **profile) as out:
            out.write(values, 1)
            if legend is not None:
                out.write_colormap(1, colormap(legend))
            # A chunk of a large map is mostly seen from afar.
            factors = [factor for factor in (2, 4, 8) if min(grid.shape) // factor >= 32]
            if factors:
                out.build_overviews(factors, Resampling.nearest)
        os.replace(part, path)
    except (RasterioError, OSError) as error:
        part.unlink(missing_ok=True)
        raise storage_error(path, error) from None
