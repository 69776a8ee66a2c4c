"""Where trees are asked: everywhere on series, at every second pixel of a picture, whatever the tile."""

import numpy as np
import pytest
import torch
from skysense.finetune.features import Block, FeatureMap, TileFeatures
from skysense.finetune.trees import fit_trees
from skysense.inference.scores import TreesPainter
from skysense.raster.grid import Window
from skysense.raster.tiles import Tile

SIDE, MARGIN = 8, 3
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def trees():
    random = np.random.default_rng(0)
    x = random.normal(size=(300, 2)).astype(np.float32)
    return fit_trees(x, (x[:, 0] * x[:, 1] > 0).astype(np.int64), 2)


def core(values: torch.Tensor, name: str, row: int, col: int) -> TileFeatures:
    """The tile whose core begins there; values reach `MARGIN` pixels beyond it."""
    part = values[:, row : row + SIDE + 2 * MARGIN, col : col + SIDE + 2 * MARGIN]
    window = Window(row, col, SIDE, SIDE)
    return TileFeatures(
        Tile(row, col, window, window), {name: FeatureMap(part, 1, MARGIN)}, np.ones((SIDE, SIDE), bool)
    )


@pytest.fixture
def values():
    return torch.randn(2, 40, 40, generator=torch.Generator().manual_seed(1))


def at(trees, values, rows, cols):
    return trees.scores(values[:, rows + MARGIN, cols + MARGIN].T.contiguous())


def test_on_series_every_pixel_is_asked(trees, values):
    found = TreesPainter(trees, (Block("s2.series", 2),), CPU).scores(core(values, "s2.series", 0, 0), SIDE)
    rows, cols = np.divmod(np.arange(SIDE * SIDE), SIDE)
    assert torch.equal(found.flatten(1).T, at(trees, values, rows, cols))


def test_of_a_picture_every_second_pixel_is_asked_and_the_others_lie_between(trees, values):
    found = TreesPainter(trees, (Block("hr.bands", 2),), CPU).scores(core(values, "hr.bands", 0, 0), SIDE)
    assert found.shape == (2, SIDE, SIDE)
    asked = at(trees, values, *(np.array(part) for part in ([2, 2, 4, 4], [6, 8, 6, 8])))
    assert torch.equal(found[:, 2, 6], asked[0])
    assert torch.allclose(found[:, 3, 6], (asked[0] + asked[2]) / 2)
    # The last column's right neighbour lies beyond the core.
    assert torch.allclose(found[:, 2, 7], (asked[0] + asked[1]) / 2)
    assert torch.allclose(found[:, 3, 7], asked.mean(0))


def test_neighbouring_tiles_of_a_picture_go_on_where_the_other_ends(trees, values):
    paint = TreesPainter(trees, (Block("hr.bands", 2),), CPU).scores
    left, right = paint(core(values, "hr.bands", 0, 0), SIDE), paint(core(values, "hr.bands", 0, SIDE), SIDE)
    window = Window(0, 0, 2 * SIDE, 2 * SIDE)
    both = TileFeatures(
        Tile(0, 0, window, window), {"hr.bands": FeatureMap(values, 1, MARGIN)}, np.ones((16, 16), bool)
    )
    assert torch.equal(paint(both, 2 * SIDE)[:, :SIDE], torch.cat((left, right), 2))
