"""How well a head gives numbers of polygons that it has not seen, beside the random forest that people use today.

As for classes (see `judging.py`): polygons are held out, not pixels, those near each other together, as a block; and each polygon
is a witness, whatever its size. A figure is the mean over the dealings of the folds, of the squared errors for the RMSE: one head
makes the map, and the mean of several errs less than one. Intervals are of the Bayesian bootstrap (Rubin 1981, Annals of
Statistics 9): blocks weighted at random, Dirichlet(1, ..., 1), and with each its polygons (see `witnesses.bootstrap_weights`).

Shape legend: R repeats, N labelled pixels, P polygons, F features, D draws.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestRegressor

from skysense.finetune.judging import GAPS, REPEATS, Fold, overlapping, spatial_blocks
from skysense.finetune.value_head import LEVEL, polygon_means, polygon_weights
from skysense.finetune.witnesses import bootstrap_weights

#: Blocks of polygons from which on anything can be judged, and folds that they are dealt into.
MIN_BLOCKS = 5
_FOLDS = 5
_TREES = 150
_FOREST_PIXELS = 4_000
_DRAWS = 1_000
FIGURES = ("rmse", "mae", "r2", "bias")


def value_blocks(polygons: NDArray[np.int64], shapes: NDArray[np.object_], gsd: float) -> NDArray[np.int64]:
    """The blocks that polygons are held out in: of the largest of `judging.GAPS` that leaves `MIN_BLOCKS`, else of polygons that
    overlap.

    Args:
        polygons: (N,) number of the polygon of each pixel; others join nothing.
        shapes: (P,) shapely polygons by number, in a CRS of metres.
        gsd: side in metres of the pixels that means are taken over: of the layout's base, 10 m in a fused scene.

    Returns:
        (P,) see `judging.spatial_blocks`.
    """
    used, blocks = np.unique(polygons), np.arange(len(shapes))
    for gap in GAPS:
        blocks[used] = used[spatial_blocks(shapes[used], gap * gsd)]
        if len(np.unique(blocks[used])) >= MIN_BLOCKS:
            return blocks
    blocks[used] = used[overlapping(shapes[used])]
    return blocks


def value_folds(
    values: NDArray[np.float64], polygons: NDArray[np.int64], shapes: NDArray[np.object_], gsd: float
) -> list[list[Fold]]:
    """Folds of the blocks of `value_blocks` in which every pixel is judged once, dealt several times anew.

    Blocks are dealt in the order of their numbers, so that every fold has small and large ones.

    Args:
        values: (N,) number of each pixel.
        polygons, shapes, gsd: see `value_blocks`.

    Returns:
        R lists of folds; [[]] where nothing can be judged: fewer than five blocks, or a training without two numbers.
    """
    block = value_blocks(polygons, shapes, gsd)[polygons]
    numbers = np.unique(block)
    if len(numbers) < MIN_BLOCKS:
        return [[]]
    folds = min(_FOLDS, len(numbers))
    level = polygon_means(values, block)
    found: list[list[Fold]] = []
    # As many folds as blocks: there is only one way to deal them.
    for drawing in range(1 if len(numbers) <= _FOLDS else REPEATS):
        random = np.random.default_rng((drawing, 0))
        order = np.lexsort((random.random(len(numbers)), level))
        fold_of = np.empty(len(numbers), np.int64)
        for first in range(0, len(order), folds):
            rung = order[first : first + folds]
            fold_of[rung] = random.permutation(folds)[: len(rung)]
        fold = fold_of[np.searchsorted(numbers, block)]
        dealt = [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(folds)]
        if all(len(np.unique(values[train])) > 1 for train, _ in dealt):
            found.append([(train, test) for train, test in dealt if len(test)])
    return found or [[]]


def forest_values(
    x: NDArray[np.float32],
    values: NDArray[np.float64],
    polygons: NDArray[np.int64],
    folds: list[Fold],
    seed: int = 0,
) -> NDArray[np.float64]:
    """(N,) numbers that a random forest on these features gives held-out pixels; NaN for pixels in no fold.

    Args:
        x: (N, F) bands of all dates and sensors, no features of the model.
    """
    out = np.full(len(x), np.nan)
    weights = polygon_weights(polygons)
    for train, test in folds:
        chosen = np.sort(np.random.default_rng(seed).permutation(train)[:_FOREST_PIXELS])
        forest = RandomForestRegressor(_TREES, max_features=1 / 3, random_state=seed, n_jobs=-1)
        forest.fit(x[chosen], values[chosen], weights[chosen])
        out[test] = forest.predict(x[test])
    return out


def judge_values(
    values: NDArray[np.float64],
    polygons: NDArray[np.int64],
    held_out: list[NDArray[np.float64]],
    forest: NDArray[np.float64],
    blocks: NDArray[np.int64] | None = None,
) -> dict[str, Any]:
    """The report of a training on numbers.

    Args:
        values, polygons: (N,) number, and number of the polygon, of each pixel.
        held_out: R times (N,) what the head gives held-out pixels, NaN for pixels in no fold.
        forest: (N,) the same of the forest, for the first repeat.
        blocks: (P,) what was held out together, by number of the polygon, see `value_blocks`; None = each polygon by itself.

    Returns:
        JSON-able: "rmse", "mae", "bias" (given minus true) in the field's units and "r2" of the head, over means of held-out
        polygons (None where nothing can be judged), and "intervals" of the four ([low, high] of 90 %, or None); "forest" with
        the same and "difference": of the RMSE, head minus forest on the same polygons, "value" and "interval"; "scored_on" in
        words; "n_polygons", "n_pixels", "repeats"; "range": smallest, mean and largest number; "polygons": per held-out polygon
        "number" (its place among all, from 0), "true", "given" and "forest" (both in the first repeat), "n_pixels".
    """
    tested = ~np.isnan(held_out[0])
    if not tested.any():
        return values_not_judged(
            values, polygons, f"not scored: fewer than {MIN_BLOCKS} polygons lie apart from each other"
        )
    numbers, pixels = np.unique(polygons[tested], return_counts=True)
    true, other, *each = (
        polygon_means(item[tested], polygons[tested]) for item in (values, forest, *held_out)
    )
    given, other = np.stack(each), other[None]
    weights = bootstrap_weights(numbers if blocks is None else blocks[numbers], (), _DRAWS, (0,))
    own, beside = _overall(given, true, weights), _overall(other, true, weights)
    draws = [_figures(item, true, weights)["rmse"] for item in (given, other)]
    return {
        **own,
        "forest": {
            **beside,
            "difference": {
                "value": own["rmse"] - beside["rmse"],
                "interval": _interval(draws[0] - draws[1]),
            },
        },
        "scored_on": "means of polygons held out in turn",
        **_counts(values, polygons),
        "repeats": len(held_out),
        "polygons": [
            {"number": int(number), "true": t, "given": g, "forest": f, "n_pixels": int(n)}
            for number, t, g, f, n in zip(
                numbers, true.tolist(), given[0].tolist(), other[0].tolist(), pixels
            )
        ],
    }


def values_not_judged(values: NDArray[np.float64], polygons: NDArray[np.int64], why: str) -> dict[str, Any]:
    """`judge_values` of nothing; why: "not scored: …"."""
    nothing: dict[str, Any] = {**dict.fromkeys(FIGURES), "intervals": None}
    return {
        **nothing,
        "forest": {**nothing, "difference": None},
        "scored_on": why,
        **_counts(values, polygons),
        "repeats": 0,
        "polygons": [],
    }


def _counts(values: NDArray[np.float64], polygons: NDArray[np.int64]) -> dict[str, Any]:
    per_polygon = polygon_means(values, polygons)
    return {
        "n_polygons": len(per_polygon),
        "n_pixels": len(values),
        "range": [float(per_polygon.min()), float(per_polygon.mean()), float(per_polygon.max())],
    }


def _overall(
    given: NDArray[np.float64], true: NDArray[np.float64], weights: NDArray[np.float64]
) -> dict[str, Any]:
    value = _figures(given, true, np.full((1, len(true)), 1 / len(true)))
    draws = _figures(given, true, weights)
    return {
        **{name: float(value[name][0]) for name in FIGURES},
        "intervals": {name: _interval(draws[name]) for name in FIGURES},
    }


def _figures(
    given: NDArray[np.float64], true: NDArray[np.float64], weights: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """Figures (D,) under weights (D, P) that add up to 1 of what polygons (P,) are given in each repeat (R, P)."""
    error = given - true
    square = weights @ (error**2).mean(0)
    variance = weights @ true**2 - (weights @ true) ** 2
    return {
        "rmse": np.sqrt(square),
        "mae": weights @ np.abs(error).mean(0),
        "r2": 1 - square / np.maximum(variance, 1e-12 * np.maximum(1, true @ true)),
        "bias": weights @ error.mean(0),
    }


def _interval(draws: NDArray[np.float64]) -> list[float]:
    """Ends of the central 90 % of draws (D,)."""
    found: list[float] = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
    return found
