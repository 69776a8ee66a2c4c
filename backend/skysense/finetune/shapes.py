"""Polygons and points of vector layers as people have them: mixed, nested, three-dimensional, crossed, in any CRS."""

import hashlib
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pyproj
import shapely
from numpy.typing import NDArray

from skysense.errors import InputError


def read_layer(
    path: Path, layer: str | None, where: str
) -> tuple[dict[str, list[Any]], NDArray[np.object_], str]:
    """The fields by name, the geometries as WKB or None, and the CRS of a vector layer.

    Args:
        layer: its name, where the file has several.
        where: the layer as the user knows it, for errors.

    Raises:
        InputError: it cannot be read, or has no geometry or no CRS.
    """
    meta, geometry, values = read_table(path, layer, where)
    columns = {
        str(name): [_plain(value) for value in column]
        for name, column in zip(meta["fields"], values, strict=True)
    }
    return columns, geometry, meta["crs"] or ""


def read_table(
    path: Path, layer: str | None, where: str
) -> tuple[dict[str, Any], NDArray[np.object_], list[NDArray[Any]]]:
    """The same as arrays: what the layer says of itself (pyogrio: "crs", "fields", "dtypes", "geometry_type"), WKB, and values."""
    if not path.exists():
        raise InputError("does not exist", str(path), "Choose the layer again")
    try:
        # A GeoPackage with styles saved by QGIS has a table of them, without geometry.
        layers = [str(name) for name, kind in pyogrio.list_layers(path) if kind is not None]
        if layer is None and len(layers) > 1:
            raise InputError(f"has {len(layers)} layers", where, f"Choose one of {', '.join(layers)}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # measures (M) are dropped, as they should be
            meta, _, geometry, values = pyogrio.raw.read(path, layer=layer or (layers[0] if layers else None))
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, ValueError) as error:
        raise InputError(
            f"cannot be read as a vector layer ({error})", where, "Choose a layer of polygons or points"
        ) from None
    if geometry is None:
        raise InputError("is a table without geometry", where, "Choose a layer of polygons or points")
    if len(geometry) and not meta["crs"]:
        raise InputError("has no coordinate system", where, "Assign its CRS in Layer Properties, Source")
    return meta, geometry, list(values)


def single_shapes(geometry: NDArray[np.object_], where: str) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """Every single polygon and point of a layer, valid and flat, and the row that each comes from.

    Args:
        geometry: (N,) WKB or None.

    Raises:
        InputError: there are lines among them, or nothing has an area or a place.
    """
    # What GEOS cannot read (a ring of two points, a surface in space) becomes None.
    flat = shapely.force_2d(shapely.from_wkb(geometry, on_invalid="ignore"))
    flat[~np.isfinite(shapely.bounds(flat)).all(1)] = None
    shapes, rows = _parts(flat)
    strangers = sorted({shape.geom_type for shape in shapes} - {"Point", "Polygon"})
    if strangers:
        raise InputError(
            f"holds {strangers[0]} features, neither polygons nor points",
            where,
            "Use a layer of polygons or points",
        )
    shapes = _repair(shapes)
    sound = ~shapely.is_empty(shapes)
    shapes, rows = shapes[sound], rows[sound]
    if not len(shapes):
        raise InputError("no feature has an area or a place", where, "Draw the polygons again")
    return shapes, rows


def transform(shapes: NDArray[np.object_], source: str, target: str, where: str) -> NDArray[np.object_]:
    """Shapes brought to another CRS; what it cannot hold is empty.

    Raises:
        InputError: there is no way from one to the other.
    """
    try:
        source_crs, target_crs = pyproj.CRS.from_user_input(source), pyproj.CRS.from_user_input(target)
        if source_crs == target_crs:
            return shapes
        transformer = pyproj.Transformer.from_crs(source_crs, target_crs, always_xy=True)
    except pyproj.exceptions.ProjError:
        raise InputError(
            "its coordinate system has no way to the imagery's",
            where,
            "Assign its CRS in Layer Properties, Source",
        ) from None
    moved = shapely.transform(shapes, lambda xy: np.column_stack(transformer.transform(xy[:, 0], xy[:, 1])))
    moved[~np.isfinite(shapely.bounds(moved)).all(1)] = shapely.Polygon()
    return _repair(moved)


def digest_of_shapes(shapes: NDArray[np.object_]) -> str:
    """Hex SHA-256 of shapes in their order."""
    return hashlib.sha256(b"".join(shapely.to_wkb(shapes).tolist())).hexdigest()


def _plain(value: Any) -> Any:
    """numpy scalar -> Python value; NaN (an empty number) -> None."""
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and np.isnan(value) else value


def _parts(shapes: NDArray[np.object_]) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """The single geometries of all features, and the row that each comes from."""
    parts, rows = shapely.get_parts(shapes, return_index=True)
    while (shapely.get_type_id(parts) >= shapely.GeometryType.MULTIPOINT).any():
        parts, at = shapely.get_parts(parts, return_index=True)
        rows = rows[at]
    keep = ~shapely.is_empty(parts)
    return parts[keep], rows[keep].astype(np.int64)


def _repair(shapes: NDArray[np.object_]) -> NDArray[np.object_]:
    """Invalid polygons made valid; what has no area is empty then."""
    repaired = shapes.copy()
    for place in np.flatnonzero(~shapely.is_valid(shapes)):
        parts, _ = _parts(np.array([shapely.make_valid(shapes[place])], object))
        areas = parts[shapely.get_type_id(parts) == shapely.GeometryType.POLYGON]
        repaired[place] = areas[0] if len(areas) == 1 else shapely.multipolygons(areas)
    return repaired
