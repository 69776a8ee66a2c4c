"""How good a trained head is, on polygons that it has not seen, beside the random forest that people use today.

Polygons, not pixels, are held out: neighbouring pixels of one polygon tell a model their labels. A class of fewer polygons
than `MIN_POLYGONS` takes part in every training and is judged in none: one polygon says nothing of how another would fare.

Shape legend: N labelled pixels, F features.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import StratifiedGroupKFold

from skysense.finetune.scores import Scores, scores

#: Polygons from which on a class can be judged.
MIN_POLYGONS = 3
_FOLDS = 5
#: Drawings of the folds that are tried until each training has every class.
_DRAWINGS = 10
_TREES = 150
#: Pixels of a class that the forest sees: more of the same polygons changes it as little as the head.
_FOREST_PIXELS = 1_000

#: Indices (n,) of the pixels to train on, and of those to judge.
Fold = tuple[NDArray[np.int64], NDArray[np.int64]]


def held_out_folds(ids: NDArray[np.int64], polygons: NDArray[np.int64]) -> list[Fold]:
    """Folds in which each pixel of a class that can be judged is judged once, by polygons.

    Args:
        ids, polygons: (N,) class and polygon of each pixel.

    Returns:
        Empty where fewer than two classes have `MIN_POLYGONS` polygons.
    """
    counts = {int(k): len(np.unique(polygons[ids == k])) for k in np.unique(ids)}
    judged = [k for k, count in counts.items() if count >= MIN_POLYGONS]
    if len(judged) < 2:
        return []
    inside, always = np.flatnonzero(np.isin(ids, judged)), np.flatnonzero(~np.isin(ids, judged))
    number = min(_FOLDS, min(counts[k] for k in judged))
    for drawing in range(_DRAWINGS):
        folder = StratifiedGroupKFold(number, shuffle=True, random_state=drawing)
        folds = [
            (np.sort(np.concatenate((inside[train], always))), inside[test])
            for train, test in folder.split(inside, ids[inside], polygons[inside])
        ]
        if all(np.isin(judged, ids[train]).all() for train, _ in folds):
            return folds
    return []


def forest_predictions(
    x: NDArray[np.float32], ids: NDArray[np.int64], folds: list[Fold], seed: int = 0
) -> NDArray[np.int64]:
    """(N,) classes that a random forest on these features gives held-out pixels; 0 for pixels that are in no fold.

    Args:
        x: (N, F) bands of all dates and sensors, no features of the model.
    """
    predicted = np.zeros_like(ids)
    for train, test in folds:
        random = np.random.default_rng(seed)
        kept = [random.permutation(train[ids[train] == k])[:_FOREST_PIXELS] for k in np.unique(ids[train])]
        chosen = np.sort(np.concatenate(kept))
        forest = RandomForestClassifier(_TREES, class_weight="balanced", random_state=seed, n_jobs=-1)
        predicted[test] = forest.fit(x[chosen], ids[chosen]).predict(x[test])
    return predicted


def judge(
    ids: NDArray[np.int64],
    polygons: NDArray[np.int64],
    folds: list[Fold],
    predicted: NDArray[np.int64],
    forest: NDArray[np.int64],
) -> dict[str, Any]:
    """The report of a training.

    Args:
        predicted, forest: (N,) classes given to held-out pixels, by the head and by the forest.

    Returns:
        JSON-able: "oa", "macro_f1", "miou" of the head (None where nothing can be judged), "forest" with the same,
        "scored_on" in words, "n_polygons", "n_pixels", "classes" (per class "id", "n_polygons", "n_pixels", and
        "precision", "recall", "f1", "iou", None where it cannot be judged), and "confusion": {"ids", "counts"}, rows =
        true class, columns = given class (of `ids`), a last one for classes that cannot be judged.
    """
    tested = np.sort(np.concatenate([test for _, test in folds])) if folds else np.zeros(0, np.int64)
    judged = np.unique(ids[tested]).tolist()
    own = scores(ids[tested], predicted[tested], judged) if judged else None
    other = scores(ids[tested], forest[tested], judged) if judged else None
    return {
        **_figures(own),
        "forest": _figures(other),
        "scored_on": "pixels of polygons held out in turn"
        if own
        else f"not scored: fewer than two classes have {MIN_POLYGONS} polygons",
        "n_polygons": len(np.unique(polygons)),
        "n_pixels": len(ids),
        "classes": [
            {
                "id": int(k),
                "n_polygons": len(np.unique(polygons[ids == k])),
                "n_pixels": int((ids == k).sum()),
                **_of_class(own, int(k)),
            }
            for k in np.unique(ids)
        ],
        "confusion": None
        if own is None
        else {"ids": judged, "counts": np.roll(own.confusion, -1, axis=1).tolist()},
    }


def _figures(found: Scores | None) -> dict[str, float | None]:
    return {name: None if found is None else getattr(found, name) for name in ("oa", "macro_f1", "miou")}


def _of_class(found: Scores | None, class_id: int) -> dict[str, float | None]:
    names = ("precision", "recall", "f1", "iou")
    if found is None or class_id not in found.class_ids:
        return dict.fromkeys(names)
    row = found.class_ids.index(class_id)
    values = {name: float(getattr(found, name)[row]) for name in names}
    return {name: None if np.isnan(value) else value for name, value in values.items()}
