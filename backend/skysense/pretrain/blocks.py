"""Blocks: the parts of a scene that are decoded at once, and the windows that are cut from them.

A small scene is one block. A larger one is covered by blocks that overlap by one pixel less than a window's
side, so that a window can lie anywhere and still in one block. All of it in pixels of the scene's base lattice.
"""

import math
from itertools import pairwise

import numpy as np

from skysense.pretrain.config import PretrainConfig
from skysense.pretrain.corpus import Entry
from skysense.raster.grid import Window
from skysense.scene.sensors import EXTRA_BANDS, SENSORS

#: Pictures of an HR mosaic that show the same place, of which no more are counted on.
_MOSAIC = 2


def window_side(entry: Entry, config: PretrainConfig) -> int:
    """Side of the scene's windows in base pixels."""
    return config.hr_window if entry.kind == "hr" else config.window


def windows_in(entry: Entry, config: PretrainConfig) -> float:
    """The scene's area in windows, at least 1."""
    side = window_side(entry, config)
    return max(1.0, entry.extent.height / side) * max(1.0, entry.extent.width / side)


def bytes_per_pixel(entry: Entry) -> int:
    """What one base pixel of the scene takes when decoded: float32 bands and a flag for every date."""
    total = 0
    for modality in entry.layout.modalities:
        items = entry.scene.modality(modality)
        extra = EXTRA_BANDS[modality] if modality == "hr" else ()
        bands = len(SENSORS[modality].bands) + sum(
            any(name in item.bands for item in items) for name in extra
        )
        dates = min(len(items), _MOSAIC) if modality == "hr" else len(items)
        pixels = max(entry.layout.hr_factor, 1) ** 2 if modality == "hr" else 1
        total += dates * pixels * (4 * bands + 1)
    return total


def plan_blocks(entry: Entry, config: PretrainConfig) -> tuple[Window, ...]:
    """Blocks of about `config.block_mb`, each at least a window; together they hold every window of the extent.

    An extent narrower than a window is centred in its block; what lies beyond is read as invalid.
    """
    side = window_side(entry, config)
    block = max(side, math.isqrt(config.block_mb * 2**20 // bytes_per_pixel(entry)))
    rows = _cut(entry.extent.row, entry.extent.height, side, block)
    cols = _cut(entry.extent.col, entry.extent.width, side, block)
    return tuple(Window(row, col, height, width) for row, height in rows for col, width in cols)


def _cut(start: int, length: int, side: int, block: int) -> list[tuple[int, int]]:
    """(start, length) of the blocks along one axis, of about equal length."""
    if length <= side:
        return [(start - (side - length) // 2, side)]
    if length <= block:
        return [(start, length)]
    offsets = length - side + 1  # where a window may begin
    count = -(-offsets // (block - side + 1))
    edges = [offsets * number // count for number in range(count + 1)]
    return [(start + first, last - first + side - 1) for first, last in pairwise(edges)]


def place_window(block: Window, side: int, random: np.random.Generator) -> Window:
    """A window of a block, anywhere in it with equal chances."""
    row = block.row + int(random.integers(block.height - side + 1))
    col = block.col + int(random.integers(block.width - side + 1))
    return Window(row, col, side, side)
