"""Labels with a number: tree height, biomass, yield. Read from the user's layer and checked."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skysense.errors import InputError
from skysense.finetune.labels import LabelledPolygons, first_of_equals, left_out, open_labels
from skysense.finetune.shapes import single_shapes, transform
from skysense.scene.acquisition import Labels

WHAT = "number"


def read_values(labels: Labels, crs: str) -> tuple[LabelledPolygons, NDArray[np.float64]]:
    """Read polygons and points with a number, and bring them to a CRS (see `labels.read_labels`).

    Args:
        labels: file, layer and field of the number.
        crs: the CRS wanted ("EPSG:n" or WKT).

    Returns:
        The polygons, whose ids count the different numbers from 1 on in ascending order, so that pixels of polygons with
        different numbers are in dispute; and those numbers: a polygon with id i has `numbers[i - 1]`.

    Raises:
        InputError: the layer cannot be read, has no such field, lines, no CRS, something that is no number, or the same
            number everywhere.
    """
    where, columns, geometry, source_crs = open_labels(labels, WHAT)
    values = _numbers(columns[labels.field], labels.field, where)
    shapes, rows = single_shapes(geometry, where)
    drawn = np.unique(rows)
    given = ~np.isnan(values)
    numbers = np.unique(values[drawn][given[drawn]])
    if not len(numbers):
        raise InputError(
            f"the field {labels.field!r} is empty in every feature", where, "Fill in the numbers"
        )
    if len(numbers) < 2:
        raise InputError(
            f"the field {labels.field!r} holds only one number ({numbers[0]:g})",
            where,
            "Give polygons with different numbers: what never differs cannot be learned",
        )
    keep = given[rows]
    shapes, ids = shapes[keep], np.searchsorted(numbers, values[rows[keep]]) + 1
    first = first_of_equals(shapes, ids)
    notes = left_out(len(geometry) - len(drawn), int((~given[drawn]).sum()), len(ids) - len(first), WHAT)
    moved = transform(shapes[first], source_crs, crs, where)
    return LabelledPolygons(moved, ids[first], {}, where, tuple(notes)), numbers


def _numbers(column: Sequence[Any], field: str, where: str) -> NDArray[np.float64]:
    """The field's numbers (N,), NaN where it is empty.

    Raises:
        InputError: naming the first row that holds something else; rows count from 1.
    """
    for row, value in enumerate(column, start=1):
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InputError(
                f"the field {field!r} holds no number but {str(value)!r} in row {row}",
                where,
                "Choose a field of numbers (whole or decimal)",
            )
        if not math.isfinite(value):
            raise InputError(
                f"the field {field!r} holds {value} in row {row}", where, "Correct it or leave it empty"
            )
    return np.array([math.nan if value is None else float(value) for value in column])
