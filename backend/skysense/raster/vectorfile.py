"""Vector layers as GeoPackages, written aside, at once or batch by batch, and renamed when they are whole."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyogrio
from numpy.typing import NDArray

from skysense.errors import InputError
from skysense.raster.maps import discard, storage_error

#: Name of the row number where a field has its usual one.
_FID = "skysense_fid"


class LayerStream:
    """A GeoPackage of one layer; use it in a `with` block, at whose end it takes its place. An old file is kept where this fails.

    A file with other layers, such as one of drawn polygons, is not replaced.

    Args:
        geometry_type: "Point", "Polygon", "MultiPolygon" ...
        crs: "EPSG:n" or WKT.
    """

    def __init__(self, out: Path, layer: str, geometry_type: str, crs: str) -> None:
        self._out, self._layer, self._geometry_type, self._crs = out, layer, geometry_type, crs
        self._part = out.with_name(f"{out.stem}.part.gpkg")
        self.count = 0

    def __enter__(self) -> "LayerStream":
        others = [name for name in _layers(self._out) if name != self._layer]
        if others:
            raise InputError(
                f"holds the layer {others[0]!r}, which would be lost",
                self._out.name,
                "Choose another name for the result",
            )
        discard(self._part)
        return self

    def append(
        self,
        geometry: NDArray[np.object_],
        columns: Mapping[str, NDArray[Any]],
        empty: Mapping[str, NDArray[np.bool_]] | None = None,
    ) -> None:
        """Write further features.

        Args:
            geometry: (N,) WKB, or None.
            columns: fields in their order, (N,) each; the same ones each time.
            empty: by field (N,), where its value is to be null.

        Raises:
            StorageError: they cannot be written.
        """
        first = self.count == 0
        taken = any(name.casefold() == "fid" for name in columns)
        try:
            pyogrio.raw.write(
                self._part, geometry, list(columns.values()), list(columns), field_mask=[(empty or {}).get(name) for name in columns],
                layer=self._layer, driver="GPKG", geometry_type=self._geometry_type, crs=self._crs, append=not first,
                layer_options={"FID": _FID} if taken and first else None,
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


def _layers(path: Path) -> list[str]:
    """Names of a file's layers; none where it cannot be read as such."""
    if not path.is_file():
        return []
    try:
        return [str(name) for name, _ in pyogrio.list_layers(path)]
    except (RuntimeError, OSError):  # pyogrio's own errors are RuntimeErrors
        return []


def write_layer(
    out: Path,
    layer: str,
    geometry: NDArray[np.object_],
    geometry_type: str,
    columns: Mapping[str, NDArray[Any]],
    crs: str,
    empty: Mapping[str, NDArray[np.bool_]] | None = None,
) -> None:
    """Write one layer at once; see `LayerStream`.

    Raises:
        StorageError: it cannot be written.
    """
    with LayerStream(out, layer, geometry_type, crs) as stream:
        stream.append(geometry, columns, empty)
