"""How good a map is: overall accuracy, F1 and IoU per class, and the confusion matrix.

The one place where these figures are computed. A pixel that the map leaves empty is wrong, and so is one
whose value is no class; both lower the recall of their true class and nobody's precision.
"""

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio import Affine
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.warp import Resampling, reproject, transform_bounds

from skysense.errors import InputError


@dataclass(frozen=True)
class Scores:
    """Agreement of predicted with true classes over N pixels; n is the number of classes.

    Attributes:
        class_ids: (n,) ascending.
        confusion: pixel counts (n, n + 1): row = true class; column 0 = predicted nothing or no class, column
            1 + j = predicted class j.
    """

    class_ids: tuple[int, ...]
    confusion: NDArray[np.int64]

    @property
    def n_truth(self) -> NDArray[np.int64]:
        """Pixels that are truly of each class (n,)."""
        return np.asarray(self.confusion.sum(1))

    @property
    def n_pred(self) -> NDArray[np.int64]:
        """Pixels that are mapped as each class (n,)."""
        return np.asarray(self.confusion[:, 1:].sum(0))

    @property
    def _hits(self) -> NDArray[np.int64]:
        return np.asarray(np.diagonal(self.confusion[:, 1:]))

    @property
    def oa(self) -> float:
        """Overall accuracy, 0..1."""
        return float(self._hits.sum() / self.confusion.sum())

    @property
    def iou(self) -> NDArray[np.float64]:
        """Intersection over union of each class (n,); NaN for a class that is neither true nor mapped."""
        union = self.n_truth + self.n_pred - self._hits
        return _ratio(self._hits, union)

    @property
    def precision(self) -> NDArray[np.float64]:
        """Share of what is mapped as each class that truly is (n,); NaN for a class that is not mapped."""
        return _ratio(self._hits, self.n_pred)

    @property
    def recall(self) -> NDArray[np.float64]:
        """Share of each class that is mapped as such (n,); NaN for a class that the truth does not hold."""
        return _ratio(self._hits, self.n_truth)

    @property
    def f1(self) -> NDArray[np.float64]:
        """F1 of each class (n,); NaN for a class that is neither true nor mapped."""
        both = self.n_truth + self.n_pred
        return _ratio(2 * self._hits, both)

    @property
    def macro_f1(self) -> float:
        """Mean F1 of the classes that the truth holds."""
        return float(self.f1[self.n_truth > 0].mean())

    @property
    def miou(self) -> float:
        """Mean IoU of the classes that the truth holds."""
        return float(self.iou[self.n_truth > 0].mean())


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.asarray(np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0))


def scores(truth: NDArray[Any], pred: NDArray[Any], class_ids: list[int] | tuple[int, ...]) -> Scores:
    """Compare two integer arrays of equal shape.

    Args:
        truth: true class ids; pixels whose value is none of `class_ids` are left out.
        pred: predicted class ids; any other value counts as wrong.
        class_ids: the classes, any order.

    Raises:
        ValueError: the shapes differ, or no pixel is left.
    """
    if truth.shape != pred.shape:
        raise ValueError(f"truth is {truth.shape} and prediction is {pred.shape}")
    ids = np.array(sorted(set(class_ids)), np.int64)

    def column(values: NDArray[Any]) -> NDArray[np.int64]:
        at = np.searchsorted(ids, values).clip(0, max(len(ids) - 1, 0))
        return np.where(ids[at] == values, at + 1, 0)

    known = np.isin(truth, ids)
    if not known.any():
        raise ValueError("no pixel has a true class")
    n = len(ids)
    pairs = (column(truth[known]) - 1) * (n + 1) + column(pred[known])
    counts = np.bincount(pairs, minlength=n * (n + 1)).reshape(n, n + 1)
    return Scores(tuple(int(i) for i in ids), counts.astype(np.int64))


def score_map(scene: Path, map_path: Path, *, eval_mask: Path | None = None) -> dict[str, Any]:
    """Score a class map on the truth of a labelled scene.

    Pixels of `truth.tif` that are not 0 and that the evaluation mask selects are compared. A map on another
    grid or in another CRS is brought to the truth's grid by nearest neighbour. What the map leaves empty (0,
    its nodata value, or beyond its edge) counts as wrong.

    Args:
        scene: a scene file or its folder, which holds `truth.tif` and, where it has them, `classes.json` (id to name; else
            the map's own names count) and `eval_mask.tif` (else all of the truth is scored).
        map_path: one-band raster of class ids.
        eval_mask: another mask on the truth's grid; pixels above 0 are scored.

    Returns:
        `oa`, `macro_f1`, `miou` (rounded to 4 digits; means over the classes that the truth holds);
        `per_class`: name to `id`, `iou`, `f1`, `n_truth`, `n_pred`; `n_eval` pixels compared, `n_missing` of
        them empty; `resampled`; `class_ids` and `confusion` (see `Scores`; rows and columns are all classes
        of `classes.json`).

    Raises:
        InputError: a file is missing or unreadable, or the two cannot be compared.
    """
    scene_dir = scene if scene.is_dir() else scene.parent
    truth_path, mask_path = scene_dir / "truth.tif", eval_mask or scene_dir / "eval_mask.tif"
    for path in (truth_path, *((eval_mask,) if eval_mask else ())):
        if not path.is_file():
            raise InputError(
                "is needed to score a map and is missing", str(path), "Choose a labelled scene folder"
            )
    truth = read_band(truth_path)
    if truth.crs is None:
        raise InputError("has no coordinate system", str(truth_path), "Assign a CRS to it")
    names = _class_names(scene_dir / "classes.json", map_path, truth)
    selected = np.ones(truth.values.shape, bool)
    if mask_path.is_file():
        selected = read_band(mask_path).values > 0
    if selected.shape != truth.values.shape:
        raise InputError(
            "the mask's grid is not the truth's", str(mask_path), "Choose the mask of this scene"
        )
    pred, resampled = _on_grid(_class_map(map_path), truth, map_path)

    chosen = selected & (truth.values > 0)
    true, mapped = truth.values[chosen].astype(np.int64), pred[chosen]
    if not np.isin(true, list(names)).any():
        raise InputError(
            "the mask selects no pixel with a known class",
            str(mask_path if mask_path.is_file() else truth_path),
            "Choose another mask",
        )
    strangers = sorted(set(np.unique(true).tolist()) - set(names))
    if strangers:
        raise InputError(
            f"holds ids that classes.json does not name: {strangers}", str(scene_dir / "truth.tif")
        )
    if not np.isin(mapped, list(names)).any():
        held = np.unique(mapped)[:20].tolist()
        raise InputError(
            f"no scored pixel holds a class id of this scene ({sorted(names)}), but {held}",
            str(map_path),
            "Choose a map of this scene's classes",
        )
    result = scores(true, mapped, list(names))
    iou, f1, n_truth, n_pred = result.iou, result.f1, result.n_truth, result.n_pred
    return {
        "oa": round(result.oa, 4),
        "macro_f1": round(result.macro_f1, 4),
        "miou": round(result.miou, 4),
        "per_class": {
            names[value]: {
                "id": value,
                "iou": round(float(iou[i]), 4),
                "f1": round(float(f1[i]), 4),
                "n_truth": int(n_truth[i]),
                "n_pred": int(n_pred[i]),
            }
            for i, value in enumerate(result.class_ids)
            if n_truth[i]
        },
        "n_eval": int(true.size),
        "n_missing": int((mapped == 0).sum()),
        "resampled": resampled,
        "class_ids": list(result.class_ids),
        "confusion": result.confusion.tolist(),
    }


@dataclass(frozen=True)
class Band:
    """One band of a raster, its grid and its nodata value."""

    values: NDArray[Any]
    transform: Affine
    crs: CRS | None
    bounds: tuple[float, float, float, float]
    nodata: float | None


def _class_names(path: Path, map_path: Path, truth: Band) -> dict[int, str]:
    """Names by id: those of `classes.json`, else those that the map gives, and of what else is true the number."""
    if not path.is_file():
        true = {int(k): f"class {int(k)}" for k in np.unique(truth.values) if k > 0}
        with suppress(RasterioError, ValueError, KeyError, AttributeError), rasterio.open(map_path) as src:
            return true | {int(k): str(v) for k, v in json.loads(src.tags()["SKYSENSE_CLASSES"]).items()}
        return true
    try:
        return {int(k): str(v) for k, v in json.loads(path.read_text(encoding="utf-8")).items()}
    except (ValueError, AttributeError) as error:
        raise InputError("is not a JSON object of id to name", str(path), "Correct it") from error


def read_band(path: Path) -> Band:
    try:
        with rasterio.open(path) as src:
            if src.count != 1:
                raise InputError(
                    f"has {src.count} bands instead of one", str(path), "Choose a single-band raster"
                )
            return Band(src.read(1), src.transform, src.crs, tuple(src.bounds), src.nodata)
    except RasterioError as error:
        raise InputError(
            f"cannot be read ({error})", str(path), "Choose a raster that GDAL can open"
        ) from error


def _class_map(path: Path) -> Band:
    """The map as int32 with 0 where it is empty."""
    if not path.is_file():
        raise InputError("does not exist", str(path), "Choose a map")
    band = read_band(path)
    if band.crs is None:
        raise InputError("has no coordinate system", str(path), "Assign a CRS to it")
    values = band.values
    empty = ~np.isfinite(values)
    if band.nodata is not None:
        empty |= values == band.nodata
    ids = np.where(empty, 0, values)
    if not np.array_equal(ids, np.rint(ids)) or (
        ids.size and np.abs(ids.astype(np.float64)).max() >= 2**31 - 1
    ):
        raise InputError(
            "does not hold class ids", str(path), "Choose a class map, not a confidence or image layer"
        )
    return Band(ids.astype(np.int32), band.transform, band.crs, band.bounds, 0)


def _on_grid(pred: Band, truth: Band, path: Path) -> tuple[NDArray[np.int32], bool]:
    """The map on the truth's grid, and whether it was resampled; grids within 1/1000 pixel are the same."""
    close = np.allclose(
        tuple(pred.transform)[:6], tuple(truth.transform)[:6], rtol=0, atol=1e-3 * abs(truth.transform.a)
    )
    if pred.crs == truth.crs and pred.values.shape == truth.values.shape and close:
        return pred.values, False
    try:
        x = transform_bounds(pred.crs, truth.crs, *pred.bounds, densify_pts=21)
    except RasterioError as error:
        raise InputError(
            f"cannot be brought to the truth's CRS ({error})", str(path), "Choose another map"
        ) from error
    (x0, x1), (y0, y1) = (
        sorted((truth.bounds[0], truth.bounds[2])),
        sorted((truth.bounds[1], truth.bounds[3])),
    )
    if x[2] <= x0 or x[0] >= x1 or x[3] <= y0 or x[1] >= y1:
        raise InputError("does not overlap the scene", str(path), "Choose a map of this scene")
    out = np.zeros(truth.values.shape, np.int32)
    reproject(
        pred.values,
        out,
        src_transform=pred.transform,
        src_crs=pred.crs,
        src_nodata=0,
        dst_transform=truth.transform,
        dst_crs=truth.crs,
        dst_nodata=0,
        resampling=Resampling.nearest,
    )
    return out, True
