"""Small rasters and scenes for the tests of the raster room."""

import datetime
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from skysense.raster import chunks
from skysense.raster.grid import Window
from skysense.scene.acquisition import Acquisition, BandRef, Scene

SHARED = Path(__file__).resolve().parents[4] / "shared"


def write_raster(path, values, transform, crs="EPSG:32631", **profile):
    """Write (C, H, W) values; tags "scales", "offsets" and "colorinterp" may be given too."""
    values = np.asarray(values)
    extra = {
        key: profile.pop(key)
        for key in ("scales", "offsets", "colorinterp", "descriptions")
        if key in profile
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=values.shape[0],
        height=values.shape[1],
        width=values.shape[2],
        dtype=values.dtype,
        crs=crs,
        transform=transform if isinstance(transform, Affine) else Affine(*transform),
        **profile,
    ) as dataset:
        dataset.write(values)
        for key, value in extra.items():
            setattr(dataset, key, value)
    return path


def acquisition(modality, path, bands=None, date=None, **more):
    """An acquisition of one file; bands by name -> number, in the file's order unless given."""
    if bands is None:
        bands = {"hr": ("R", "G", "B"), "s1": ("VV", "VH"), "s2": ("B2", "B3", "B4")}[modality]
    if not isinstance(bands, dict):
        bands = {name: number for number, name in enumerate(bands, start=1)}
    references = {
        name: item if isinstance(item, BandRef) else BandRef(path, item) for name, item in bands.items()
    }
    day = datetime.date.fromisoformat(date) if isinstance(date, str) else date
    return Acquisition(modality, path, day, references, **more)


def scene(*acquisitions):
    return Scene("test", tuple(acquisitions), None, acquisitions[0].path.parent)


def shared_scene(name):
    """A sample scene as its scene.json states it, skipped where the samples are not there."""
    root = SHARED / "data" / "scenes" / name
    if not root.is_dir():
        pytest.skip("the shared sample scenes are not here")
    items = json.loads((root / "scene.json").read_text())["acquisitions"]
    return Scene(
        name,
        tuple(
            acquisition(
                item["modality"], root / item["path"], item["bands"], item["date"], orbit=item.get("orbit")
            )
            for item in items
        ),
        None,
        root,
    )


@dataclass(frozen=True)
class ChunkFiles:
    """A chunk of a class map and of its confidence."""

    window: Window
    classes: Path
    confidence: Path

    @classmethod
    def of(cls, folder, chunk):
        return cls(chunk.window, *(chunks.value_path(folder, chunk, name) for name in ("class", "conf")))


def write_chunk(files, grid, classes, confidence, legend):
    """Write both."""
    chunks.write_raster(files.confidence, grid, confidence)
    chunks.write_raster(files.classes, grid, classes, legend=legend)
