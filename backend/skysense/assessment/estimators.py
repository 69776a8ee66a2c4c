"""Accuracy and area from a stratified random sample whose strata are the map's classes.

Olofsson, P., Foody, G. M., Herold, M., Stehman, S. V., Woodcock, C. E. and Wulder, M. A. (2014), Good practices for estimating area
and assessing accuracy of land change, Remote Sensing of Environment 148, 42-57. "eq. n" below is that paper's.

Shape legend: M classes; rows i = class of the map, columns j = class of the reference.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Standard errors to each side of an estimate in a 95 % interval.
Z95 = 1.96


@dataclass(frozen=True)
class Estimates:
    """What a sample tells. Every `_se` is a standard error; the 95 % interval is the estimate ± 1.96 of it.

    Attributes:
        matrix: (M, M) estimated proportions of area, eq. 4; they add up to 1.
        overall, overall_se: overall accuracy 0..1, eq. 1 and 5.
        users, users_se: (M,) user's accuracy, eq. 2 and 6; NaN for a class that is not mapped.
        producers, producers_se: (M,) producer's accuracy, eq. 3 and 7; NaN for a class of which the sample found nothing.
        share, share_se: (M,) share of the area that is truly each class, eq. 9 and 10; eq. 11 multiplies both by the area.
    """

    matrix: NDArray[np.float64]
    overall: float
    overall_se: float
    users: NDArray[np.float64]
    users_se: NDArray[np.float64]
    producers: NDArray[np.float64]
    producers_se: NDArray[np.float64]
    share: NDArray[np.float64]
    share_se: NDArray[np.float64]


def estimate(
    counts: NDArray[np.int64], area: NDArray[np.float64], census: NDArray[np.bool_] | None = None
) -> Estimates:
    """Estimate accuracy and area.

    Args:
        counts: (M, M) n_ij: sample points that are mapped as i and truly are j.
        area: (M,) mapped area of each class in any unit; 0 for a class that is in the reference only.
        census: (M,) classes of which every pixel is in the sample: nothing about them is uncertain.

    Raises:
        ValueError: a mapped class has no point, or one, and so no variance, and is no census.
    """
    census = np.zeros(len(area), bool) if census is None else census
    n = counts.sum(1)
    mapped = area > 0
    if (n[~mapped] > 0).any() or (n[mapped & census] < 1).any() or (n[mapped & ~census] < 2).any():
        raise ValueError("every mapped class needs two points, and a class that is not mapped has none")
    weight = area / area.sum()
    within = counts / np.maximum(n, 1)[:, None]  # n_ij / n_i
    matrix = weight[:, None] * within  # eq. 4
    spread = within * (1 - within) / np.maximum(n - 1, 1)[:, None]  # of a stratum's share, squared
    spread[census] = 0
    hits, users_variance = np.diagonal(matrix), np.diagonal(spread)
    share = matrix.sum(0)  # eq. 9
    users = np.where(mapped, np.diagonal(within), np.nan)  # eq. 2
    found = share > 0
    producers = np.divide(hits, share, out=np.full(len(share), np.nan), where=found)  # eq. 3
    # eq. 7, with shares of area for pixels (N_i and N_j): the sum without i = j is that over all i, less the diagonal's part.
    others = (weight[:, None] ** 2 * spread).sum(0) - weight**2 * users_variance
    variance = weight**2 * (1 - producers) ** 2 * users_variance + producers**2 * others
    producers_se = np.divide(
        np.sqrt(variance.clip(min=0)), share, out=np.full(len(share), np.nan), where=found
    )
    return Estimates(
        matrix,
        float(hits.sum()),  # eq. 1
        float(np.sqrt((weight**2 * users_variance).sum())),  # eq. 5
        users,
        np.where(mapped, np.sqrt(users_variance), np.nan),  # eq. 6
        producers,
        producers_se,
        share,
        np.sqrt(
            (weight[:, None] ** 2 * spread).sum(0)
        ),  # eq. 10: W_i p_ik - p_ik² = W_i² n_ik/n_i (1 - n_ik/n_i)
    )
