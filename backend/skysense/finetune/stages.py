"""Which of Swin's stages a head looks at, told by polygons held out.

Deeper stages see wider surroundings in more channels. From the polygons of one scene they tell first of all where a pixel lies, which
a head of hundreds of features takes for its class: with the built-in model the first stage alone maps the labelled pictures 7 and 8
points of mIoU better than all four, and their bands and texture alone better still. So stages join one after another, the
shallowest first, where polygons that the head has not seen say clearly that they help.

Shape legend: N labelled pixels, F features, P places.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from skysense.finetune.features import Block
from skysense.finetune.head import fit_head
from skysense.finetune.judging import Fold

#: Standard errors, paired over places, by which deeper stages must be better: less is seen where nothing is to be had.
_CLEARLY = 2.0


def helpful_blocks(
    x: NDArray[np.float32],
    ids: NDArray[np.int64],
    places: NDArray[np.int64],
    repeats: list[list[Fold]],
    blocks: tuple[Block, ...],
) -> tuple[Block, ...]:
    """The blocks that a head should look at: all but stages of Swin that do not help.

    Args:
        x, ids: (N, F), (N,) of the labelled pixels.
        places: (N,) number of each one's place, see `judging.blocks_of`: polygons that are neighbours fare alike, and are one.
        repeats: see `judging.repeated_folds`; the first one is enough. Where nothing is held out, all blocks stay.
        blocks: of the columns of `x`.
    """
    numbers = sorted({block.stage for block in blocks if block.stage})
    if not numbers or not any(repeats):
        return blocks

    def losses(deepest: int) -> tuple[tuple[Block, ...], NDArray[np.float64]]:
        """The blocks with the stages down to one, and the mean loss (P,) at each place when it is held out."""
        chosen = tuple(block for block in blocks if block.stage <= deepest)
        _, given = fit_head(x[:, columns_of(chosen, blocks)], ids, repeats[:1], chosen, trees=False)
        return chosen, _mean_losses(given[0], ids, places)

    others = any(not block.stage for block in blocks)
    best, loss = losses(0 if others else numbers[0])
    for deepest in numbers if others else numbers[1:]:
        chosen, other = losses(deepest)
        gain = loss - other
        gain = gain[~np.isnan(gain)]
        if gain.mean() > _CLEARLY * gain.std(ddof=1) / len(gain) ** 0.5:
            best, loss = chosen, other
    return best


def columns_of(some: Sequence[Block], blocks: Sequence[Block]) -> NDArray[np.bool_]:
    """Which columns (F,) of the blocks are those of some of them."""
    return np.concatenate([np.full(block.dim, block in some) for block in blocks])


def _mean_losses(
    given: NDArray[np.float32], ids: NDArray[np.int64], places: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Mean of -log p(true class) at each place (P,), over its pixels; NaN where it was in no fold.

    Args:
        given: (N, K) probabilities, NaN where nothing was held out.
    """
    right = given[np.arange(len(ids)), np.searchsorted(np.unique(ids), ids)]
    held = ~np.isnan(right)
    loss = np.where(held, -np.log(np.maximum(np.nan_to_num(right), 1e-12)), 0.0)
    _, place = np.unique(places, return_inverse=True)
    total, count = (np.bincount(place, part) for part in (loss, held))
    return np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)
