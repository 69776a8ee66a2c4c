"""Which pixels around the labelled ones are drawn."""

import numpy as np
import pytest
import torch
from skysense.finetune.features import Block, FeatureMap, TileFeatures
from skysense.finetune.surroundings import Surroundings
from skysense.raster.grid import Window
from skysense.raster.tiles import Tile

BLOCKS = (Block("s2.series", 2), Block("s1.series", 1))
SIDE = 40


def tile(col, valid=None):
    """A tile whose first two features are a pixel's row and its column in the mosaic; Sentinel-1 has seen nothing of it."""
    rows, cols = np.mgrid[:SIDE, col * SIDE : (col + 1) * SIDE]
    values = torch.from_numpy(np.stack([rows, cols]).astype(np.float32))
    window = Window(0, col * SIDE, SIDE, SIDE)
    seen = np.ones((SIDE, SIDE), bool) if valid is None else valid
    return TileFeatures(Tile(0, col, window, window), {"s2.series": FeatureMap(values, 1, 0)}, seen)


def drawn(tiles, seed=0):
    around = Surroundings(seed)
    for item in tiles:
        around.add(item, BLOCKS)
    return around.x


def test_of_few_valid_pixels_all_are_there():
    valid = np.zeros((SIDE, SIDE), bool)
    valid[3:5, 7:10] = True
    x = drawn([tile(2, valid), tile(3, np.zeros((SIDE, SIDE), bool))])
    expected = [[row, 2 * SIDE + col, 0] for row in (3, 4) for col in (7, 8, 9)]
    assert sorted(x.tolist()) == expected and x.dtype == np.float32


def test_as_many_are_kept_of_any_number_of_tiles_each_as_likely():
    x = drawn([tile(col) for col in range(4)])
    assert x.shape == (2_000, 3) and len(np.unique(x, axis=0)) == 2_000
    counts = np.bincount((x[:, 1] // SIDE).astype(int))
    assert counts.sum() == 2_000 and np.abs(counts - 500).max() < 80  # four standard deviations


@pytest.mark.parametrize("order", [(3, 1, 0, 2), (2, 3, 1, 0)])
def test_the_draw_depends_on_the_seed_and_on_no_order_of_tiles(order):
    x = drawn([tile(col) for col in range(4)])
    assert np.array_equal(x, drawn([tile(col) for col in order]))
    assert not np.array_equal(x, drawn([tile(col) for col in range(4)], seed=1))


def test_nothing_is_there_of_no_tile():
    assert drawn([]).shape == (0, 0)
