"""How good a trained head is, on polygons that it has not seen, beside the random forest that people use today.

Polygons, not pixels, are held out: neighbouring pixels of one polygon tell a model their labels. Polygons so near each other
that means over neighbouring pixels overlap are held out together, as a block, and are one place in the intervals (see
`witnesses`). The base model's own features see a whole tile, so of those a held-out polygon may share what its neighbours taught:
no gap that scenes have room for would part them. A class of fewer than `MIN_POLYGONS` blocks takes part in every training and is
judged in none: one polygon says nothing of how another would fare.

Held-out pixels are judged one by one, by heads of four fifths of the polygons, though a map shows means over 5 x 5 pixels by a
head of all. On 21 drawings of the labelled scenes that matters little: with the map's means, with ten folds, or with as many as
there are polygons, the mean IoU is on average the same within a point. Its error is chance: which polygons were drawn.

Shape legend: R repeats, N labelled pixels, K classes, P polygons, F features.
"""

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier

from skysense.finetune.reliability import binned
from skysense.finetune.scores import scores
from skysense.finetune.witnesses import OF_CLASS, OVERALL, Judgement, Witnesses, judge_witnesses

#: Polygons, those that overlap counting as one, from which on a class can be judged.
MIN_POLYGONS = 3
#: Times that the polygons are dealt into folds anew: which ones are learned from together is chance.
REPEATS = 3
_FOLDS = 5
#: Drawings of the folds that are tried until each training has every class.
_DRAWINGS = 10
#: Pixels between polygons up to which windows of 5 x 5 pixels, which features and maps are averaged over, overlap; then less,
#: where so few blocks would be left that a class could not be judged.
GAPS = (4, 2, 1)
#: Share of the smaller of two polygons that lies in the other one, from which on they overlap: those that share an edge overlap by
#: slivers.
_OVERLAP = 0.01
_TREES = 150
#: Pixels of a class that the forest sees: more of the same polygons changes it as little as the head.
_FOREST_PIXELS = 1_000

#: Indices (n,) of the pixels to train on, and of those to judge.
Fold = tuple[NDArray[np.int64], NDArray[np.int64]]


def repeated_folds(
    ids: NDArray[np.int64],
    polygons: NDArray[np.int64],
    shapes: NDArray[np.object_],
    gsd: float,
    repeats: int = REPEATS,
) -> list[list[Fold]]:
    """`held_out_folds` of the blocks of `blocks_of`, dealt several times.

    Args:
        ids, polygons, shapes, gsd: see `blocks_of`.

    Returns:
        R lists of folds; [[]] where nothing can be judged.
    """
    blocks = blocks_of(ids, polygons, shapes, gsd)
    judged = _judged(ids, blocks[polygons])
    number = len(np.unique(blocks[polygons[np.isin(ids, judged)]]))
    # As many folds as blocks: there is only one way to deal them.
    drawings = range(1 if number <= _FOLDS else repeats)
    found = [held_out_folds(ids, polygons, blocks, drawing) for drawing in drawings]
    return [folds for folds in found if folds] or [[]]


def blocks_of(
    ids: NDArray[np.int64], polygons: NDArray[np.int64], shapes: NDArray[np.object_], gsd: float
) -> NDArray[np.int64]:
    """The blocks that polygons are held out in: of the largest of `GAPS` that leaves every class enough of them to be judged, else
    of polygons that overlap. What has too few of these by itself is not judged, and has no say.

    Args:
        ids, polygons: (N,) class, and number of the polygon, of each pixel.
        shapes: (P,) shapely polygons by number, in a CRS of metres.
        gsd: side in metres of the pixels that means are taken over: of the layout's base, 10 m in a fused scene.

    Returns:
        (P,) see `spatial_blocks`.
    """
    least = overlapping(shapes)
    judged = _judged(ids, least[polygons])
    for gap in GAPS:
        joined = spatial_blocks(shapes, gap * gsd)
        if set(judged) <= set(_judged(ids, joined[polygons])):
            return joined
    return least


def spatial_blocks(shapes: NDArray[np.object_], gap: float) -> NDArray[np.int64]:
    """Blocks of polygons: those at most `gap` apart are in one, and so are their neighbours in turn.

    Args:
        shapes: (P,) shapely polygons.
        gap: in the shapes' units.

    Returns:
        (P,) the lowest number of a polygon in each one's block.
    """
    one, other = shapely.STRtree(shapes).query(shapes, predicate="dwithin", distance=gap)
    return _connected(len(shapes), one, other)


def overlapping(shapes: NDArray[np.object_]) -> NDArray[np.int64]:
    """Blocks of polygons that lie on each other, as of `spatial_blocks`; those that only share an edge are apart."""
    one, other = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    one, other = one[one < other], other[one < other]
    shared = shapely.area(shapely.intersection(shapes[one], shapes[other]))
    area = shapely.area(shapes)
    # Points have no area, nor have they slivers.
    on = shared >= _OVERLAP * np.minimum(area[one], area[other])
    one, other = one[on], other[on]
    return _connected(len(shapes), np.append(one, other), np.append(other, one))


def _connected(number: int, one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    """(number,) the lowest member of each one's connected component; pairs (E,) are given both ways."""
    block = np.arange(number)
    while True:
        lowest = block.copy()
        np.minimum.at(lowest, one, block[other])
        if np.array_equal(lowest, block):
            return block
        block = lowest


def held_out_folds(
    ids: NDArray[np.int64],
    polygons: NDArray[np.int64],
    blocks: NDArray[np.int64] | None = None,
    drawing: int = 0,
) -> list[Fold]:
    """Folds in which each pixel of a class that can be judged is judged once, by whole blocks of polygons.

    Args:
        ids, polygons: (N,) class, and number of the polygon, of each pixel.
        blocks: the block of each polygon, by number; None = each is one of its own.
        drawing: another number deals the blocks otherwise.

    Returns:
        Empty where fewer than two classes have `MIN_POLYGONS` blocks, or where no dealing leaves each fold every class
        to learn from.
    """
    block = polygons if blocks is None else blocks[polygons]
    judged = _judged(ids, block)
    if len(judged) < 2:
        return []
    inside = np.isin(ids, judged)
    by_class = {k: np.unique(block[ids == k]) for k in judged}
    # A block's class is the rarest in it: the blocks of each class are dealt in turn, the rarest first.
    dealt: dict[int, int] = {}
    for turn, k in enumerate(sorted(judged, key=lambda k: (len(by_class[k]), k))):
        for number in by_class[k].tolist():
            dealt.setdefault(number, turn)
    numbers = np.array(list(dealt))
    folds = min(_FOLDS, len(numbers))
    for attempt in range(_DRAWINGS):
        random = np.random.default_rng((drawing, attempt))
        order = sorted(random.permutation(numbers).tolist(), key=lambda number: dealt[number])
        fold_of = {number: place % folds for place, number in enumerate(order)}
        fold = np.array([fold_of.get(number, -1) for number in block.tolist()])
        found = [
            (np.flatnonzero((fold != number) | ~inside), np.flatnonzero((fold == number) & inside))
            for number in range(folds)
        ]
        if all(np.isin(judged, ids[train]).all() for train, _ in found):
            return found
    return []


def forest_probabilities(
    x: NDArray[np.float32], ids: NDArray[np.int64], folds: list[Fold], seed: int = 0
) -> NDArray[np.float32]:
    """(N, K) class probabilities that a random forest on these features gives held-out pixels; NaN for pixels in no fold.

    Args:
        x: (N, F) bands of all dates and sensors, no features of the model.
    """
    classes = np.unique(ids)
    out = np.full((len(ids), len(classes)), np.nan, np.float32)
    for train, test in folds:
        random = np.random.default_rng(seed)
        kept = [random.permutation(train[ids[train] == k])[:_FOREST_PIXELS] for k in np.unique(ids[train])]
        chosen = np.sort(np.concatenate(kept))
        forest = RandomForestClassifier(_TREES, class_weight="balanced", random_state=seed, n_jobs=-1)
        forest.fit(x[chosen], ids[chosen])
        out[test] = 0
        out[np.ix_(test, np.searchsorted(classes, forest.classes_))] = forest.predict_proba(x[test])
    return out


def judge(
    ids: NDArray[np.int64],
    polygons: NDArray[np.int64],
    held_out: list[NDArray[np.float32]],
    forest: NDArray[np.float32],
    bands_only: list[NDArray[np.float32]] | None = None,
    blocks: NDArray[np.int64] | None = None,
) -> dict[str, Any]:
    """The report of a training: what the map's scores will be, from each polygon's as a witness (see `witnesses`).

    Args:
        ids, polygons: (N,) class, and number of the polygon, of each pixel.
        held_out: R times (N, K) probabilities that the head gives held-out pixels, columns = the classes of `ids` in
            ascending order, NaN for pixels in no fold.
        forest: (N, K) the same of the forest, for the first repeat.
        bands_only: as `held_out`, of the same head without the model's features.
        blocks: (P,) what was held out together, by number of the polygon, see `blocks_of`; None = each polygon by itself.

    Returns:
        JSON-able: "oa", "macro_f1", "miou" of the head (None where nothing can be judged) and "intervals" of the three
        ([low, high] of 90 %, or None); "forest" with the same, with "classes", and with "difference": of each of the
        three, head minus forest on the same polygons, "value" and "interval"; "bands_only" with the same, but for "classes", or None;
        "scored_on" in words; "n_polygons", "n_pixels", "repeats"; "classes" (per class "id", "n_polygons", "n_pixels", "precision", "recall", "f1", "iou" and
        "intervals" of the four; None where it cannot be judged); "confusion": {"ids", "counts", "shares"}, rows = true
        class, columns = given class (of "ids"), a last one for classes that cannot be judged, counts = held-out pixels,
        each counted once in every repeat, shares = the mean over polygons; "reliability": see `reliability`. The last
        two are None where nothing can be judged.
    """
    classes = np.unique(ids)
    tested = ~np.isnan(held_out[0][:, 0])
    if not tested.any():
        return not_judged(
            ids,
            polygons,
            f"not scored: fewer than two classes have {MIN_POLYGONS} polygons that do not overlap",
        )
    true = np.searchsorted(classes, ids[tested])
    probabilities = [item[tested] for item in held_out]
    polygon = np.unique(polygons[tested], return_inverse=True)[1]
    own = _witnesses(ids, polygons, held_out, blocks)
    others = [[forest]] if bands_only is None else [[forest], bands_only]
    head, other, *bands = judge_witnesses(own, *(_witnesses(ids, polygons, item, blocks) for item in others))
    judged = np.unique(true)
    return {
        **_overall(head),
        "forest": {
            **_beside(head, other),
            "classes": [{"id": int(classes[k]), **_of_class(other, row)} for row, k in enumerate(judged)],
        },
        "bands_only": _beside(head, bands[0]) if bands else None,
        "scored_on": "pixels of polygons held out in turn",
        **_counts(ids, polygons, head, classes[judged]),
        "repeats": len(held_out),
        "confusion": _confusion(true, probabilities, own, classes),
        "reliability": reliability(true, polygon, probabilities),
    }


def overall(
    ids: NDArray[np.int64],
    polygons: NDArray[np.int64],
    held_out: list[NDArray[np.float32]],
    blocks: NDArray[np.int64] | None = None,
) -> dict[str, Any]:
    """Of another head by the same estimate, arguments as of `judge`: "oa", "macro_f1", "miou" and their "intervals", or None each."""
    if np.isnan(held_out[0]).all():
        return _overall(None)
    return _overall(judge_witnesses(_witnesses(ids, polygons, held_out, blocks))[0])


def not_judged(ids: NDArray[np.int64], polygons: NDArray[np.int64], why: str) -> dict[str, Any]:
    """A report as `judge` gives it that says how much was drawn and no more.

    Args:
        why: there are no figures; its "scored_on".
    """
    return {
        **_overall(None),
        "forest": {**_overall(None), "difference": None, "classes": []},
        "bands_only": None,
        "scored_on": why,
        **_counts(ids, polygons, None),
        "repeats": 0,
        "confusion": None,
        "reliability": None,
    }


def reliability(
    true: NDArray[np.int64], polygons: NDArray[np.int64], probabilities: list[NDArray[np.float32]]
) -> dict[str, Any]:
    """How often the shown class is right, by the confidence that is shown with it.

    Args:
        true: (N,) index of each pixel's class, 0..K-1.
        polygons: (N,) index of its polygon, 0..P-1; every polygon counts the same.
        probabilities: R times (N, K).

    Returns:
        See `reliability.binned`; "n" are pixels, each counted once in every repeat.
    """
    confidence = np.concatenate([item.max(1) for item in probabilities]).astype(np.float64)
    right = np.concatenate([item.argmax(1) == true for item in probabilities])
    return binned(confidence, right, np.tile(1 / np.bincount(polygons)[polygons], len(probabilities)))


def _judged(ids: NDArray[np.int64], blocks: NDArray[np.int64]) -> list[int]:
    """The classes with enough blocks; class and block of each pixel (N,)."""
    return [int(k) for k in np.unique(ids) if len(np.unique(blocks[ids == k])) >= MIN_POLYGONS]


def _witnesses(
    ids: NDArray[np.int64],
    polygons: NDArray[np.int64],
    held_out: list[NDArray[np.float32]],
    blocks: NDArray[np.int64] | None,
) -> Witnesses:
    """The polygons that pixels were held out of; arguments as of `judge`."""
    tested = ~np.isnan(held_out[0][:, 0])
    true = np.searchsorted(np.unique(ids), ids[tested])
    number, first, polygon = np.unique(polygons[tested], return_index=True, return_inverse=True)
    shares = np.mean([_shares(item[tested], polygon) for item in held_out], axis=0)
    return Witnesses(true[first], shares, None if blocks is None else blocks[number])


def _shares(probabilities: NDArray[np.float32], polygon: NDArray[np.int64]) -> NDArray[np.float64]:
    """(P, K) shares of each polygon's pixels that get each class; `polygon` (N,) is 0..P-1."""
    count = np.zeros((int(polygon.max()) + 1, probabilities.shape[1]))
    np.add.at(count, (polygon, probabilities.argmax(1)), 1)
    return count / count.sum(1, keepdims=True)


def _overall(found: Judgement | None) -> dict[str, Any]:
    if found is None:
        return {**dict.fromkeys(OVERALL), "intervals": None}
    return {
        **{name: float(found.value[name]) for name in OVERALL},
        "intervals": {name: found.interval(name).tolist() for name in OVERALL},
    }


def _difference(head: Judgement, other: Judgement, name: str) -> dict[str, Any]:
    value, ends = head.difference(other, name)
    return {"value": value, "interval": ends.tolist()}


def _beside(head: Judgement, other: Judgement) -> dict[str, Any]:
    return {
        **_overall(other),
        "difference": {name: _difference(head, other, name) for name in OVERALL},
    }


def _of_class(found: Judgement, row: int) -> dict[str, Any]:
    return {
        **{name: float(found.value[name][row]) for name in OF_CLASS},
        "intervals": {name: found.interval(name)[:, row].tolist() for name in OF_CLASS},
    }


def _counts(
    ids: NDArray[np.int64],
    polygons: NDArray[np.int64],
    found: Judgement | None,
    judged: NDArray[np.int64] | None = None,
) -> dict[str, Any]:
    """How much was drawn, and per class also how well it is mapped, where it is `judged`."""
    rows = {} if judged is None else {int(k): row for row, k in enumerate(judged)}
    nothing = {**dict.fromkeys(OF_CLASS), "intervals": None}
    return {
        "n_polygons": len(np.unique(polygons)),
        "n_pixels": len(ids),
        "classes": [
            {
                "id": int(k),
                "n_polygons": len(np.unique(polygons[ids == k])),
                "n_pixels": int((ids == k).sum()),
                **(_of_class(found, rows[int(k)]) if found and int(k) in rows else nothing),
            }
            for k in np.unique(ids)
        ],
    }


def _confusion(
    true: NDArray[np.int64],
    probabilities: list[NDArray[np.float32]],
    polygons: Witnesses,
    classes: NDArray[np.int64],
) -> dict[str, Any]:
    judged = np.unique(true)
    counts = sum(scores(true, item.argmax(1), judged.tolist()).confusion for item in probabilities)
    shares = np.stack([polygons.shares[polygons.true == k].mean(0) for k in judged])
    known = shares[:, judged]
    return {
        "ids": classes[judged].tolist(),
        "counts": np.roll(counts, -1, axis=1).tolist(),
        "shares": np.column_stack((known, 1 - known.sum(1))).clip(0, 1).tolist(),
    }
