"""Layers of points as GeoPackages, written aside and renamed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import shapely
from numpy.typing import NDArray

from skysense.raster.maps import discard, storage_error


def write_points(
    out: Path, layer: str, x: NDArray[np.float64], y: NDArray[np.float64], columns: Mapping[str, NDArray[Any]], crs: str
) -> None:  # fmt: skip
    """Write one layer; an old file is replaced, or kept where this fails.

    Args:
        x, y: (N,) in the CRS.
        columns: fields in their order, (N,) each.
        crs: "EPSG:n" or WKT.

    Raises:
        StorageError: it cannot be written.
    """
    part = out.with_name(f"{out.stem}.part.gpkg")
    try:
        discard(part)
        pyogrio.raw.write(
            part, shapely.to_wkb(shapely.points(x, y)), list(columns.values()), list(columns), layer=layer,
            driver="GPKG", geometry_type="Point", crs=crs,
            dataset_options={"VERSION": "1.2"},  # what the GDAL of QGIS 3.22 knows
        )  # fmt: skip
        part.replace(out)
    except (RuntimeError, OSError) as error:  # pyogrio's own errors are RuntimeErrors
        discard(part)
        raise storage_error(out, error) from None
