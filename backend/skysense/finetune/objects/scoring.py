"""How good detections are: matched with what was drawn, average precision, F1, and how far chance reaches."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skysense.finetune.objects.boxes import Boxes, nearness, overlaps
from skysense.finetune.objects.detect import Found
from skysense.finetune.witnesses import interval

#: Intersection over union from which a box has found an object.
IOU = 0.5
_DRAWS = 1_000


@dataclass(frozen=True)
class Matches:
    """Detections and whether each has found an object.

    Attributes:
        scores, right, classes, blocks: (D,) of each detection.
        objects: (N,) classes of what was drawn; object_blocks: (N,) its blocks.
    """

    scores: NDArray[np.float64]
    right: NDArray[np.bool_]
    classes: NDArray[np.int64]
    blocks: NDArray[np.int64]
    objects: NDArray[np.int64]
    object_blocks: NDArray[np.int64]


def matched(
    found: Found, boxes: Boxes, classes: NDArray[np.int64], tolerance: float | None, overlap: float = IOU
) -> NDArray[np.bool_]:
    """(D,) whether each detection has found a drawn object of its class that no surer one has found.

    Args:
        tolerance: distance of centres, where objects have no size; None: boxes are compared.
        overlap: intersection over union from which a box has found an object.
    """
    right = np.zeros(len(found.scores), bool)
    if not len(boxes) or not len(right):
        return right
    if tolerance is None:
        i, j, match = overlaps(found.boxes, boxes)
        good = (match >= overlap) & (found.classes[i] == classes[j])
    else:
        i, j, match = nearness(found.boxes, boxes, tolerance)
        good = found.classes[i] == classes[j]
    i, j, match = i[good], j[good], match[good]
    taken = np.zeros(len(boxes), bool)
    for place in np.lexsort((j, -match, i, -found.scores[i])):
        if not right[i[place]] and not taken[j[place]]:
            right[i[place]] = taken[j[place]] = True
    return right


def average_precision(
    scores: NDArray[np.float64], right: NDArray[np.bool_], weights: NDArray[np.float64], objects: float
) -> float:
    """Area under precision over recall, precision made monotonous (Everingham et al. 2010, all points).

    Args:
        weights: (D,) how often each detection counts.
        objects: how many there are to be found.
    """
    order = np.argsort(-scores, kind="stable")
    hits, all_ = np.cumsum((weights * right)[order]), np.cumsum(weights[order])
    if not objects or not len(hits):
        return 0.0
    precision = np.maximum.accumulate((hits / np.maximum(all_, 1e-12))[::-1])[::-1]
    recall = hits / objects
    return float((np.diff(recall, prepend=0.0) * precision).sum())


def mean_average_precision(found: Matches, blocks: NDArray[np.float64] | None = None) -> float:
    """Over the classes that were drawn; blocks: how often each block counts, by its number (None: once)."""
    weights = np.ones(len(found.scores)) if blocks is None else blocks[found.blocks]
    drawn = np.ones(len(found.objects)) if blocks is None else blocks[found.object_blocks]
    parts = []
    for k in np.unique(found.objects[drawn > 0]):
        own = found.classes == k
        parts.append(
            average_precision(
                found.scores[own], found.right[own], weights[own], drawn[found.objects == k].sum()
            )
        )
    return float(np.mean(parts)) if parts else 0.0


def best_threshold(found: Matches, least: float) -> float:
    """The score from which on detections are kept so that F1 over all classes is best: halfway to the next one, or to `least`."""
    order = np.argsort(-found.scores, kind="stable")
    scores, hits = found.scores[order], np.cumsum(found.right[order])
    if not len(scores) or not hits[-1]:
        return 0.5
    f1 = 2 * hits / (np.arange(1, len(hits) + 1) + len(found.objects))
    f1[:-1][scores[:-1] == scores[1:]] = 0  # equal scores are kept or left together
    best = int(f1.argmax())
    below = scores[best + 1] if best + 1 < len(scores) else least
    return float((scores[best] + below) / 2)


def figures(found: Matches, threshold: float) -> dict[str, Any]:
    """F1, precision, recall and average precision, with the 90 % interval of each from a bootstrap over blocks.

    Returns:
        {"f1", "precision", "recall", "ap", "intervals": {name: [low, high]}, "classes": [{"place", "n_objects", "found", "right",
        and the four figures}]}.
    """
    kept = found.scores >= threshold
    count = int(max(found.blocks.max(initial=0), found.object_blocks.max(initial=0))) + 1
    hits = np.bincount(found.blocks[kept & found.right], minlength=count)
    given = np.bincount(found.blocks[kept], minlength=count)
    drawn = np.bincount(found.object_blocks, minlength=count)
    there = np.flatnonzero(drawn + given)
    random = np.random.default_rng(0)
    draws = np.zeros((_DRAWS, count))
    for row in draws:
        row[:] = np.bincount(random.choice(there, len(there)), minlength=count)
    value = _shares(hits.sum(), given.sum(), drawn.sum())
    value["ap"] = mean_average_precision(found)
    drawn_values = _shares(draws @ hits, draws @ given, draws @ drawn)
    drawn_values["ap"] = np.array([mean_average_precision(found, row) for row in draws])
    intervals = {
        name: [
            round(float(end), 4) for end in interval(np.asarray(value[name]), np.asarray(drawn_values[name]))
        ]
        for name in value
    }
    classes = []
    for k in np.unique(found.objects).tolist():
        own, n = found.classes == k, int((found.objects == k).sum())
        right, all_ = int((own & kept & found.right).sum()), int((own & kept).sum())
        parts = {name: float(part) for name, part in _shares(right, all_, n).items()}
        ap = average_precision(found.scores[own], found.right[own], np.ones(int(own.sum())), n)
        classes.append({"place": k, "n_objects": n, "found": all_, "right": right, **parts, "ap": ap})
    return {**{n: float(v) for n, v in value.items()}, "intervals": intervals, "classes": classes}


def _shares(hits: Any, given: Any, drawn: Any) -> dict[str, Any]:
    return {
        "f1": 2 * hits / np.maximum(given + drawn, 1),
        "precision": hits / np.maximum(given, 1),
        "recall": hits / np.maximum(drawn, 1),
    }
