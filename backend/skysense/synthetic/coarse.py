"""The landscape on the 10 m grid of the Sentinels: what each pixel holds, and its true class."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skysense.synthetic.noise import Array, block_mean
from skysense.synthetic.surface import Surface

#: A 10 m pixel has a true class where one covers at least this share of it; else it is unlabelled.
PURE = 0.9


@dataclass(frozen=True)
class Coarse:
    """What the 10 m pixels hold.

    Attributes:
        share: share of every stand (h * w, len(stands)), pixels in row order.
        bare: mean share of missing plants (h, w).
        tone: mean brightness (h, w).
        truth: true class id (h, w), 0 = mixed or of no class.
    """

    share: NDArray[np.float64]
    bare: Array
    tone: Array
    truth: NDArray[np.uint8]


def coarsen(surface: Surface, k: int) -> Coarse:
    """Gather k x k pixels of the landscape into each coarse one; k divides its height and width."""
    h, w = (n // k for n in surface.stand.shape)
    count = len(surface.stands)
    pixel = np.repeat(np.repeat(np.arange(h * w).reshape(h, w), k, 0), k, 1)
    held = np.bincount((pixel * count + surface.stand).ravel(), minlength=h * w * count)
    cover = np.stack(
        [block_mean((surface.classes == c).astype(np.float32), k) for c in range(1 + surface.classes.max())]
    )
    truth = np.where(cover.max(0) >= PURE, cover.argmax(0), 0).astype(np.uint8)
    share = held.reshape(h * w, count) / float(k * k)
    return Coarse(share, block_mean(surface.bare, k), block_mean(surface.tone, k), truth)
