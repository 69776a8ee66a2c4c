"""What held-out polygons, each a witness, say of a map's scores, and how sure that is.

A polygon of 4,000 pixels is one witness: its pixels resemble each other, so it counts as much as a small one. A figure is
computed from the matrix of the shares in which a class's polygons are mapped as each class, and classes weigh as much as they
have polygons.

The figures are the witnesses' own. With few of them a perfect record proves little: of three polygons that were mapped without
error a fourth may well not be. So for the intervals an imagined polygon is added, half of it mapped right and half as the other
classes, which is Jeffreys' prior for a proportion (Brown, Cai and DasGupta 2001, Interval estimation for a binomial proportion,
Statistical Science 16): one to each class for the figures of single classes, and one to all classes together, shared out alike,
for the figures of the map. One to each would pull the map's figures down by as much as a class's, however many classes there are,
while the mean over them becomes surer: of worlds of six classes that are nearly all right, the intervals hold the truth in half.
Intervals are of the Bayesian bootstrap (Rubin 1981, Annals of Statistics 9): the polygons of each class are weighted at random,
Dirichlet(1, ..., 1, a, a) with the two imagined parts last. Where every polygon is all right or all wrong, that is Jeffreys'
interval.

Polygons that were held out together are neighbours and fare alike: in the figures each is one, but five fields of twelve polygons
each are five places. So it is the blocks of each class that are weighted at random, and each polygon weighs as much as its block
has drawn; the imagined polygon weighs as much as a block of average size.

Shape legend: P polygons, B blocks of a class, K classes that can be given, J of them that are judged, D draws.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skysense.finetune.scores import Scores

#: The chance with which an interval holds the truth.
LEVEL = 0.9
OVERALL = ("oa", "macro_f1", "miou")
OF_CLASS = ("precision", "recall", "f1", "iou")
_DRAWS = 1_000
_PRIOR = 0.5


@dataclass(frozen=True)
class Witnesses:
    """Held-out polygons.

    Attributes:
        true: (P,) index of each polygon's class, 0..K-1; those that occur are the judged classes.
        shares: (P, K) float64, shares of its pixels that are mapped as each class; rows add up to 1.
        block: (P,) number of the block that it was held out in; None = each is one of its own.
    """

    true: NDArray[np.int64]
    shares: NDArray[np.float64]
    block: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Judgement:
    """Figures by name, `OVERALL` and `OF_CLASS`: the witnesses' own, and the draws'.

    Attributes:
        value: of `OVERALL` (), of `OF_CLASS` (J,); the precision of a class that nothing is mapped as is 0.
        draws: of `OVERALL` (D,), of `OF_CLASS` (D, J).
    """

    value: dict[str, NDArray[np.float64]]
    draws: dict[str, NDArray[np.float64]]

    def interval(self, name: str) -> NDArray[np.float64]:
        """(2,) or (2, J): the ends of the 90 % interval of a figure, see `interval`."""
        return interval(self.value[name], self.draws[name])

    def difference(self, other: "Judgement", name: str) -> tuple[float, NDArray[np.float64]]:
        """Of one of `OVERALL`, this map's minus another's on the same polygons: the figure and the ends (2,) of its interval."""
        value = self.value[name] - other.value[name]
        return float(value), interval(value, self.draws[name] - other.draws[name])


def interval(value: NDArray[np.float64], draws: NDArray[np.float64]) -> NDArray[np.float64]:
    """(2, ...) ends of the central 90 % of draws (D, ...), moved out where they do not hold the figure (...) itself.

    Without an error the upper end is thus 1, and without a hit the lower end 0, as Brown, Cai and DasGupta advise.
    """
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return np.stack((np.minimum(low, value), np.maximum(high, value)))


def judge_witnesses(*maps: Witnesses, seed: int = 0) -> list[Judgement]:
    """Judge maps of the same polygons; draw by draw the polygons have the same weights in each, so that differences tell.

    Args:
        maps: equal in `true` and `block`.
    """
    judged = np.unique(maps[0].true)
    names = {OVERALL: _PRIOR / len(judged), OF_CLASS: _PRIOR}
    out = []
    for item in maps:
        value = _figures(_matrices(item, judged, None, seed)[0], judged, (*OVERALL, *OF_CLASS))
        draws: dict[str, NDArray[np.float64]] = {}
        for group, prior in names.items():
            found = [_figures(matrix, judged, group) for matrix in _matrices(item, judged, prior, seed)]
            draws |= {name: np.array([figures[name] for figures in found]) for name in group}
        out.append(Judgement({name: np.nan_to_num(figure) for name, figure in value.items()}, draws))
    return out


def _matrices(
    item: Witnesses, judged: NDArray[np.int64], prior: float | None, seed: int
) -> NDArray[np.float64]:
    """(D, J, K): in each draw the shares in which a class is mapped as each, times the number of its polygons.

    Args:
        prior: weight of either half of the class's imagined polygon; None: of the polygons as they are, D = 1.
    """
    rows = []
    for k in judged.tolist():
        own = item.shares[item.true == k]
        right = np.eye(own.shape[1])[k]
        if prior is None:
            weights = np.full((1, len(own) + 2), 1 / len(own))
            weights[:, -2:] = 0
        else:
            block = np.arange(len(own)) if item.block is None else item.block[item.true == k]
            weights = bootstrap_weights(block, (prior, prior), _DRAWS, (seed, k))
        # The imagined halves: all right, and all mapped as the other classes alike.
        rows.append(len(own) * weights @ np.vstack((own, right, (1 - right) / (len(right) - 1))))
    return np.stack(rows, axis=1)


def bootstrap_weights(
    blocks: NDArray[np.int64], imagined: tuple[float, ...], draws: int, seed: tuple[int, ...]
) -> NDArray[np.float64]:
    """(D, P + I) weights of the Bayesian bootstrap of polygons in blocks; they add up to 1 in each draw.

    A block's draw is of Dirichlet(1, ..., 1, *imagined), and each of its polygons weighs that much: with the same draw a block of
    two weighs twice a block of one.

    Args:
        blocks: (P,) number of each polygon's block.
        imagined: (I,) concentrations of what is imagined beside them.
    """
    numbers, place = np.unique(blocks, return_inverse=True)
    concentration = np.append(np.ones(len(numbers)), imagined)
    drawn = np.random.default_rng(seed).dirichlet(concentration, draws)
    if len(numbers) == len(blocks):
        return drawn
    size = len(blocks) / len(numbers)
    weights = np.column_stack((drawn[:, place], size * drawn[:, len(numbers) :]))
    return weights / weights.sum(1, keepdims=True)


def _figures(
    matrix: NDArray[np.float64], judged: NDArray[np.int64], names: tuple[str, ...]
) -> dict[str, NDArray[np.float64]]:
    """Figures of a matrix (J, K) of true and given classes; what is given to a class that is not judged is wrong."""
    given = matrix[:, judged]
    confusion = np.column_stack((matrix.sum(1) - given.sum(1), given))
    # Weights instead of counts of pixels: the formulas are the same.
    found = Scores(tuple(judged.tolist()), confusion)  # type: ignore[arg-type]
    return {name: np.asarray(getattr(found, name)) for name in names}
