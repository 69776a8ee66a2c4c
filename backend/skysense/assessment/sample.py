"""A verification sample: points drawn at random within each class of a map, for a person to say what is truly there.

Stratified random sampling with the map's classes as strata, as Olofsson, P., Foody, G. M., Herold, M., Stehman, S. V., Woodcock,
C. E. and Wulder, M. A. recommend (2014, Good practices for estimating area and assessing accuracy of land change, Remote
Sensing of Environment 148, 42-57, section 5.1): rare classes get a minimum, the rest is shared out by area.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
from numpy.typing import NDArray

from skysense.assessment.areas import ClassAreas, class_areas
from skysense.errors import InputError
from skysense.jobs.control import JobControl
from skysense.raster.classmap import ClassMap
from skysense.raster.pointlayer import write_points

LAYER, REFERENCE, MAP_CLASS_ID = "sample", "reference", "map_class_id"
#: Points of a class, at least: Olofsson et al. 2014 (section 5.1.2) give rare classes 50 to 100.
MINIMUM = 50
#: Points drawn in all, for each class, unless the user asks for a number.
_PER_CLASS = 100


def allocate(m2: Mapping[int, float], total: int, minimum: int) -> dict[int, int]:
    """Share out points among classes: each its share of the area, rounded, and none fewer than the minimum.

    Args:
        m2: area of each mapped class, by id.
        total: points in all.
        minimum: of each class.

    Returns:
        Points of each class by id; together `total`.

    Raises:
        InputError: the total does not reach for the minimum.
    """
    if total < minimum * len(m2):
        raise InputError(
            f"{total} points are too few for {len(m2)} classes with at least {minimum} each",
            "sample",
            f"Ask for {minimum * len(m2)} points or more, or for a lower minimum",
        )
    found: dict[int, int] = {}
    while rest := {k: area for k, area in m2.items() if k not in found}:
        left, area = total - sum(found.values()), sum(rest.values())
        rare = [k for k in rest if left * rest[k] < minimum * area]
        if not rare:
            # Largest remainders, so that the parts add up.
            exact = {k: left * rest[k] / area for k in rest}
            found |= {k: int(exact[k]) for k in rest}
            ordered = sorted(rest, key=lambda k: (int(exact[k]) - exact[k], k))
            for k in ordered[: total - sum(found.values())]:
                found[k] += 1
            break
        found |= dict.fromkeys(rare, minimum)
    return found


@dataclass(frozen=True)
class Points:
    """Drawn pixels: rows, cols and class ids, (N,) each, in random order."""

    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    ids: NDArray[np.int64]


def draw_points(
    classes: ClassMap, areas: ClassAreas, counts: Mapping[int, int], seed: int, control: JobControl
) -> Points:
    """Draw pixels of each class with equal chances and without repeating one, in one reading of the map.

    Args:
        areas: of the same map.
        counts: pixels wanted of each class, by id; a class that has fewer gives all.
        seed: the same map, counts and seed give the same points; a class's points do not depend on the others' counts.

    Raises:
        InputError: a part of the map is damaged; Cancelled.
    """
    # The chosen pixels of a class by their number among its pixels, in the order of `ClassMap.blocks`.
    wanted = {
        item.id: np.sort(
            np.random.default_rng([seed, item.id]).choice(
                item.pixels, min(counts.get(item.id, 0), item.pixels), replace=False
            )
        )
        for item in areas.mapped
    }
    passed = dict.fromkeys(wanted, 0)
    rows, cols, ids = [], [], []
    total, done = classes.grid.width * classes.grid.height, 0
    for window, block in classes.blocks():
        flat = block.ravel()
        present = np.bincount(flat, minlength=256)
        for class_id, numbers in wanted.items():
            before, passed[class_id] = passed[class_id], passed[class_id] + int(present[class_id])
            here = numbers[np.searchsorted(numbers, before) : np.searchsorted(numbers, passed[class_id])]
            if len(here):
                at = np.flatnonzero(flat == class_id)[here - before]
                rows.append(window.row + at // window.width)
                cols.append(window.col + at % window.width)
                ids.append(np.full(len(at), class_id, np.int64))
        done += flat.size
        control.progress(done / total, "Drawing points")
    # In random order: whoever judges the points in turn must not see the classes one after the other.
    order = np.random.default_rng([seed, 0]).permutation(sum(map(len, ids)))
    return Points(np.concatenate(rows)[order], np.concatenate(cols)[order], np.concatenate(ids)[order])


def draw_sample(
    path: Path,
    out: Path,
    control: JobControl,
    *,
    points: int | None = None,
    per_class: int | None = None,
    minimum: int = MINIMUM,
    seed: int = 0,
) -> dict[str, Any]:
    """Draw a verification sample of a class map and write it as a point layer.

    The layer "sample" has the CRS of the map, a point at the centre of each drawn pixel, and the fields `id` (1..N),
    `map_class_id`, `map_class` and an empty text field `reference` for the class that is truly there: its name or its id.

    Args:
        path: the class map.
        out: the GeoPackage; one that holds anything but a sample that nobody has begun to fill in is kept.
        points: in all; None = 100 for each mapped class.
        per_class: the same number for each class instead.
        minimum: of each class, where `points` are shared out by area.
        seed: 0 or more.

    Returns:
        "sample" (the file), "points" in all, "classes" (each "id", "name", "points", "m2"; those
        that are not mapped too, since a point may turn out to be one).

    Raises:
        InputError: see `ClassMap`, `class_areas` and `allocate`; or `out` holds something; StorageError; Cancelled.
    """
    for name, value, least in (
        ("number of points", points, 1),
        ("number of points per class", per_class, 2),
        ("minimum of a class", minimum, 2),
        ("seed", seed, 0),
    ):
        if value is not None and value < least:
            raise InputError(f"the {name} is {value}", "sample", f"Use {least} or more")
    _check_place(out)
    with ClassMap(path) as classes:
        areas = class_areas(classes, control.share(0, 0.5))
        if per_class is not None:
            counts = {item.id: per_class for item in areas.mapped}
        else:
            total = _PER_CLASS * len(areas.mapped) if points is None else points
            counts = allocate({item.id: item.m2 for item in areas.mapped}, total, minimum)
        drawn = draw_points(classes, areas, counts, seed, control.share(0.5, 1))
        _write(out, classes, drawn)
    for item in areas.mapped:
        if item.pixels < counts[item.id]:
            control.note(f"{item.name} has only {item.pixels} pixels; all of them are in the sample.")
    if not areas.is_even:
        control.note(
            f"The map's pixels differ in area by up to {areas.uneven:.0%}: for exact estimates of area, map in UTM "
            "or an equal-area CRS."
        )
    return {
        "sample": str(out),
        "points": len(drawn.ids),
        "classes": [
            {"id": item.id, "name": item.name, "points": int((drawn.ids == item.id).sum()), "m2": item.m2}
            for item in areas.classes
        ],
    }


def _check_place(out: Path) -> None:
    """Refuse to overwrite what somebody may have worked on."""
    if out.suffix.lower() != ".gpkg":
        raise InputError("is no GeoPackage", str(out), "Choose a name that ends in .gpkg")
    if not out.exists():
        return
    # SQLite's journal is there while QGIS edits the layer: what is filled in may not be in the file yet.
    if out.with_name(out.name + "-wal").exists():
        raise InputError("is being edited", str(out), "Save and close the layer, or choose another name")
    try:
        layers = [str(name) for name in pyogrio.list_layers(out)[:, 0]]
        untouched = layers == [LAYER] and all(
            value in (None, "") for value in pyogrio.raw.read(out, columns=[REFERENCE])[3][0]
        )
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, ValueError, IndexError):
        untouched = False
    if not untouched:
        raise InputError("exists and may hold filled-in points", str(out), "Choose another name")


def _write(out: Path, classes: ClassMap, drawn: Points) -> None:
    grid = classes.grid
    x, y = np.array([grid.xy(col + 0.5, row + 0.5) for row, col in zip(drawn.rows, drawn.cols)]).T
    columns: dict[str, NDArray[Any]] = {
        "id": np.arange(1, len(x) + 1, dtype=np.int32),
        MAP_CLASS_ID: drawn.ids.astype(np.int32),
        "map_class": np.array([classes.name(int(i)) for i in drawn.ids], object),
        REFERENCE: np.full(len(x), None, object),
    }
    write_points(out, LAYER, x, y, columns, grid.crs)
