"""Labels: polygons and points read from the user's layer, checked, and turned into labelled pixels of a tile."""

import copy
import datetime
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import rasterio.features
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from skysense.errors import InputError
from skysense.finetune.classes import MAX_ID, assign_ids
from skysense.finetune.shapes import read_layer, single_shapes, transform
from skysense.raster.grid import Grid, Window
from skysense.scene.acquisition import Labels, Scene
from skysense.scene.dates import date_from_name

#: Whole pixels from which on a polygon does without those on its edge, which hold something of what lies beside it. On the
#: labelled scenes that brings 0.3 to 0.5 points of mIoU where polygons hold hundreds of pixels, and costs up to 3 where they
#: hold a dozen: there every pixel counts, and people draw inside of what they mean.
_WHOLE_PIXELS = 20


@dataclass(frozen=True)
class LabelledPolygons:
    """Polygons and points with their classes.

    Attributes:
        polygons: (N,) shapely points, polygons and multipolygons in the CRS asked for, each a group of its own; empty where
            that CRS cannot hold the place.
        ids: (N,) class ids, 1..255; or numbers from 1 on of what else the polygons stand for (see `values`).
        names: class name by id; empty where the ids are not of classes.
        source: the layer as the user knows it.
        notes: sentences on what was left out or decided.
        dates: (N,) `datetime.date`, the day on which each is true; None: they are true on all.
    """

    polygons: NDArray[np.object_]
    ids: NDArray[np.int64]
    names: dict[int, str]
    source: str
    notes: tuple[str, ...] = ()
    dates: NDArray[np.object_] | None = None


def choose_labels(
    scene: Scene, path: Path | None, field: str | None, layer: str | None, date_field: str | None = None
) -> Labels:
    """The labels that the user names; what is None is the scene's own.

    Raises:
        InputError: the scene has none of its own, and too little is named.
    """
    own = scene.labels
    if path is None:
        if own is None:
            raise InputError(
                "has no labels", scene.name, "Choose the layer of the polygons and its class field"
            )
        return replace(own, field=field or own.field, layer=layer or own.layer, date_field=date_field)
    field = field or (own.field if own else None)
    if not field:
        raise InputError("no class field is chosen", "labels", "Choose the field that holds the class")
    return Labels(path, field, layer, date_field=date_field)


def read_labels(
    labels: Labels,
    crs: str,
    scene_root: Path | None,
    before: Mapping[str, int] = MappingProxyType({}),
) -> LabelledPolygons:
    """Read the label layer and bring it to a CRS.

    Parts of a multipolygon, multipoint or collection become polygons and points of their own. Rings that cross themselves are
    repaired, heights and repeated features dropped, curves taken as chains of short lines.

    Args:
        labels: file, layer, class field and, where there is one, date field.
        crs: the CRS wanted ("EPSG:n" or WKT).
        scene_root: folder of the scene, for `classes.json`; before: see `classes.assign_ids`.

    Raises:
        InputError: the layer cannot be read, has no such field, no polygons or points, lines, no CRS, only one class, or
            a date that is none.
    """
    where, columns, geometry, source_crs = open_labels(labels, "class")
    shapes, rows = single_shapes(geometry, where)
    drawn = np.unique(rows)
    table = {name: [values[row] for row in drawn] for name, values in columns.items()}
    classes = assign_ids(table[labels.field], labels.field, table, scene_root, before)
    id_of = np.zeros(len(geometry), np.int64)
    id_of[drawn] = [i or 0 for i in classes.ids]
    if not id_of.any():
        raise InputError(
            f"the field {labels.field!r} is empty in every feature", where, "Fill in the classes"
        )
    if len(classes.names) < 2:
        raise InputError(
            f"has only one class ({next(iter(classes.names.values()))})",
            where,
            "Draw polygons of at least two classes; one may be 'other'",
        )
    days = _days(labels, columns, where)
    dated = np.array([day is not None for day in days])
    keep = (id_of > 0) & dated
    shapes, rows = shapes[keep[rows]], rows[keep[rows]]
    # On another day a polygon is another one.
    numbers = np.array([day.toordinal() if day else 0 for day in days])
    first = first_of_equals(shapes, id_of[rows] + (MAX_ID + 1) * numbers[rows])
    notes = left_out(
        len(geometry) - len(drawn),
        int((id_of[drawn] == 0).sum()),
        len(rows) - len(first),
        "class",
        int(((id_of > 0) & ~dated).sum()),
    )
    rows = rows[first]
    moved = transform(shapes[first], source_crs, crs, where)
    dates = None if labels.date_field is None else np.array(days, object)[rows]
    return LabelledPolygons(moved, id_of[rows], classes.names, where, (*classes.notes, *notes), dates)


def label_dates(labels: Labels) -> tuple[list[datetime.date], str]:
    """The different days of a layer's date field, in order, of the features with a class and a geometry; and the layer as the user
    knows it.

    Raises:
        InputError: the layer cannot be read, has no such field, a date is none, or there is no date.
    """
    where, columns, geometry, _ = open_labels(labels, "class")
    rows = zip(columns[labels.field], geometry, _days(labels, columns, where))
    found = {day for name, shape, day in rows if day and name is not None and shape is not None}
    if not found:
        raise InputError(
            f"the field {labels.date_field!r} is empty in every feature",
            where,
            "Fill in the dates, or choose no date field",
        )
    return sorted(found), where


def _days(labels: Labels, columns: dict[str, list[Any]], where: str) -> Sequence[datetime.date | None]:
    """The day in each row of the date field, None where it is empty; where there is no such field one that stands for all dates.

    A date, a time (its day, as it is written), or text or a number that names one day as file names do.

    Raises:
        InputError: a value is none of them; rows count from 1.
    """
    if labels.date_field is None:
        return [datetime.date.min] * len(columns[labels.field])
    days: list[datetime.date | None] = []
    for row, value in enumerate(columns[labels.date_field], start=1):
        if isinstance(value, float) and value.is_integer():  # a field of whole numbers with empty rows
            value = int(value)
        if isinstance(value, datetime.datetime):
            value = value.date()
        if value is None or isinstance(value, datetime.date):
            days.append(value)
            continue
        text = str(value).strip()
        day = date_from_name(text)
        if text and day is None:
            raise InputError(
                f"the field {labels.date_field!r} holds no date but {str(value)!r} in row {row}",
                where,
                "Write dates as YYYY-MM-DD, or leave it empty",
            )
        days.append(day)
    return days


def open_labels(labels: Labels, what: str) -> tuple[str, dict[str, list[Any]], NDArray[np.object_], str]:
    """The label layer as the user knows it, its fields by name, its geometries as WKB or None, and its CRS.

    Args:
        what: the field holds, for errors.

    Raises:
        InputError: it cannot be read, has no CRS, no feature or no such field.
    """
    where = f"labels {labels.path.name}"
    columns, geometry, crs = read_layer(labels.path, labels.layer, where)
    for field, holds in ((labels.field, what), (labels.date_field, "date")):
        if field is not None and field not in columns:
            raise InputError(
                f"has no field {field!r} (its fields: {', '.join(columns) or 'none'})",
                where,
                f"Choose the field that holds the {holds}",
            )
    if not len(geometry):
        raise InputError("has no features", where, f"Draw a few polygons for each {what}, then train")
    return where, columns, geometry, crs


def left_out(shapeless: int, unnamed: int, repeated: int, what: str, undated: int = 0) -> list[str]:
    """A note on features that were left out; `what` is missing in the `unnamed` ones."""
    reasons = [
        f"{count} {reason}"
        for count, reason in (
            (shapeless, "without a usable geometry"),
            (unnamed, f"without a {what}"),
            (undated, "without a date"),
            (repeated, "that another one repeats"),
        )
        if count
    ]
    return [f"Features of the labels that were left out: {', '.join(reasons)}."] if reasons else []


def first_of_equals(shapes: NDArray[np.object_], ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Places without those that repeat an earlier geometry of the same class: held out, a twin would tell its label."""
    seen: dict[tuple[bytes, int], int] = {}
    for place, (wkb, class_id) in enumerate(zip(shapely.to_wkb(shapely.normalize(shapes)), ids.tolist())):
        seen.setdefault((wkb, class_id), place)
    return np.array(list(seen.values()), np.int64)


@dataclass(frozen=True)
class LabelledPixels:
    """Pixels of a grid: rows, cols, class ids and polygon numbers, (N,) each; no pixel twice."""

    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    ids: NDArray[np.int64]
    polygons: NDArray[np.int64]

    def moved(self, rows: int, cols: int) -> "LabelledPixels":
        """The same pixels, counted from a corner so many rows further up and columns further left."""
        return LabelledPixels(self.rows + rows, self.cols + cols, self.ids, self.polygons)


class PixelLabels:
    """Rasterises labels grid by grid: a pixel is labelled if its centre lies inside a polygon, or if it holds a point.

    Of a polygon with `_WHOLE_PIXELS` whole pixels or more only those are taken. The pixel under a polygon's representative
    point is labelled in any case, so that none that the user has drawn is lost. A pixel of two polygons of one class belongs to
    the first of them; a pixel of two classes to none.

    Attributes:
        labels: the polygons.
        chosen: (N,) bool, those of them that are looked at.
    """

    def __init__(self, labels: LabelledPolygons) -> None:
        self.labels = labels
        self.chosen: NDArray[np.bool_] = np.ones(len(labels.ids), bool)
        self._tree = shapely.STRtree(labels.polygons)
        self._insides: dict[tuple[int, float], tuple[BaseGeometry, BaseGeometry]] = {}

    def only(self, chosen: NDArray[np.bool_]) -> "PixelLabels":
        """Some of the polygons, (N,) bool, by the same numbers."""
        other = copy.copy(self)
        other.chosen = chosen
        return other

    def meeting(self, grid: Grid) -> NDArray[np.int64]:
        """Numbers of the polygons that meet a grid (same CRS), ascending."""
        found = np.sort(self._tree.query(shapely.box(*grid.bounds), predicate="intersects"))
        return found[self.chosen[found]]

    def within(self, grid: Grid) -> tuple[LabelledPixels, Counter[tuple[int, int]]]:
        """The labelled pixels of a grid (same CRS), and how many were left out because two classes claim them, by pair of ids."""
        numbers, ids = np.zeros(grid.shape, np.int32), np.zeros(grid.shape, np.int32)
        disputed = np.zeros(grid.shape, bool)
        disputes: Counter[tuple[int, int]] = Counter()
        for number in self.meeting(grid):
            rows, cols = self.claims(int(number), grid)
            own, before = int(self.labels.ids[number]), ids[rows, cols]
            clash = (before > 0) & (before != own) & ~disputed[rows, cols]
            for other, count in Counter(before[clash].tolist()).items():
                disputes[min(own, other), max(own, other)] += count
            disputed[rows[clash], cols[clash]] = True
            free = before == 0
            numbers[rows[free], cols[free]] = number + 1
            ids[rows[free], cols[free]] = own
        rows, cols = np.nonzero((numbers > 0) & ~disputed)
        polygons = numbers[rows, cols].astype(np.int64) - 1
        return LabelledPixels(rows, cols, self.labels.ids[polygons], polygons), disputes

    def claims(self, number: int, grid: Grid) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows and columns of the grid's pixels that one polygon labels by itself."""
        shape, point = self._inside(number, grid.gsd)
        (left, top), (right, bottom) = (grid.place(*corner) for corner in _corners(shape))
        window = Window(
            int(top // 1), int(left // 1), int(bottom // 1 - top // 1) + 1, int(right // 1 - left // 1) + 1
        )
        part = window.intersect(grid.window)
        if part is None:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        claimed = np.zeros((part.height, part.width), np.uint8)
        if shape.area:
            rasterio.features.rasterize([(shape, 1)], out=claimed, transform=grid.sub(part).transform)
        col, row = grid.place(point.x, point.y)
        at_row, at_col = int(row // 1) - part.row, int(col // 1) - part.col
        if 0 <= at_row < part.height and 0 <= at_col < part.width:
            claimed[at_row, at_col] = 1
        rows, cols = np.nonzero(claimed)
        return rows + part.row, cols + part.col

    def _inside(self, number: int, gsd: float) -> tuple[BaseGeometry, BaseGeometry]:
        """What a polygon labels by pixel centres, and its representative point.

        A centre half a pixel's diagonal or more from the edge is that of a whole pixel.
        """
        if (number, gsd) not in self._insides:
            shape = self.labels.polygons[number]
            whole = shape.buffer(-gsd / 2**0.5)
            shape = whole if whole.area >= _WHOLE_PIXELS * gsd**2 else shape
            self._insides[number, gsd] = shape, shape.representative_point()
        return self._insides[number, gsd]


def _corners(shape: BaseGeometry) -> tuple[tuple[float, float], tuple[float, float]]:
    """Upper left and lower right."""
    west, south, east, north = shape.bounds
    return (west, north), (east, south)
