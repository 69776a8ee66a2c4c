"""Objects that the user has drawn: polygons, taken as rotated boxes, or points; and the areas in which all of them are drawn."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from skysense.errors import InputError
from skysense.finetune.classes import assign_ids
from skysense.finetune.labels import first_of_equals, left_out, open_labels
from skysense.finetune.objects.boxes import Boxes, boxes_of
from skysense.finetune.shapes import read_layer, single_shapes, transform
from skysense.scene.acquisition import Labels


@dataclass(frozen=True)
class DrawnObjects:
    """Objects with their classes.

    Attributes:
        boxes: (N, 5) in the CRS asked for (see `boxes`); sides of 0 where points were drawn.
        ids: (N,) class ids, 1..255.
        names: class name by id.
        sized: whether polygons were drawn, and not points.
        source: the layer as the user knows it.
        notes: sentences on what was left out or decided.
    """

    boxes: Boxes
    ids: NDArray[np.int64]
    names: dict[int, str]
    sized: bool
    source: str
    notes: tuple[str, ...] = ()


def read_objects(
    labels: Labels,
    crs: str,
    scene_root: Path | None,
    before: Mapping[str, int] = MappingProxyType({}),
) -> DrawnObjects:
    """Read a layer of objects and bring it to a CRS; each part of a multipolygon or multipoint is an object of its own.

    Args:
        labels: file, layer and class field.
        crs: the CRS wanted, of metres.
        scene_root: folder of the scene, for `classes.json`; before: see `classes.assign_ids`.

    Raises:
        InputError: the layer cannot be read, has no such field or no CRS, or holds lines, or polygons and points.
    """
    where, columns, geometry, source_crs = open_labels(labels, "class")
    shapes, rows = single_shapes(geometry, where)
    points = shapely.get_type_id(shapes) == shapely.GeometryType.POINT
    if points.any() and not points.all():
        raise InputError(
            f"holds both points ({int(points.sum())}) and polygons ({int((~points).sum())}), and of points no size can be learned",
            where,
            "Draw either points or polygons; keep the others in a layer of their own",
        )
    drawn = np.unique(rows)
    table = {name: [values[row] for row in drawn] for name, values in columns.items()}
    classes = assign_ids(table[labels.field], labels.field, table, scene_root, before)
    id_of = np.zeros(len(geometry), np.int64)
    id_of[drawn] = [i or 0 for i in classes.ids]
    if not id_of.any():
        raise InputError(
            f"the field {labels.field!r} is empty in every feature", where, "Fill in the classes"
        )
    keep = id_of[rows] > 0
    shapes, ids = shapes[keep], id_of[rows][keep]
    first = first_of_equals(shapes, ids)
    notes = left_out(
        len(geometry) - len(drawn), int((id_of[drawn] == 0).sum()), len(ids) - len(first), "class"
    )
    moved, ids = transform(shapes[first], source_crs, crs, where), ids[first]
    there = ~shapely.is_empty(moved)
    return DrawnObjects(
        boxes_of(moved[there]),
        ids[there],
        classes.names,
        not points.any(),
        where,
        (*classes.notes, *notes),
    )


def read_areas(chosen: dict[str, Any], crs: str) -> NDArray[np.object_] | None:
    """The polygons inside of which all objects are drawn, in a CRS; None where the user names none.

    Args:
        chosen: the recipe's "labels": "areas" is the file and "areas_layer" the layer in it.

    Raises:
        InputError: the layer cannot be read, or holds anything but polygons.
    """
    if not chosen.get("areas"):
        return None
    path = Path(chosen["areas"])
    where = f"areas {path.name}"
    _, geometry, source = read_layer(path, chosen.get("areas_layer"), where)
    if not len(geometry):
        raise InputError("has no features", where, "Draw the areas in which all objects are drawn")
    shapes, _ = single_shapes(geometry, where)
    if (shapely.get_type_id(shapes) == shapely.GeometryType.POINT).any():
        raise InputError("holds points, not polygons", where, "Choose a layer of polygons")
    moved = transform(shapes, source, crs, where)
    return np.asarray(moved[~shapely.is_empty(moved)], object)
