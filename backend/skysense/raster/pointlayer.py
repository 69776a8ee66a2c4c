"""Layers of points as GeoPackages, written aside and renamed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from skysense.raster.vectorfile import write_layer


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
    write_layer(out, layer, shapely.to_wkb(shapely.points(x, y)), "Point", columns, crs)
