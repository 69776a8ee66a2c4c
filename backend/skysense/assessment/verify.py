"""From a map and its filled-in verification sample to accuracy and areas with their intervals."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pyproj
import shapely
from numpy.typing import NDArray

from skysense.assessment.areas import ClassAreas, class_areas, write_table
from skysense.assessment.estimators import Z95, Estimates, estimate
from skysense.assessment.sample import MAP_CLASS_ID
from skysense.errors import InputError
from skysense.jobs.control import JobControl
from skysense.raster.classmap import ClassMap
from skysense.raster.grid import Window


@dataclass(frozen=True)
class Judged:
    """Points that somebody has judged.

    Attributes:
        x, y: (N,) in the CRS asked for.
        reference: (N,) what is there: a text, or a number.
        drawn: (N,) class that the point was drawn in, by id; None where the layer does not tell.
        unfilled: points of the layer that nobody has judged.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    reference: list[Any]
    drawn: list[int | None]
    unfilled: int


def read_judged(path: Path, field: str, crs: str, layer: str | None = None) -> Judged:
    """Read a filled-in sample.

    Args:
        path: a point layer.
        field: the field that holds the reference class.
        crs: the CRS wanted.

    Raises:
        InputError: it cannot be read, is no point layer, has no CRS or no such field, nothing is filled in, or a class that a
            point was drawn in is no number.
    """
    where = f"sample {path.name}"
    if not path.exists():
        raise InputError("does not exist", str(path), "Choose the sample layer again")
    try:
        meta, _, geometry, values = pyogrio.raw.read(path, layer=layer)
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, ValueError) as error:
        raise InputError(
            f"cannot be read as a vector layer ({error})", where, "Choose the sample's point layer"
        ) from None
    columns = dict(zip((str(name) for name in meta["fields"]), values))
    if field not in columns:
        raise InputError(
            f"has no field {field!r} (its fields: {', '.join(columns) or 'none'})",
            where,
            "Choose the field that holds what is truly there",
        )
    shapes = shapely.from_wkb(geometry) if geometry is not None else np.zeros(0, object)
    if not len(shapes) or not all(shape is not None and shape.geom_type == "Point" for shape in shapes):
        raise InputError("is no layer of points", where, "Choose the sample's point layer")
    if not meta["crs"]:
        raise InputError("has no coordinate system", where, "Assign its CRS in Layer Properties, Source")
    reference = [_plain(value) for value in columns[field]]
    filled = np.flatnonzero([value is not None for value in reference])
    if not len(filled):
        raise InputError(
            f"the field {field!r} is empty in every point",
            where,
            "Fill in what is truly there, then estimate",
        )
    way = pyproj.Transformer.from_crs(meta["crs"], crs, always_xy=True)
    x, y = way.transform(shapely.get_x(shapes[filled]), shapely.get_y(shapes[filled]))
    drawn = columns.get(MAP_CLASS_ID, np.full(len(shapes), None, object))
    return Judged(
        x,
        y,
        [reference[i] for i in filled],
        [_drawn_id(_plain(drawn[i]), where) for i in filled],
        len(shapes) - len(filled),
    )


def _drawn_id(value: Any, where: str) -> int | None:
    """A class id from the sample's own field, which a spreadsheet may have made a text: "3.0" -> 3."""
    if value is None:
        return None
    with suppress(TypeError, ValueError):
        if float(value).is_integer():
            return int(float(value))
    raise InputError(
        f"the field {MAP_CLASS_ID!r} holds {str(value)!r}, which is no class id",
        where,
        "Keep that field as it was drawn, or remove it",
    )


def verify(
    path: Path, sample: Path, field: str, table: Path | None, control: JobControl, layer: str | None = None
) -> dict[str, Any]:
    """Estimate a class map's accuracy and the true areas of its classes.

    Args:
        path: the class map.
        sample: the point layer that was drawn from it (`sample.draw_sample`) and filled in, or points drawn at random otherwise.
        field: the field with the reference class: its name (in any case where that tells classes apart) or its id.
        table: CSV to write, one row a class; None = none.
        layer: where the file holds several.

    Returns:
        "map", "sample", "points" used, "unfilled" and "off_map" points left out; "overall" and "overall_ci95"; "m2" and "ha" of
        the mapped area; "classes", each "id", "name", "points", "mapped_ha", "ha", "ha_ci95", "users", "users_ci95", "producers",
        "producers_ci95" (None where there is none); "matrix" (proportions of area) and "counts" (points): rows = class of the map,
        columns = class of the reference, both in the order of "classes"; "csv". Every "_ci95" is half of a 95 % interval.

    Raises:
        InputError: see `ClassMap` and `read_judged`; or a reference value is no class or may be two, a mapped class has too few
            points, or the sample was drawn from another map; StorageError: the table cannot be written; Cancelled.
    """
    where = f"sample {sample.name}"
    with ClassMap(path) as classes:
        judged = read_judged(sample, field, classes.grid.crs, layer)
        areas = class_areas(classes, control)
        mapped = map_class_at(classes, judged.x, judged.y)
    truth = _reference_ids(judged.reference, {item.id: item.name for item in areas.classes}, field, where)
    on_map = mapped > 0
    _check_strata(judged, mapped, areas, where)
    for left_out, why in (
        (judged.unfilled, "not filled in"),
        (int((~on_map).sum()), "where nothing is mapped"),
    ):
        if left_out:
            control.note(f"{left_out} points of the sample are {why}; they are left out.")
    order = {item.id: row for row, item in enumerate(areas.classes)}
    counts = np.zeros((len(order), len(order)), np.int64)
    for i, j in zip(mapped[on_map], truth[on_map]):
        counts[order[int(i)], order[int(j)]] += 1
    census = _check_enough(counts, areas, where)
    _tell_of_no_errors(counts, census, areas, control)
    found = estimate(counts, np.array([item.m2 for item in areas.classes]), census)
    result = {
        "map": str(path),
        "sample": str(sample),
        "points": int(counts.sum()),
        "unfilled": judged.unfilled,
        "off_map": int((~on_map).sum()),
        **_figures(found, counts, areas),
        "csv": None if table is None else str(table),
    }
    if table is not None:
        _write(table, result)
    return result


def map_class_at(classes: ClassMap, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.int64]:
    """(N,) class ids of the map at places (N,) in its CRS; 0 where nothing is mapped or beyond its edge."""
    col, row = np.array([classes.grid.place(*place) for place in zip(x, y)]).T
    found = np.zeros(len(x), np.int64)
    inside = (col >= 0) & (row >= 0) & (col < classes.grid.width) & (row < classes.grid.height)
    # In the order of the file, so that its blocks are read once.
    for i in sorted(np.flatnonzero(inside), key=lambda i: (row[i] // 512, col[i] // 512)):
        found[i] = classes.read(Window(int(row[i]), int(col[i]), 1, 1))[0, 0]
    return found


def _reference_ids(
    values: Sequence[Any], names: Mapping[int, str], field: str, where: str
) -> NDArray[np.int64]:
    """(N,) class ids of values: the name as it is written, else the id, else the name in another case.

    Raises:
        InputError: a value is none of them, or several names in another case.
    """
    exact = {str(i): i for i in names} | {name: i for i, name in names.items()}
    folded: dict[str, list[int]] = {}
    for i, name in names.items():
        folded.setdefault(name.casefold(), []).append(i)

    def class_of(value: Any) -> int | None:
        text = f"{value:g}" if isinstance(value, float) else str(value)
        alike = folded.get(text.casefold(), [])
        if text not in exact and len(alike) > 1:
            told = " or ".join(f"{names[i]} ({i})" for i in alike)
            raise InputError(
                f"the field {field!r} holds {text!r}, which may be {told}",
                where,
                "Write the name exactly as the map does, or the id",
            )
        return exact.get(text, alike[0] if alike else None)

    strangers = Counter(str(value) for value in values if class_of(value) is None)
    if strangers:
        value, times = strangers.most_common(1)[0]
        known = ", ".join(f"{name} ({i})" for i, name in names.items())
        raise InputError(
            f"the field {field!r} holds {value!r} in {times} points, which is no class of the map: {known}",
            where,
            "Correct it; a name or an id is understood",
        )
    return np.array([class_of(value) for value in values], np.int64)


def _check_strata(judged: Judged, mapped: NDArray[np.int64], areas: ClassAreas, where: str) -> None:
    """The strata must be this map's classes: the chance with which a point was drawn hangs on them."""
    names = {item.id: item.name for item in areas.classes}
    other = [(i, k) for i, k in zip(judged.drawn, mapped.tolist()) if i is not None and k > 0 and i != k]
    if other:
        drawn, shown = other[0]
        raise InputError(
            f"{len(other)} points were drawn in another class than the map shows there "
            f"({names.get(drawn, drawn)}, now {names[shown]})",
            where,
            "Use the map that the sample was drawn from, or draw a new sample",
        )


def _check_enough(counts: NDArray[np.int64], areas: ClassAreas, where: str) -> NDArray[np.bool_]:
    """Which classes are in the sample with every pixel; every other mapped one must have two points."""
    n = counts.sum(1)
    census = np.array([0 < item.pixels <= k for item, k in zip(areas.classes, n)])
    poor = [
        (item.name, int(k)) for item, k, c in zip(areas.classes, n, census) if item.pixels and k < 2 and not c
    ]
    if poor:
        told = ", ".join(f"{name} ({k})" for name, k in poor)
        raise InputError(
            f"too few points are filled in for {told}: with fewer than two nothing is known of the uncertainty",
            where,
            "Fill in at least two points of each mapped class, better 50",
        )
    return census


def _tell_of_no_errors(
    counts: NDArray[np.int64], census: NDArray[np.bool_], areas: ClassAreas, control: JobControl
) -> None:
    """An estimate from no observed error has a variance of 0, which is not certainty.

    With 95 % confidence the share of errors is below 3 / n (Hanley and Lippman-Hand 1983, If nothing goes wrong, is everything
    all right?, JAMA 249, 1743-1745).
    """
    n = counts.sum(1)
    perfect = np.flatnonzero((np.diagonal(counts) == n) & (n > 0) & ~census)
    if len(perfect):
        told = ", ".join(f"{areas.classes[k].name} ({min(3 / n[k], 1):.1%})" for k in perfect)
        control.note(
            f"No error was found among the points of {told}: up to this share of what is mapped so may still be wrong, which "
            "the intervals do not show."
        )


def _figures(found: Estimates, counts: NDArray[np.int64], areas: ClassAreas) -> dict[str, Any]:
    total = areas.m2
    return {
        "overall": found.overall,
        "overall_ci95": Z95 * found.overall_se,
        "m2": total,
        "ha": total / 1e4,
        "classes": [
            {
                "id": item.id,
                "name": item.name,
                "points": int(counts[k].sum()),
                "mapped_ha": item.m2 / 1e4,
                "ha": float(found.share[k]) * total / 1e4,
                "ha_ci95": Z95 * float(found.share_se[k]) * total / 1e4,  # eq. 11
                "users": _number(found.users[k]),
                "users_ci95": _number(Z95 * found.users_se[k]),
                "producers": _number(found.producers[k]),
                "producers_ci95": _number(Z95 * found.producers_se[k]),
            }
            for k, item in enumerate(areas.classes)
        ],
        "matrix": found.matrix.tolist(),
        "counts": counts.tolist(),
    }


def _number(value: float) -> float | None:
    """NaN -> None, which JSON can say."""
    return None if math.isnan(value) else float(value)


def _plain(value: Any) -> Any:
    """What a field holds as a Python value; None where it is empty, texts without spaces around them."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, str):
        return value.strip() or None
    return None if isinstance(value, float) and math.isnan(value) else value


#: Columns of the table, by the key in "classes"; then come the matrix's and the counts', by reference class.
_COLUMNS = {
    "id": "class_id", "name": "class", "points": "points", "mapped_ha": "mapped_ha", "ha": "estimated_ha",
    "ha_ci95": "estimated_ha_ci95", "users": "users_accuracy", "users_ci95": "users_accuracy_ci95",
    "producers": "producers_accuracy", "producers_ci95": "producers_accuracy_ci95",
}  # fmt: skip


def _write(path: Path, result: Mapping[str, Any]) -> None:
    names = [item["name"] for item in result["classes"]]
    header = [
        *_COLUMNS.values(),
        *(f"share: {name}" for name in names),
        *(f"points: {name}" for name in names),
    ]
    rows = (
        [*(_cell(item[key]) for key in _COLUMNS), *map(_cell, shares), *counts]
        for item, shares, counts in zip(result["classes"], result["matrix"], result["counts"])
    )
    write_table(path, header, rows)


def _cell(value: Any) -> Any:
    return "" if value is None else f"{value:.8g}" if isinstance(value, float) else value
