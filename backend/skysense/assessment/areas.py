"""The area of each class of a map, on the ground: pixel by pixel on the ellipsoid, in memory that does not grow with the map."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skysense.aside import write_aside
from skysense.errors import InputError
from skysense.jobs.control import JobControl
from skysense.raster.classmap import MAX_ID, ClassMap
from skysense.raster.pixelarea import pixel_areas

#: Pixels may differ by this share in area before a sample of pixels stops being one of area.
_EVEN = 0.05
#: Of the blocks that are measured at a time: each pixel takes 40 bytes meanwhile.
_COLS = 1024


@dataclass(frozen=True)
class ClassArea:
    """A class of a map: its id and name, how many pixels it has, and their area on the ground in m²."""

    id: int
    name: str
    pixels: int
    m2: float


@dataclass(frozen=True)
class ClassAreas:
    """The classes of a map, ascending by id: those that its metadata names and those that it holds.

    Attributes:
        classes: one entry a class; named ones without a pixel too.
        uneven: by which share the largest mapped pixel exceeds the smallest in area.
    """

    classes: tuple[ClassArea, ...]
    uneven: float

    @property
    def mapped(self) -> tuple[ClassArea, ...]:
        """The classes that have pixels."""
        return tuple(item for item in self.classes if item.pixels)

    @property
    def m2(self) -> float:
        """The mapped area in m²."""
        return sum(item.m2 for item in self.classes)

    @property
    def is_even(self) -> bool:
        """Whether all pixels have the same area, within 5 %."""
        return self.uneven <= _EVEN

    def to_json(self) -> dict[str, Any]:
        """ "classes" (each "id", "name", "pixels", "m2", "ha", "share" of the mapped area), and "m2" and "ha" of all."""
        total = self.m2
        return {
            "classes": [
                {
                    "id": item.id,
                    "name": item.name,
                    "pixels": item.pixels,
                    "m2": item.m2,
                    "ha": item.m2 / 1e4,
                    "share": item.m2 / total,
                }
                for item in self.classes
            ],
            "m2": total,
            "ha": total / 1e4,
        }


def class_areas(classes: ClassMap, control: JobControl) -> ClassAreas:
    """Measure a class map.

    Args:
        classes: the open map.
        control: is told how far the reading is, and that the map lacks class names.

    Raises:
        InputError: nothing is mapped, a value is no class, or a mapped pixel lies off the Earth.
        Cancelled: the user stopped the job.
    """
    pixels, areas = np.zeros(MAX_ID + 1, np.int64), np.zeros(MAX_ID + 1)
    least, most = np.inf, 0.0
    total = classes.grid.width * classes.grid.height
    done = 0
    for window, ids in classes.blocks(_COLS):
        mapped = ids > 0
        if mapped.any():
            area = np.broadcast_to(pixel_areas(classes.grid, window), ids.shape)
            counts = np.bincount(ids.ravel(), minlength=MAX_ID + 1)
            sums = np.bincount(ids.ravel(), area.ravel(), minlength=MAX_ID + 1)
            if not np.isfinite(sums[1:]).all():
                raise InputError(
                    "has mapped pixels that lie off the Earth",
                    str(classes.path),
                    "Correct its CRS in Layer Properties, or map the scene again",
                )
            pixels, areas = pixels + counts, areas + sums
            least = min(least, float(area.min(where=mapped, initial=np.inf)))
            most = max(most, float(area.max(where=mapped, initial=0.0)))
        done += ids.size
        control.progress(done / total, "Measuring the map")
    pixels[0] = 0
    if not pixels.any():
        raise InputError("has no mapped pixels", str(classes.path), "Choose another map")
    if not classes.names:
        control.note(
            "The map has no class names (SKYSENSE_CLASSES); its classes are called by their numbers."
        )
    found = sorted(set(classes.names) | set(np.flatnonzero(pixels).tolist()))
    return ClassAreas(
        tuple(
            ClassArea(i, classes.name(i), int(pixels[i]), float(areas[i] * (pixels[i] > 0))) for i in found
        ),
        most / least - 1,
    )


def measure_map(path: Path, table: Path | None, control: JobControl) -> dict[str, Any]:
    """Measure a class map and, if asked to, write the table.

    Returns:
        `ClassAreas.to_json`, with "map" and "csv" (None unless written).

    Raises:
        InputError: see `ClassMap` and `class_areas`; StorageError: the table cannot be written; Cancelled.
    """
    with ClassMap(path) as classes:
        found = class_areas(classes, control).to_json()
    if table is not None:
        write_table(
            table,
            ("class_id", "class", "pixels", "m2", "ha", "share"),
            (
                (
                    item["id"],
                    item["name"],
                    item["pixels"],
                    f"{item['m2']:.2f}",
                    f"{item['ha']:.6f}",
                    f"{item['share']:.8f}",
                )
                for item in found["classes"]
            ),
        )
    return {"map": str(path), **found, "csv": None if table is None else str(table)}


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV (UTF-8, comma, point) aside and rename it.

    Raises:
        StorageError: it cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_aside(path, text.getvalue().encode())
