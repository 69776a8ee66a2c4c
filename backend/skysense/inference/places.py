"""Places on an embedding: what the user clicked or drew, as pixels.

Shape legend: N pixels.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skysense.errors import InputError
from skysense.finetune.labels import LabelledPolygons, PixelLabels
from skysense.finetune.shapes import read_layer, single_shapes, transform
from skysense.inference.embedding import Embedding
from skysense.jobs.control import JobControl
from skysense.raster.crs import transformer

#: Pixels taken of one polygon at most, drawn at random: more of the same field tell nothing new.
_PER_SHAPE = 200


@dataclass(frozen=True)
class Places:
    """Pixels where something was seen, and what each belongs to.

    Attributes:
        features: (N, F) float32.
        shapes: (N,) number of the polygon or point.
    """

    features: NDArray[np.float32]
    shapes: NDArray[np.int64]


def clicked(embedding: Embedding, x: float, y: float, crs: str) -> NDArray[np.float32]:
    """Features (F,) of the pixel under a place.

    Args:
        x, y: coordinates in `crs` ("EPSG:n" or WKT).

    Raises:
        InputError: it lies outside the embedding, or where nothing was seen.
    """
    where = f"place {x:g} {y:g}"
    col, row = embedding.grid.place(*transformer(crs, embedding.grid.crs).transform(x, y))
    # Not a number where the way between the CRSs does not lead there.
    if not (0 <= col < embedding.grid.width and 0 <= row < embedding.grid.height):
        west, south, east, north = embedding.grid.bounds
        raise InputError(
            f"lies outside the embedding ({west:g} to {east:g}, {south:g} to {north:g} in {embedding.grid.crs[:40]})",
            where,
            "Choose a place on it, and check the CRS of the numbers",
        )
    found: NDArray[np.float32] = embedding.at(np.array([int(row)]), np.array([int(col)]))[0]
    if not np.isfinite(found[0]):
        raise InputError(
            "lies where the embedding is empty (nothing was seen there)", where, "Choose another place"
        )
    return found


def drawn(embedding: Embedding, path: Path, layer: str | None, control: JobControl) -> Places:
    """Features under the polygons and points of a layer, at most 200 pixels of each; its fields do not matter.

    What lies outside the embedding or where nothing was seen is left out and told in a note.

    Raises:
        InputError: the layer cannot be read, has no CRS, or none of it lies where something was seen.
    """
    where = f"labels {path.name}"
    _, geometry, source = read_layer(path, layer, where)
    shapes, _ = single_shapes(geometry, where)
    moved = transform(shapes, source, embedding.grid.crs, where)
    rows, cols, numbers = _pixels(
        embedding, LabelledPolygons(moved, np.ones(len(moved), np.int64), {}, where)
    )
    features = embedding.at(rows, cols)
    seen = np.isfinite(features[:, 0])
    if not seen.any():
        raise InputError(
            "none of it lies where the embedding holds anything",
            where,
            "Check the layer's CRS, or draw where the imagery is",
        )
    left_out = len(moved) - len(np.unique(numbers[seen]))
    if left_out:
        control.note(
            f"{left_out} of {len(moved)} polygons and points lie outside the embedding or on empty pixels."
        )
    return Places(features[seen], numbers[seen])


def _pixels(
    embedding: Embedding, polygons: LabelledPolygons
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Rows, columns and polygon numbers (N,)."""
    labels = PixelLabels(polygons)
    random = np.random.default_rng(0)
    kept: list[tuple[NDArray[np.int64], ...]] = []
    for window in embedding.windows():
        grid = embedding.grid.sub(window)
        if not len(labels.meeting(grid)):
            continue
        found, _ = labels.within(grid)
        order = random.permutation(len(found.rows))
        order = order[np.argsort(found.polygons[order], kind="stable")]
        number = found.polygons[order]
        starts = np.flatnonzero(np.diff(number, prepend=-1))
        rank = np.arange(len(number)) - np.repeat(starts, np.diff(starts, append=len(number)))
        order = order[rank < _PER_SHAPE]
        kept.append((found.rows[order] + window.row, found.cols[order] + window.col, found.polygons[order]))
    if not kept:
        none = np.zeros(0, np.int64)
        return none, none, none
    rows, cols, numbers = (np.concatenate(column) for column in zip(*kept))
    return rows, cols, numbers
