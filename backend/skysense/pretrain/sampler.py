"""Which window is seen when: a pure function of (seed, step, index).

A resumed run so draws the same, and any number of processes share one order.

By area and by place: a kind of window (HR alone, series, both), then a region of the Earth within it, then a
scene within that are drawn in turn, each with a chance in proportion to its area in windows to the power
`area_exponent`. With 1 all windows are equally likely and one large scene is nearly all that is seen; with 0 a
patch of 640 m weighs as much as a country. Half way both are seen, as with languages of unequal amounts of text
in multilingual pretraining (Conneau and Lample 2019).

Kinds mix within every step: slot `index` of the batch takes its kind from its own stratum of the shares, so
that a kind's number of windows in a step differs from its share by less than two.

Where the decoded imagery does not fit the cache, a slot stays on its block for `block_steps` steps (each slot
moves on at another step), which divides decoding by as much.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from skysense.pretrain.blocks import bytes_per_pixel, place_window, plan_blocks, window_side, windows_in
from skysense.pretrain.config import PretrainConfig
from skysense.pretrain.corpus import KINDS, Entry
from skysense.raster.grid import Window

#: First words of the generators' seeds; never 0, since numpy takes trailing zeros of a seed as absent.
_BLOCK, _WINDOW = 1, 2


@dataclass(frozen=True)
class Draw:
    """A window to be read: number of the entry, the block that holds it, and itself in base pixels."""

    entry: int
    block: Window
    window: Window


class Sampler:
    """Draws windows.

    Args:
        entries: the corpus in its fixed order; not empty.
    """

    def __init__(self, entries: Sequence[Entry], config: PretrainConfig) -> None:
        self._config = config
        self._blocks = [plan_blocks(entry, config) for entry in entries]
        self._sides = [window_side(entry, config) for entry in entries]
        self._kinds = np.array([KINDS.index(entry.kind) for entry in entries])
        self._shares = _shares(entries, config)
        decoded = sum(
            block.height * block.width * bytes_per_pixel(entry)
            for entry, blocks in zip(entries, self._blocks)
            for block in blocks
        )
        self._stay = config.block_steps if decoded > config.cache_mb * 2**20 else 1

    @property
    def shares(self) -> NDArray[np.float64]:
        """The chance of each entry at one draw; sums to 1."""
        return self._shares

    @cached_property
    def _by_kind(self) -> tuple[NDArray[np.float64], list[NDArray[np.int64]], list[NDArray[np.float64]]]:
        """Upper edges of the kinds' shares, and for each kind its entries and the upper edges of theirs."""
        members = [np.flatnonzero(self._kinds == kind) for kind in range(len(KINDS))]
        sums = np.cumsum([self._shares[member].sum() for member in members])
        return sums / sums[-1], members, [np.cumsum(self._shares[member]) for member in members]

    def draw(self, step: int, index: int, attempt: int = 0) -> Draw:
        """The window of slot `index` of the batch (over all processes) at `step`.

        Args:
            attempt: counts the windows that turned out unusable before it.
        """
        config = self._config
        stretch = (step + index * self._stay // config.batch) // self._stay
        random = np.random.default_rng((_BLOCK, config.seed, stretch, index, attempt))
        edges, members, sums = self._by_kind
        stratum = (index % config.batch + random.random()) / config.batch
        kind = int(np.searchsorted(edges, stratum, side="right"))
        entry = int(
            members[kind][np.searchsorted(sums[kind], random.random() * sums[kind][-1], side="right")]
        )
        block = self._blocks[entry][int(random.integers(len(self._blocks[entry])))]
        random = np.random.default_rng((_WINDOW, config.seed, step, index, attempt))
        return Draw(entry, block, place_window(block, self._sides[entry], random))


def _shares(entries: Sequence[Entry], config: PretrainConfig) -> NDArray[np.float64]:
    """The chance of each entry: kind, then region, then scene."""
    size = [windows_in(entry, config) for entry in entries]
    kinds: dict[str, float] = defaultdict(float)
    regions: dict[tuple[str, int], float] = defaultdict(float)
    for entry, windows in zip(entries, size):
        kinds[entry.kind] += windows
        regions[entry.kind, entry.region] += windows
    power = config.area_exponent
    all_kinds = sum(total**power for total in kinds.values())
    in_kind: dict[str, float] = defaultdict(float)
    for (kind, _), total in regions.items():
        in_kind[kind] += total**power
    in_region: dict[tuple[str, int], float] = defaultdict(float)
    for entry, windows in zip(entries, size):
        in_region[entry.kind, entry.region] += windows**power
    return np.array(
        [
            kinds[entry.kind] ** power
            / all_kinds
            * (regions[entry.kind, entry.region] ** power / in_kind[entry.kind])
            * (windows**power / in_region[entry.kind, entry.region])
            for entry, windows in zip(entries, size)
        ]
    )
