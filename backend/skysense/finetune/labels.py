"""Labelled polygons: read from the user's layer, checked, and turned into labelled pixels of a tile."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pyproj
import rasterio.features
import shapely
from numpy.typing import NDArray

from skysense.errors import InputError
from skysense.finetune.classes import assign_ids
from skysense.raster.grid import Grid
from skysense.scene.acquisition import Labels, Scene


@dataclass(frozen=True)
class LabelledPolygons:
    """Polygons with their classes.

    Attributes:
        polygons: (N,) shapely polygons in the CRS asked for.
        ids: (N,) class ids, 1..255.
        names: class name by id.
        source: the layer as the user knows it.
    """

    polygons: NDArray[np.object_]
    ids: NDArray[np.int64]
    names: dict[int, str]
    source: str


def choose_labels(scene: Scene, path: Path | None, field: str | None, layer: str | None) -> Labels:
    """The labels that the user names; what is None is the scene's own.

    Raises:
        InputError: the scene has none of its own, and too little is named.
    """
    own = scene.labels
    if path is None:
        if own is None:
            raise InputError("has no labels", scene.name, "Choose a polygon layer and its class field")
        return replace(own, field=field or own.field, layer=layer or own.layer)
    field = field or (own.field if own else None)
    if not field:
        raise InputError("no class field is chosen", "labels", "Choose the field that holds the class")
    return Labels(path, field, layer)


def read_labels(labels: Labels, crs: str, scene_root: Path | None) -> LabelledPolygons:
    """Read the label layer and bring it to a CRS.

    Args:
        labels: file, layer and class field.
        crs: the CRS wanted ("EPSG:n" or WKT).
        scene_root: folder of the scene, for `classes.json`.

    Raises:
        InputError: the layer cannot be read, has no such field, no polygons, no CRS, or only one class.
    """
    where = f"labels {labels.path.name}"
    columns, geometry, source_crs = _read(labels, where)
    if labels.field not in columns:
        raise InputError(
            f"has no field {labels.field!r} (its fields: {', '.join(columns) or 'none'})",
            where,
            "Choose the field that holds the class",
        )
    polygons = shapely.from_wkb(geometry)
    keep = np.array([shape is not None and not shape.is_empty for shape in polygons], bool)
    kinds = {shape.geom_type for shape in polygons[keep]}
    if not keep.any():
        raise InputError("has no features", where, "Draw a few polygons for each class, then train")
    if not kinds <= {"Polygon", "MultiPolygon"}:
        raise InputError(
            f"holds {sorted(kinds - {'Polygon', 'MultiPolygon'})[0]} features, not polygons",
            where,
            "Use a polygon layer",
        )
    if not source_crs:
        raise InputError("has no coordinate system", where, "Assign its CRS in Layer Properties, Source")
    ids, names = assign_ids(columns[labels.field], labels.field, columns, scene_root)
    keep &= np.array([i is not None for i in ids], bool)
    if not keep.any():
        raise InputError(
            f"the field {labels.field!r} is empty in every feature", where, "Fill in the classes"
        )
    if len(names) < 2:
        raise InputError(
            f"has only one class ({next(iter(names.values()))})",
            where,
            "Draw polygons of at least two classes; one may be 'other'",
        )
    moved = _transform(shapely.make_valid(polygons[keep]), source_crs, crs)
    return LabelledPolygons(
        moved, np.array([i for i in ids if i is not None], np.int64)[_kept(ids, keep)], names, where
    )


def _kept(ids: list[int | None], keep: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Among the features that have a class, those that also have a geometry."""
    return keep[np.array([i is not None for i in ids], bool)]


def _read(labels: Labels, where: str) -> tuple[dict[str, list[Any]], NDArray[np.object_], str | None]:
    if not labels.path.exists():
        raise InputError("does not exist", str(labels.path), "Choose the label layer again")
    try:
        meta, _, geometry, values = pyogrio.raw.read(labels.path, layer=labels.layer)
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, ValueError) as error:
        raise InputError(
            f"cannot be read as a vector layer ({error})", where, "Choose a polygon layer"
        ) from None
    if geometry is None:
        raise InputError("is a table without geometry", where, "Choose a polygon layer")
    columns = {
        str(name): [_plain(value) for value in column]
        for name, column in zip(meta["fields"], values, strict=True)
    }
    return columns, geometry, meta["crs"]


def _plain(value: Any) -> Any:
    """numpy scalar -> Python value; NaN (an empty number) -> None."""
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and np.isnan(value) else value


def _transform(polygons: NDArray[np.object_], source: str, target: str) -> NDArray[np.object_]:
    source_crs, target_crs = pyproj.CRS.from_user_input(source), pyproj.CRS.from_user_input(target)
    if source_crs == target_crs:
        return polygons
    transformer = pyproj.Transformer.from_crs(source_crs, target_crs, always_xy=True)
    return shapely.transform(polygons, lambda xy: np.column_stack(transformer.transform(xy[:, 0], xy[:, 1])))


@dataclass(frozen=True)
class LabelledPixels:
    """Pixels of one tile's core: rows, cols (counted from the core's corner), class ids and polygon numbers, (N,) each."""

    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    ids: NDArray[np.int64]
    polygons: NDArray[np.int64]


class PixelLabels:
    """Rasterises labelled polygons tile by tile: a pixel is labelled if its centre lies inside.

    A polygon too small to hold any centre labels the pixel under its representative point, so that no polygon the
    user has drawn is lost. Where polygons overlap, the later one counts.
    """

    def __init__(self, labels: LabelledPolygons) -> None:
        self._labels = labels
        self._tree = shapely.STRtree(labels.polygons)

    def within(self, grid: Grid) -> LabelledPixels:
        """The labelled pixels of a grid (same CRS as the polygons)."""
        west, south, east, north = grid.bounds
        hits = np.sort(self._tree.query(shapely.box(west, south, east, north), predicate="intersects"))
        nothing = np.zeros(0, np.int64)
        if not len(hits):
            return LabelledPixels(nothing, nothing, nothing, nothing)
        numbers = np.zeros((grid.height, grid.width), np.int32)
        for hit in hits:
            polygon = self._labels.polygons[hit]
            burnt = rasterio.features.rasterize(
                [(polygon, 1)], out_shape=numbers.shape, transform=grid.transform, dtype="uint8"
            ).astype(bool)
            if not burnt.any() and polygon.area < 4 * grid.gsd**2:
                point = polygon.representative_point()
                row, col = int((north - point.y) // grid.gsd), int((point.x - west) // grid.gsd)
                if 0 <= row < grid.height and 0 <= col < grid.width:
                    burnt[row, col] = True
            numbers[burnt] = hit + 1
        rows, cols = np.nonzero(numbers)
        polygons = numbers[rows, cols].astype(np.int64) - 1
        return LabelledPixels(rows, cols, self._labels.ids[polygons], polygons)
