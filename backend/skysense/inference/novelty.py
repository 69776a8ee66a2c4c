"""How unlike all that is labelled a place is: the dissimilarity index and its threshold of Meyer, H. and Pebesma, E. (2021),
Predicting into unknown space? Estimating the area of applicability of spatial prediction models, Methods in Ecology and
Evolution 12, 1620-1633 (sections 2.2 and 2.3), in the space of standardised features.

Shape legend: N pixels, L labelled pixels, F features.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skysense.errors import InputError
from skysense.inference.embedding import Scaling
from skysense.inference.places import Places

#: Labelled pixels that places are held against, at most, drawn at random.
_LABELLED = 1_000
#: Places whose distances are in memory at a time.
_AT_ONCE = 8_192


@dataclass(frozen=True)
class Novelty:
    """Distances to labelled pixels.

    Attributes:
        labelled: (L, F), standardised.
        threshold: the distance beyond which a place is unlike anything labelled: the upper whisker (Q75 + 1.5 IQR, at most the
            largest) of the labelled pixels' distances to the nearest one of another polygon.
    """

    scaling: Scaling
    labelled: NDArray[np.float32]
    threshold: float

    @classmethod
    def of(cls, places: Places, scaling: Scaling, where: str) -> "Novelty":
        """From the labelled pixels.

        Args:
            where: the labels as the user knows them.

        Raises:
            InputError: fewer than two polygons or points hold some.
        """
        keep = np.random.default_rng(0).permutation(len(places.shapes))[:_LABELLED]
        labelled, shapes = scaling.standard(places.features[keep]), places.shapes[keep]
        if len(np.unique(shapes)) < 2:
            raise InputError(
                "fewer than two polygons or points lie on the embedding",
                where,
                "Draw more, or leave out the embedding",
            )
        between = _distances(labelled, labelled)
        between[shapes[:, None] == shapes[None]] = np.inf
        nearest = between.min(1)
        low, high = np.quantile(nearest, (0.25, 0.75))
        return cls(scaling, labelled, float(max(min(high + 1.5 * (high - low), nearest.max()), 1e-6)))

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N,) distance of pixels (N, F) to the nearest labelled pixel, in thresholds: above 1 = unlike anything labelled."""
        x = self.scaling.standard(features)
        parts = [_distances(x[i : i + _AT_ONCE], self.labelled).min(1) for i in range(0, len(x), _AT_ONCE)]
        return (np.concatenate(parts) / self.threshold).astype(np.float32)


def _distances(x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float32]:
    """Euclidean distances (N, L) of (N, F) and (L, F)."""
    squares = (x * x).sum(1)[:, None] + (y * y).sum(1)[None] - 2 * (x @ y.T)
    return np.sqrt(np.maximum(squares, 0))
