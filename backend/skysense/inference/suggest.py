"""Where to draw next: places of a map that are unsure, or unlike anything that is labelled, spread over the map.

Shape legend: h x w pixels of a window, M candidates.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import torch
from numpy.typing import NDArray

from skysense.errors import InputError
from skysense.inference.embedding import Embedding
from skysense.inference.novelty import Novelty
from skysense.inference.places import drawn
from skysense.jobs.control import JobControl
from skysense.raster.classmap import ClassMap
from skysense.raster.crs import transformer
from skysense.raster.grid import Grid, Window
from skysense.raster.handles import grid_of, open_raster, read_window
from skysense.raster.neighbourhood import box
from skysense.raster.pointlayer import write_points

LAYER = "suggestions"
#: Pixels of the neighbourhood whose mean confidence counts: an edge one or two pixels wide is unsure in every map, and nobody can
#: label it.
_WINDOW = 15
#: The share of a neighbourhood that must be mapped to count in full; in a corner of the map 28 % are.
_ENOUGH = 0.25
#: Pixels read at a time, multiples of a cell's side; each cell offers its best pixel, and there are so many cells at most.
_ROWS, _COLS, _CELL, _MOST_CELLS = 512, 4096, 4, 100_000
#: A region is so many points wide when they are spread evenly, and gets at most so many times its share of them.
_REGION, _OVER = 2, 2
#: Values of an embedding in memory at a time.
_NUMBERS = 1 << 24


@dataclass(frozen=True)
class Candidates:
    """The best pixel of each cell, (M,) each.

    Attributes:
        rows, cols: of the map.
        ids: the class shown.
        confidence: mean of the neighbourhood's mapped pixels, 1..100 %.
        weight: 0..1, below 1 where little of the neighbourhood is mapped.
    """

    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    ids: NDArray[np.int64]
    confidence: NDArray[np.float64]
    weight: NDArray[np.float64]


def suggest(
    path: Path,
    out: Path,
    control: JobControl,
    *,
    points: int = 20,
    embedding: Path | None = None,
    labels: Path | None = None,
    layer: str | None = None,
) -> dict[str, Any]:
    """Suggest places to draw next and write them as a point layer.

    A place scores by how unsure the map is around it: 1 - the mean confidence of 15 x 15 pixels. With an embedding and labels a
    confidence counts for less, in proportion, where the place is further from every labelled pixel than labelled pixels
    are from those of other polygons: there the model was never asked (see `Novelty`). Places are taken from the best on, none
    nearer to another than half the spacing of as many points on an even grid, no region with more than twice its share.

    The layer "suggestions" has the CRS of the map and the fields `rank` (1 = first), `class_id`, `class` (what the map shows),
    `confidence` (%, of the neighbourhood), `novelty` (distance to the nearest labelled pixel, above 1 = unlike anything
    labelled; empty without an embedding) and `why`.

    Args:
        path: the class map; `<map>_confidence.tif` lies beside it.
        out: the GeoPackage; one that holds anything else is kept.
        points: at most.
        embedding, labels: both or none; the labels' fields do not matter.
        layer: inside the labels' file, where it holds several.

    Returns:
        "suggestions" (the file) and "points", each "rank", "x", "y", "class_id", "class", "confidence", "novelty", "why".

    Raises:
        InputError: no map, no confidence beside it, or nothing mapped; no embedding; unusable labels; `out` holds something
            else; StorageError; Cancelled.
    """
    if points < 1:
        raise InputError(f"the number of points is {points}", "suggest", "Use 1 or more")
    if (embedding is None) != (labels is None):
        raise InputError(
            "what is unlike the labels needs an embedding and the labels",
            "suggest",
            "Give both, or neither",
        )
    _check_place(out)
    with ClassMap(path) as classes:
        found, mapped = _candidates(classes, control.share(0, 0.5))
        if not mapped:
            raise InputError("nothing is mapped", str(path), "Choose a map that shows something")
        novelty = None
        if embedding is not None and labels is not None:
            novelty = _novelty(classes.grid, found, embedding, labels, layer, control.share(0.5, 1))
        chosen = _choose(found, _score(found, novelty), points, (mapped / points) ** 0.5)
        rows = [_row(classes, found, novelty, int(i), rank) for rank, i in enumerate(chosen, start=1)]
        _write(out, classes.grid.crs, rows)
    if len(rows) < points:
        control.note(f"The map has room for {len(rows)} places that lie apart, not for {points}.")
    control.progress(1.0, "Suggested")
    return {"suggestions": str(out), "points": rows}


def _candidates(classes: ClassMap, control: JobControl) -> tuple[Candidates, int]:
    """The best mapped pixel of each cell, and how many pixels are mapped."""
    path = classes.path.with_name(f"{classes.path.stem}_confidence{classes.path.suffix}")
    if not path.is_file():
        raise InputError(
            f"has no confidence layer beside it ({path.name})",
            str(classes.path),
            "Choose a map that skysense predict has made, with its confidence in the same folder",
        )
    grid = classes.grid
    cell = _CELL
    while cell < _ROWS and grid.width * grid.height / cell**2 > _MOST_CELLS:
        cell *= 2
    columns: list[tuple[NDArray[Any], ...]] = []
    mapped = 0
    with open_raster(path) as dataset:
        if grid_of(dataset, path) != grid or dataset.count != 1 or dataset.dtypes[0] != "uint8":
            raise InputError("is not the confidence of this map", str(path), "Map the scene again")
        for strip in grid.window.strips(_ROWS):
            for col in range(0, strip.width, _COLS):
                control.progress(strip.row / grid.height, "Reading the map")
                window = Window(strip.row, col, strip.height, min(_COLS, strip.width - col))
                halo = window.grow(_WINDOW // 2).intersect(grid.window)
                assert halo is not None
                ids = classes.read(halo)
                percent = read_window(dataset, path, [1], halo)[0]
                inner = halo.slices(window)
                columns.append(_best_of_cells(ids, percent, inner, window, cell))
                mapped += int((ids[inner] > 0).sum())
    return Candidates(*(np.concatenate(column) for column in zip(*columns))), mapped


def _best_of_cells(
    ids: NDArray[np.uint8],
    percent: NDArray[np.uint8],
    inner: tuple[slice, slice],
    window: Window,
    cell: int,
) -> tuple[NDArray[Any], ...]:
    """`Candidates`' columns of a window; ids and percent (h, w) reach half a neighbourhood beyond it where the map does."""
    mapped = ids > 0
    unsure = np.where(mapped, 1 - percent / np.float32(100), 0).astype(np.float32)
    sums = box(torch.from_numpy(np.stack([unsure, mapped.astype(np.float32)])), _WINDOW).numpy()
    unsure, share = sums[0][inner], sums[1][inner]
    mean = unsure / np.maximum(share, 0.5 / _WINDOW**2)
    weight = np.minimum(share / _ENOUGH, 1)
    score = np.where(mapped[inner], mean * weight, -1)
    # Padded to whole cells, (down, across, cell * cell).
    down, across = -(-window.height // cell), -(-window.width // cell)
    padded = np.full((down * cell, across * cell), -1, np.float32)
    padded[: window.height, : window.width] = score
    cells = padded.reshape(down, cell, across, cell).transpose(0, 2, 1, 3).reshape(down, across, -1)
    best = cells.argmax(-1)
    at = np.nonzero(cells.max(-1) >= 0)
    rows, cols = at[0] * cell + best[at] // cell, at[1] * cell + best[at] % cell
    return (
        rows + window.row,
        cols + window.col,
        ids[inner][rows, cols].astype(np.int64),
        100.0 * (1 - mean[rows, cols].astype(np.float64)),
        weight[rows, cols].astype(np.float64),
    )


def _novelty(
    grid: Grid, found: Candidates, path: Path, labels: Path, layer: str | None, control: JobControl
) -> NDArray[np.float64]:
    """(M,) distance to the nearest labelled pixel in thresholds, mean of 3 x 3 pixels; NaN where the embedding holds nothing."""
    with Embedding(path) as embedding:
        control.progress(0.0, "Comparing with the labels")
        measure = Novelty.of(
            drawn(embedding, labels, layer, control), embedding.scaling, f"labels {labels.name}"
        )
        x, y = np.array([grid.xy(c + 0.5, r + 0.5) for r, c in zip(found.rows, found.cols)]).T
        x, y = transformer(grid.crs, embedding.grid.crs).transform(x, y)
        places = np.array([embedding.grid.place(*place) for place in zip(x, y)])
        inside = np.flatnonzero(
            ((places >= 0) & (places < (embedding.grid.width, embedding.grid.height))).all(1)
        )
        total = np.full(len(places), np.nan)
        step = max(_NUMBERS // (9 * embedding.dims), 1)
        down, across = (offset.ravel() for offset in np.mgrid[-1:2, -1:2])
        for start in range(0, len(inside), step):
            control.progress(start / len(inside), "Comparing with the labels")
            some = inside[start : start + step]
            cols, rows = places[some].astype(np.int64).T
            rows = np.clip(rows[:, None] + down, 0, embedding.grid.height - 1).ravel()
            cols = np.clip(cols[:, None] + across, 0, embedding.grid.width - 1).ravel()
            distance = measure(embedding.at(rows, cols)).reshape(-1, 9).astype(np.float64)
            seen = np.isfinite(distance)
            with np.errstate(invalid="ignore"):
                total[some] = np.where(seen, distance, 0).sum(1) / seen.sum(1)
        if not np.isfinite(total).any():
            raise InputError("does not lie where the map does", str(path), "Embed the scene of the map")
    return total


def _score(found: Candidates, novelty: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """(M,) 0..1: what is not known of a place."""
    believed = found.confidence / 100
    if novelty is not None:
        believed = believed / np.maximum(np.nan_to_num(novelty, nan=0.0), 1)
    return found.weight * (1 - believed)


def _choose(found: Candidates, score: NDArray[np.float64], points: int, spacing: float) -> NDArray[np.int64]:
    """Places of the chosen candidates, best first.

    Args:
        spacing: in pixels, of as many points on an even grid over what is mapped. At half of it the circles around fewer than
            `points` places cover at most pi / 4 of the map: the distance alone never ends the choice too early.
    """
    # Ties go by place, so that the same map gives the same points.
    order = np.lexsort((found.cols, found.rows, -score))
    open_ = np.ones(len(order), bool)
    region = np.stack([found.rows, found.cols]) // max(_REGION * spacing, 1)
    full = _OVER * _REGION**2
    taken: dict[tuple[float, float], int] = {}
    chosen: list[int] = []
    for i in order:
        if not open_[i]:
            continue
        key = (float(region[0, i]), float(region[1, i]))
        if taken.get(key, 0) >= full:
            continue
        taken[key] = taken.get(key, 0) + 1
        chosen.append(int(i))
        if len(chosen) == points:
            break
        open_ &= np.hypot(found.rows - found.rows[i], found.cols - found.cols[i]) >= spacing / 2
    return np.array(chosen, np.int64)


def _row(
    classes: ClassMap, found: Candidates, novelty: NDArray[np.float64] | None, i: int, rank: int
) -> dict[str, Any]:
    x, y = classes.grid.xy(found.cols[i] + 0.5, found.rows[i] + 0.5)
    name, percent = classes.name(int(found.ids[i])), round(float(found.confidence[i]))
    far = None if novelty is None or not np.isfinite(novelty[i]) else round(float(novelty[i]), 2)
    return {
        "rank": rank,
        "x": x,
        "y": y,
        "class_id": int(found.ids[i]),
        "class": name,
        "confidence": percent,
        "novelty": far,
        "why": f"unlike anything labelled, shown as {name}"
        if far is not None and far > 1
        else f"unsure: {percent} % {name}",
    }


def _check_place(out: Path) -> None:
    """Refuse to overwrite anything but earlier suggestions: the labels may lie in such a file."""
    if out.suffix.lower() != ".gpkg":
        raise InputError("is no GeoPackage", str(out), "Choose a name that ends in .gpkg")
    if not out.exists():
        return
    try:
        layers = [str(name) for name in pyogrio.list_layers(out)[:, 0]]
    except (pyogrio.errors.DataSourceError, ValueError, IndexError):
        layers = []
    # SQLite's journal is there while QGIS edits the layer.
    if layers != [LAYER] or out.with_name(out.name + "-wal").exists():
        raise InputError(
            "exists and holds something else, or is being edited", str(out), "Choose another name"
        )


def _write(out: Path, crs: str, rows: list[dict[str, Any]]) -> None:
    kinds = {
        "rank": np.int32,
        "class_id": np.int32,
        "class": object,
        "confidence": np.int32,
        "novelty": np.float64,
        "why": object,
    }
    columns = {name: np.array([row[name] for row in rows], kind) for name, kind in kinds.items()}
    x, y = (np.array([row[axis] for row in rows], np.float64) for axis in ("x", "y"))
    write_points(out, LAYER, x, y, columns, crs)
