"""Writing the synthetic scene: GeoTIFFs and a GeoPackage that say of themselves that they are made up."""

from pathlib import Path
from typing import Any

import numpy as np
import pyogrio.raw
import rasterio
from numpy.typing import NDArray
from rasterio import Affine
from shapely import Polygon, to_wkb, transform

from skysense.synthetic.legend import CLASSES, NOTICE


def write_raster(
    path: Path,
    values: NDArray[Any],
    bands: tuple[str, ...],
    *,
    crs: str,
    origin: tuple[float, float],
    gsd: float,
    nodata: float | None = None,
    colours: dict[int, tuple[int, int, int, int]] | None = None,
) -> None:
    """Write (C, H, W) as a compressed GeoTIFF whose upper left corner is at `origin` (metres in `crs`)."""
    count, height, width = values.shape
    tiling = {"tiled": True, "blockxsize": 256, "blockysize": 256} if min(height, width) > 256 else {}
    profile = {
        "driver": "GTiff",
        "count": count,
        "height": height,
        "width": width,
        "dtype": values.dtype.name,
    }
    place = {"crs": crs, "transform": Affine(gsd, 0, origin[0], 0, -gsd, origin[1]), "nodata": nodata}
    path.parent.mkdir(parents=True, exist_ok=True)
    # Noise on top of everything: a predictor gains little, and level 1 is twice as fast as the default.
    with rasterio.open(path, "w", **profile, **place, **tiling, compress="deflate", zlevel=1) as dst:
        dst.update_tags(SYNTHETIC="yes", TIFFTAG_IMAGEDESCRIPTION=NOTICE)
        dst.descriptions = bands
        dst.write(values)
        if colours is not None:
            dst.write_colormap(1, colours)


def colour_table() -> dict[int, tuple[int, int, int, int]]:
    """Class id to red, green, blue, alpha; 0 is transparent."""
    table = {0: (0, 0, 0, 0)}
    for value, (_, colour) in CLASSES.items():
        r, g, b = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
        table[value] = (r, g, b, 255)
    return table


def write_polygons(
    path: Path, drawn: list[tuple[int, Polygon]], *, crs: str, origin: tuple[float, float]
) -> None:
    """Write layer `train` (fields id, class, class_id) from (class id, polygon in local metres) pairs."""

    def world(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(origin) + xy * (1, -1)

    values = np.array([value for value, _ in drawn], np.int32)
    names = np.array([CLASSES[value][0] for value, _ in drawn], object)
    rings = np.array([to_wkb(transform(ring, world)) for _, ring in drawn], object)
    path.unlink(missing_ok=True)
    pyogrio.raw.write(
        path,
        rings,
        [np.arange(1, len(drawn) + 1, dtype=np.int32), names, values],
        ["id", "class", "class_id"],
        layer="train",
        driver="GPKG",
        geometry_type="Polygon",
        crs=crs,
        dataset_metadata={"SYNTHETIC": "yes", "DESCRIPTION": NOTICE},
        layer_metadata={"SYNTHETIC": "yes", "DESCRIPTION": NOTICE},
    )
