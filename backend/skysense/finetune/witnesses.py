"""What held-out polygons, each a witness, say of a map's scores, and how sure that is.

A polygon of 4,000 pixels is one witness: its pixels resemble each other, so it counts as much as a small one. A figure is
computed from the matrix of the shares in which a class's polygons are mapped as each class, and classes weigh as much as they
have polygons.

With few witnesses a perfect record proves little: of three polygons that were mapped without error a fourth may well not be.
To each class's polygons an imagined one is therefore added, half of it mapped right and half as the other classes, which is
Jeffreys' prior for a proportion (Brown, Cai and DasGupta 2001, Interval estimation for a binomial proportion, Statistical
Science 16). Intervals are of the Bayesian bootstrap (Rubin 1981, Annals of Statistics 9): the polygons of each class are
weighted at random, Dirichlet(1, ..., 1, 1/2, 1/2) with the two halves last. Where every polygon is all right or all wrong,
that is Jeffreys' interval.

Shape legend: P polygons, K classes that can be given, J of them that are judged, D draws.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skysense.finetune.scores import Scores

#: What an interval holds with a chance of 90 %.
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
    """

    true: NDArray[np.int64]
    shares: NDArray[np.float64]


@dataclass(frozen=True)
class Judgement:
    """Figures by name, `OVERALL` and `OF_CLASS`: the value, that of the polygons without an imagined one, and the draws'.

    Attributes:
        value, plain: of `OVERALL` (), of `OF_CLASS` (J,); plain is NaN where it is undefined.
        draws: of `OVERALL` (D,), of `OF_CLASS` (D, J).
    """

    value: dict[str, NDArray[np.float64]]
    plain: dict[str, NDArray[np.float64]]
    draws: dict[str, NDArray[np.float64]]

    def interval(self, name: str) -> NDArray[np.float64]:
        """(2,) or (2, J): the lower and the upper end of the 90 % interval, which always holds the plain figure.

        Without an error the upper end is 1, and without a hit the lower end 0, as Brown, Cai and DasGupta advise.
        """
        low, high = interval(self.draws[name])
        return np.stack((np.fmin(low, self.plain[name]), np.fmax(high, self.plain[name])))


def interval(draws: NDArray[np.float64]) -> NDArray[np.float64]:
    """(2, ...) ends of the central 90 % of draws (D, ...)."""
    return np.asarray(np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0))


def judge_witnesses(*maps: Witnesses, seed: int = 0) -> list[Judgement]:
    """Judge maps of the same polygons; draw by draw the polygons have the same weights in each, so that differences tell.

    Args:
        maps: equal in `true`.
    """
    true = maps[0].true
    judged, counts = np.unique(true, return_counts=True)
    weights = [
        _weights(int(count), np.random.default_rng((seed, int(k)))) for k, count in zip(judged, counts)
    ]
    out = []
    for item in maps:
        # (2 + D, J, K), each row times the class's polygons
        matrices = np.stack(
            [count * (w @ _atoms(item, int(k))) for k, count, w in zip(judged, counts, weights)], axis=1
        )
        figures = [_figures(matrix, judged) for matrix in matrices]
        names = (*OVERALL, *OF_CLASS)
        out.append(
            Judgement(
                {name: np.asarray(figures[0][name]) for name in names},
                {name: np.asarray(figures[1][name]) for name in names},
                {name: np.array([figure[name] for figure in figures[2:]]) for name in names},
            )
        )
    return out


def _weights(polygons: int, random: np.random.Generator) -> NDArray[np.float64]:
    """(2 + D, polygons + 2): weights of the value, of the plain figure, and of the draws; the imagined halves are last."""
    alone = np.append(np.ones(polygons), [0, 0])
    concentration = np.append(np.ones(polygons), [_PRIOR, _PRIOR])
    return np.vstack(
        (concentration / concentration.sum(), alone / polygons, random.dirichlet(concentration, _DRAWS))
    )


def _atoms(item: Witnesses, k: int) -> NDArray[np.float64]:
    """(polygons of class k + 2, K): their shares, then all right, then all mapped as the other classes alike."""
    right = np.eye(item.shares.shape[1])[k]
    return np.vstack((item.shares[item.true == k], right, (1 - right) / (len(right) - 1)))


def _figures(matrix: NDArray[np.float64], judged: NDArray[np.int64]) -> dict[str, Any]:
    """Figures of a matrix (J, K) of true and given classes; what is given to a class that is not judged is wrong."""
    given = matrix[:, judged]
    confusion = np.column_stack((matrix.sum(1) - given.sum(1), given))
    # Weights instead of counts of pixels: the formulas are the same.
    found = Scores(tuple(judged.tolist()), confusion)  # type: ignore[arg-type]
    return {name: getattr(found, name) for name in (*OVERALL, *OF_CLASS)}
