"""Vector layers as GeoPackages, written aside and renamed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
from numpy.typing import NDArray

from skysense.raster.maps import discard, storage_error

#: Name of the row number where a field has its usual one.
_FID = "skysense_fid"


def write_layer(
    out: Path,
    layer: str,
    geometry: NDArray[np.object_],
    geometry_type: str,
    columns: Mapping[str, NDArray[Any]],
    crs: str,
    empty: Mapping[str, NDArray[np.bool_]] | None = None,
) -> None:
    """Write one layer; an old file is replaced, or kept where this fails.

    Args:
        geometry: (N,) WKB, or None.
        geometry_type: "Point", "Polygon", "MultiPolygon", "Unknown" ...
        columns: fields in their order, (N,) each.
        crs: "EPSG:n" or WKT.
        empty: by field (N,), where its value is to be null.

    Raises:
        StorageError: it cannot be written.
    """
    part = out.with_name(f"{out.stem}.part.gpkg")
    taken = any(name.casefold() == "fid" for name in columns)
    try:
        discard(part)
        pyogrio.raw.write(
            part, geometry, list(columns.values()), list(columns), field_mask=[(empty or {}).get(name) for name in columns],
            layer=layer, driver="GPKG", geometry_type=geometry_type, crs=crs, layer_options={"FID": _FID} if taken else None,
            dataset_options={"VERSION": "1.2"},  # what the GDAL of QGIS 3.22 knows
        )  # fmt: skip
        part.replace(out)
    except (RuntimeError, OSError) as error:  # pyogrio's own errors are RuntimeErrors
        discard(part)
        raise storage_error(out, error) from None
