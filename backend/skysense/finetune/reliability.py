"""How often what is shown with a confidence is right: of pixels of a map, and of objects that were found."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_BINS = 10


def binned(
    confidence: NDArray[np.float64], right: NDArray[np.bool_], weight: NDArray[np.float64]
) -> dict[str, Any]:
    """Confidence beside accuracy, by ranges of confidence.

    Args:
        confidence, right, weight: (N,) 0..1, whether it is right, and how much it counts.

    Returns:
        "bins": of ten equal ranges of confidence those that hold something: "low", "high", mean "confidence" and "accuracy", all
        0..1, and "n", how many; "error": the mean distance between confidence and accuracy (expected calibration error; Guo et
        al. 2017, On calibration of modern neural networks).
    """
    place = np.minimum((confidence * _BINS).astype(np.int64), _BINS - 1)
    bins, error = [], 0.0
    for number in range(_BINS):
        inside = place == number
        if inside.any():
            mean, accuracy = (
                float(np.average(v[inside], weights=weight[inside])) for v in (confidence, right)
            )
            error += abs(mean - accuracy) * float(weight[inside].sum() / weight.sum())
            ends = {"low": number / _BINS, "high": (number + 1) / _BINS}
            bins.append({**ends, "confidence": mean, "accuracy": accuracy, "n": int(inside.sum())})
    return {"bins": bins, "error": error}
