"""The map is written in chunks: small GeoTIFFs, each whole or absent, that show the map while it grows."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.io import MemoryFile

from skysense.aside import write_aside
from skysense.raster.grid import Grid, Window
from skysense.raster.layout import Layout
from skysense.raster.maps import MapClass, class_names, colormap

#: Pixels of a chunk's side where the caller has no better one.
CHUNK = 1024
_BLOCK = 256
#: The coarsest overview of a chunk has at least so many pixels a side.
_SMALLEST_OVERVIEW = 32


@dataclass(frozen=True)
class Chunk:
    """One chunk: `window` in pixels of the whole map, and its grid; `piece`: of a chunk that was cut once more."""

    window: Window
    grid: Grid
    piece: bool = False


def plan_chunks(layout: Layout, size: int = CHUNK, before: int = 0) -> list[Chunk]:
    """Cut the output grid into chunks of at most `size` pixels a side, row by row.

    The cuts lie on multiples of `size` counted from the CRS's origin: on an aligned grid where the tiles'
    are, and for a part of a scene where they are for the whole.

    Args:
        before: pixels that the cuts lie before these multiples.
    """
    output = layout.output
    row0, col0 = ((offset + before) % size for offset in _global_corner(layout))
    chunks = []
    for row in range(-row0, output.height, size):
        for col in range(-col0, output.width, size):
            window = Window(row, col, size, size).intersect(output.window)
            assert window is not None
            chunks.append(Chunk(window, output.sub(window)))
    return chunks


def _global_corner(layout: Layout) -> tuple[int, int]:
    """Row and column of the output's upper left pixel, counted from the CRS's origin in output pixels."""
    if layout.aligned:
        return layout.area.row, layout.area.col
    col, row = layout.output.place(0.0, 0.0)
    return -round(row), -round(col)


def value_path(folder: Path, chunk: Chunk, name: str) -> Path:
    """Where a chunk of numbers lies in the folder of a map's chunks; `name` tells what they are."""
    return folder / f"{_stem(chunk)}_{name}.tif"


def _stem(chunk: Chunk) -> str:
    window = chunk.window
    # A piece may begin where the whole chunk does, which another run of the same map may have written.
    size = f"_{window.height}x{window.width}" if chunk.piece else ""
    return f"r{window.row:07d}_c{window.col:07d}{size}"


def write_raster(
    path: Path,
    grid: Grid,
    values: NDArray[np.float32] | NDArray[np.uint8],
    nodata: int = 0,
    legend: Sequence[MapClass] = (),
) -> None:
    """Write a chunk aside and rename it.

    Args:
        values: (height, width) or (bands, height, width); float32 with NaN, or uint8 with `nodata`, where there is nothing.
        legend: of a class map, for its colour table and the metadata item `SKYSENSE_CLASSES`.

    Raises:
        StorageError: it cannot be written; nothing half-written is left.
    """
    # GDAL makes the file in memory and Python writes it: GDAL keeps silent about some full disks, Python does
    # not.
    data = _encode(grid, values.reshape(-1, *grid.shape), legend, nodata)
    # Another process may write the same chunk: one that was thought to be dead.
    write_aside(path, data, mark=f".{os.getpid()}", lasting=True)


def _encode(grid: Grid, values: NDArray[Any], legend: Sequence[MapClass], nodata: int) -> bytes:
    """A chunk's GeoTIFF, of values (bands, height, width)."""
    real = values.dtype == np.float32
    # Packed fast: a chunk lives as long as the run, and the map's own packing is the COG's.
    profile = {
        "driver": "GTiff", "width": grid.width, "height": grid.height, "count": len(values), "dtype": values.dtype.name,
        "nodata": np.nan if real else nodata, "predictor": 3 if real else 1, "crs": grid.crs, "transform": grid.transform, "compress": "deflate", "zlevel": 1, "tiled": True,
        "blockxsize": _BLOCK, "blockysize": _BLOCK, "interleave": "band",
    }  # fmt: skip
    with MemoryFile() as memory:
        with memory.open(**profile) as out:
            out.write(values)
            if legend:
                out.write_colormap(1, colormap(legend))
                out.update_tags(SKYSENSE_CLASSES=class_names(legend))
            # Seen from afar, a growing map is mostly chunks.
            factors = [factor for factor in (2, 4, 8) if min(grid.shape) // factor >= _SMALLEST_OVERVIEW]
            if factors:
                out.build_overviews(factors, Resampling.average if real else Resampling.nearest)
        return bytes(memory.getbuffer())
