"""A vector layer that is written batch by batch, aside, and renamed when it is whole."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyogrio
from numpy.typing import NDArray

from skysense.raster.maps import discard, storage_error


class LayerStream:
    """A GeoPackage of one layer; use it in a `with` block, at whose end it takes its place. An old file is kept where this fails.

    Args:
        geometry_type: "Point", "Polygon", "MultiPolygon" ...
        crs: "EPSG:n" or WKT.
    """

    def __init__(self, out: Path, layer: str, geometry_type: str, crs: str) -> None:
        self._out, self._layer, self._geometry_type, self._crs = out, layer, geometry_type, crs
        self._part = out.with_name(f"{out.stem}.part.gpkg")
        self.count = 0

    def __enter__(self) -> "LayerStream":
        discard(self._part)
        return self

    def append(self, geometry: NDArray[np.object_], columns: Mapping[str, NDArray[Any]]) -> None:
        """Write further features.

        Args:
            geometry: (N,) WKB.
            columns: fields in their order, (N,) each; the same ones each time.

        Raises:
            StorageError: they cannot be written.
        """
        first = self.count == 0
        try:
            pyogrio.raw.write(
                self._part, geometry, list(columns.values()), list(columns), layer=self._layer, driver="GPKG",
                geometry_type=self._geometry_type, crs=self._crs, append=not first,
                dataset_options={"VERSION": "1.2"} if first else None,  # what the GDAL of QGIS 3.22 knows
            )  # fmt: skip
        except (RuntimeError, OSError) as error:  # pyogrio's own errors are RuntimeErrors
            raise storage_error(self._out, error) from None
        self.count += len(geometry)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            discard(self._part)
            return
        try:
            self._part.replace(self._out)
        except OSError as failed:
            discard(self._part)
            raise storage_error(self._out, failed) from None
