"""How good are a model's frozen features by themselves: a linear probe and nearest neighbours on one labelled scene.

Nothing but the model's features is looked at, no spectral values beside them. The probe is fitted to the pixels of
the labelled polygons and scored where the scene's `truth.tif` and `eval_mask.tif` say so, or, without truth, on
polygons held out in turn.

Shape legend: N pixels, F features, K classes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio.transform
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.neighbors import KNeighborsClassifier

from skysense.errors import InputError
from skysense.finetune.collect import collect, gather
from skysense.finetune.features import FeatureExtractor
from skysense.finetune.labels import PixelLabels, read_labels
from skysense.finetune.lanes import Lanes
from skysense.finetune.scores import Scores, read_band, scores
from skysense.jobs.control import JobControl
from skysense.model.regions import match_note
from skysense.model.skysense import SkySense
from skysense.raster.crs import crs_text, transformer
from skysense.raster.layout import Layout, plan_layout
from skysense.raster.reader import SceneReader
from skysense.raster.tiles import Tile, Tiling, plan_tiles
from skysense.scene.acquisition import Labels, Scene
from skysense.scene.validate import check

#: Inverse strengths of the ridge penalty that are tried, for features scaled to unit variance.
C_GRID = tuple(10.0**k for k in np.arange(-5, 1.01, 0.5))
_FOLDS, _NEIGHBOURS = 5, 5
_RISING = 1e-3  # share by which a loss must grow to have passed its minimum
#: Labelled pixels per class, and pixels on which the neighbours are scored: enough for both, and affordable.
_PIXELS_PER_CLASS, _SCORED_BY_NEIGHBOURS = 1_000, 20_000
_ROWS = 100_000  # pixels whose features are in memory at a time


def probe_scene(
    scene: Scene,
    labels: Labels,
    model: SkySense,
    control: JobControl,
    *,
    eval_mask: Path | None = None,
    seed: int = 0,
    fusion_stride: int = 1,
) -> dict[str, Any]:
    """Judge a model's frozen features on one scene.

    Args:
        scene, labels: imagery and polygons.
        model: in eval mode, on its device.
        eval_mask: the pixels to score, on the truth's grid; None: the scene's `eval_mask.tif`.
        seed: of the drawing of labelled pixels, where there are more than are used.

    Returns:
        {"linear": {"oa", "macro_f1", "miou", "per_class", "C"}, "knn": {the same, "k" for "C", "n_eval"},
        "n_train", "n_eval", "features", "scored_on"}. Means are over the classes that the scored pixels hold.

    Raises:
        InputError: the scene or the labels cannot be used; Cancelled.
    """
    check(scene, control.note)
    layout = plan_layout(scene)
    tiling = plan_tiles(layout)
    polygons = read_labels(labels, layout.base.crs, scene.root)
    with SceneReader(scene) as reader:
        extractor = FeatureExtractor(model, reader, layout, tiling, {}, (), fusion_stride, spectral=False)
        if note := match_note(extractor.geo_matches(tiling.over(layout.area))):
            control.note(note)
        x, ids, groups, blocks = collect(
            extractor, tiling, layout, PixelLabels(polygons), polygons.source, seed, control.share(0, 0.4)
        )
        x, ids, groups = _draw(x, ids, groups, seed)
        if len(np.unique(ids)) < 2:
            raise InputError(
                "only one class has polygons on valid pixels of the imagery",
                polygons.source,
                "Draw polygons of at least two classes inside the area",
            )
        mean, std = x.mean(0), x.std(0)
        std = np.where(std > 1e-6 * (1 + np.abs(mean)), std, np.inf).astype(np.float32)
        control.progress(0.4, "Fitting the probe")
        strength = _best_strength((x - mean) / std, ids, groups)
        linear, knn = _fit_linear((x - mean) / std, ids, strength), _fit_neighbours((x - mean) / std, ids)
        truth = _read_truth(scene, layout, eval_mask, polygons.names)
        if truth is None:
            found = _held_out((x - mean) / std, ids, groups, strength)
            scored_on, n_eval = "polygons held out in turn", len(ids)
        else:

            def standard(rows: NDArray[np.float32]) -> NDArray[np.float32]:
                return np.asarray((rows - mean) / std, np.float32)

            found = _score(
                extractor,
                tiling,
                layout,
                truth,
                {"linear": linear, "knn": knn},
                standard,
                control.share(0.5, 1),
            )
            scored_on, n_eval = "truth.tif", len(truth.ids)
    control.progress(1.0, "Probed")
    return {
        "linear": _summary(found["linear"], polygons.names) | {"C": strength},
        "knn": _summary(found["knn"], polygons.names)
        | {"k": _NEIGHBOURS, "n_eval": int(found["knn"].confusion.sum())},
        "n_train": len(ids),
        "n_eval": n_eval,
        "features": {block.name: block.dim for block in blocks},
        "scored_on": scored_on,
    }


@dataclass(frozen=True)
class _Truth:
    """Scored pixels: rows, cols (N,) of the compute lattice, class ids (N,)."""

    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    ids: NDArray[np.int64]


def _draw(
    x: NDArray[np.float32], ids: NDArray[np.int64], groups: NDArray[np.int64], seed: int
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    random = np.random.default_rng(seed)
    keep = [random.permutation(np.flatnonzero(ids == value))[:_PIXELS_PER_CLASS] for value in np.unique(ids)]
    chosen = np.sort(np.concatenate(keep))
    return x[chosen], ids[chosen], groups[chosen]


def _fit_linear(x: NDArray[np.float32], ids: NDArray[np.int64], strength: float) -> LogisticRegression:
    model = LogisticRegression(C=strength, class_weight="balanced", max_iter=1000, tol=1e-4)
    return model.fit(x, ids)


def _fit_neighbours(x: NDArray[np.float32], ids: NDArray[np.int64]) -> KNeighborsClassifier:
    k = min(_NEIGHBOURS, len(ids))
    return KNeighborsClassifier(k, metric="cosine", algorithm="brute", weights="distance").fit(x, ids)


def _folds(ids: NDArray[np.int64], groups: NDArray[np.int64]) -> StratifiedGroupKFold | None:
    """Folds that never split a polygon; None where a class has a single one."""
    fewest = min(len(np.unique(groups[ids == value])) for value in np.unique(ids))
    return StratifiedGroupKFold(min(_FOLDS, fewest), shuffle=True, random_state=0) if fewest > 1 else None


def _best_strength(x: NDArray[np.float32], ids: NDArray[np.int64], groups: NDArray[np.int64]) -> float:
    """C with the least class-balanced log loss on polygons held out in turn; 0.01 where that cannot be found out.

    Of several minima the one at the strongest penalty: what comes after it are confident probabilities that a few polygons
    happen to bear out.
    """
    folds = _folds(ids, groups)
    if folds is None:
        return 0.01
    classes, counts = np.unique(ids, return_counts=True)
    weight = (1 / counts)[np.searchsorted(classes, ids)]
    losses = np.zeros(len(C_GRID))
    for train, test in folds.split(x, ids, groups):
        if len(np.unique(ids[train])) < len(classes):
            return 0.01
        for place, strength in enumerate(C_GRID):
            model = _fit_linear(x[train], ids[train], strength)
            losses[place] += log_loss(
                ids[test],
                model.predict_proba(x[test]),
                labels=classes,
                sample_weight=weight[test],
                normalize=False,
            )
    rising = np.flatnonzero(np.diff(losses) > _RISING * losses[:-1])
    return float(C_GRID[int(losses[: rising[0] + 1 if len(rising) else None].argmin())])


def _held_out(
    x: NDArray[np.float32], ids: NDArray[np.int64], groups: NDArray[np.int64], strength: float
) -> dict[str, Scores]:
    folds = _folds(ids, groups)
    if folds is None:
        raise InputError(
            "cannot be judged: a class has one polygon only, and the scene has no truth.tif",
            "labels",
            "Draw at least two polygons of each class",
        )
    linear, knn = np.zeros_like(ids), np.zeros_like(ids)
    for train, test in folds.split(x, ids, groups):
        linear[test] = _fit_linear(x[train], ids[train], strength).predict(x[test])
        knn[test] = _fit_neighbours(x[train], ids[train]).predict(x[test])
    classes = np.unique(ids).tolist()
    return {"linear": scores(ids, linear, classes), "knn": scores(ids, knn, classes)}


def _read_truth(scene: Scene, layout: Layout, eval_mask: Path | None, names: dict[int, str]) -> _Truth | None:
    """The scored pixels by the compute pixel that holds their centre; None where the scene has no truth."""
    if scene.root is None or not (scene.root / "truth.tif").is_file():
        if eval_mask is not None:
            raise InputError(
                "has no truth.tif that a mask could select from", scene.name, "Leave the mask out"
            )
        return None
    path = scene.root / "truth.tif"
    truth = read_band(path)
    if truth.crs is None:
        raise InputError("has no coordinate system", str(path), "Assign a CRS to it")
    chosen = truth.values > 0
    mask_path = eval_mask or scene.root / "eval_mask.tif"
    if mask_path.is_file():
        mask = read_band(mask_path).values
        if mask.shape != chosen.shape:
            raise InputError("the mask's grid is not the truth's", str(mask_path), "Choose this scene's mask")
        chosen &= mask > 0
    elif eval_mask is not None:
        raise InputError("does not exist", str(eval_mask), "Choose the mask of the scored pixels")
    rows, cols = np.nonzero(chosen)
    ids = truth.values[rows, cols].astype(np.int64)
    if not np.isin(ids, list(names)).any():
        raise InputError(
            f"no scored pixel holds a class id of the labels ({sorted(names)})",
            str(path),
            "Choose the field whose ids the truth has, or another mask",
        )
    x, y = rasterio.transform.xy(truth.transform, rows, cols)
    x, y = transformer(crs_text(truth.crs), layout.base.crs).transform(x, y)
    lattice = layout.compute
    at_rows = np.floor((lattice.y0 - np.asarray(y)) / lattice.gsd).astype(np.int64)
    at_cols = np.floor((np.asarray(x) - lattice.x0) / lattice.gsd).astype(np.int64)
    return _Truth(at_rows, at_cols, ids)


def _score(
    extractor: FeatureExtractor,
    tiling: Tiling,
    layout: Layout,
    truth: _Truth,
    models: dict[str, Any],
    standard: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    control: JobControl,
) -> dict[str, Scores]:
    """Predict every scored pixel (by neighbours a sample of them), tile by tile."""
    total = len(truth.ids)
    by_neighbours = np.zeros(total, bool)
    order = np.random.default_rng(0).permutation(total)
    by_neighbours[order[:_SCORED_BY_NEIGHBOURS]] = True
    found = {name: np.zeros(total, np.int64) for name in models}
    tiles = list(tiling.over(layout.area))

    def scored() -> Iterator[tuple[Tile, NDArray[np.int64]]]:
        for number, tile in enumerate(tiles):
            control.progress(number / len(tiles), "Scoring")
            core = tile.core
            inside = np.flatnonzero(
                (truth.rows >= core.row)
                & (truth.rows < core.row + core.height)
                & (truth.cols >= core.col)
                & (truth.cols < core.col + core.width)
            )
            if len(inside):
                yield tile, inside

    with Lanes(extractor) as lanes:
        for tile, inside, features in lanes.features(scored()):
            rows, cols = truth.rows[inside] - tile.core.row, truth.cols[inside] - tile.core.col
            seen = features.valid[rows, cols]
            inside, rows, cols = inside[seen], rows[seen], cols[seen]
            for start in range(0, len(inside), _ROWS):
                part = slice(start, start + _ROWS)
                where = inside[part]
                x = standard(gather(features, extractor.blocks, rows[part], cols[part]))
                found["linear"][where] = models["linear"].predict(x)
                some = by_neighbours[where]
                if some.any():
                    found["knn"][where[some]] = models["knn"].predict(x[some])
    classes = np.unique(truth.ids).tolist()
    return {
        "linear": scores(truth.ids, found["linear"], classes),
        "knn": scores(truth.ids[by_neighbours], found["knn"][by_neighbours], classes),
    }


def _summary(result: Scores, names: dict[int, str]) -> dict[str, Any]:
    return {
        "oa": round(result.oa, 4),
        "macro_f1": round(result.macro_f1, 4),
        "miou": round(result.miou, 4),
        "per_class": {
            names.get(value, str(value)): {"iou": round(float(iou), 4), "f1": round(float(f1), 4)}
            for value, iou, f1, n in zip(result.class_ids, result.iou, result.f1, result.n_truth, strict=True)
            if n
        },
    }
