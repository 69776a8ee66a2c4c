"""Tiles of a canvas that fail, and shares that are given up: what comes after is computed as ever."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from skysense.finetune.features import FeatureMap, TileFeatures, over_core
from skysense.finetune.lanes import Lanes
from skysense.inference.canvas import TileCanvas
from skysense.jobs.control import JobControl
from skysense.raster.grid import Lattice, Window
from skysense.raster.layout import Layout
from skysense.raster.tiles import plan_tiles

QUIET = JobControl(lambda event: None)
AREA = Window(0, 0, 100, 600)


class Flaky:
    """An extractor of tiles that are their column; those in `bad` cannot be read."""

    device = torch.device("cpu")

    def __init__(self):
        self.bad, self.read_tiles = set(), []

    def read(self, tile):
        self.read_tiles.append(tile.col)
        if tile.col in self.bad:
            raise OSError("the share is away")
        return tile

    def features(self, tile):
        values = torch.full((1, 160, 160), float(tile.col))
        return TileFeatures(tile, {"a": FeatureMap(values, 1, 30)}, np.ones((100, 100), bool))


@pytest.fixture
def flaky(monkeypatch):
    monkeypatch.setattr("skysense.finetune.lanes.cpu_threads", lambda: 2)
    lattice = Lattice("EPSG:32632", 1.0)
    layout = Layout(("hr",), lattice, 1, AREA, lattice.grid(AREA), True)
    tiling = replace(plan_tiles(layout), side=160, margin=30)
    extractor = Flaky()
    with Lanes(extractor, threads=1) as lanes:
        yield extractor, TileCanvas(lanes, lambda f, side: over_core(f.maps["a"], side), tiling, AREA, 1)


def column(canvas, number):
    values, valid = canvas.window(Window(0, 100 * number, 100, 100), QUIET)
    assert valid.all()
    return values.unique().tolist()


def test_a_tile_that_failed_is_computed_again(flaky):
    extractor, canvas = flaky
    windows = [Window(0, 100 * number, 100, 100) for number in range(6)]
    extractor.bad = {0, 1}
    for _ in range(2):
        canvas.expect(windows)
        with pytest.raises(OSError, match="away"):
            canvas.window(windows[0], QUIET)
    extractor.bad = set()
    canvas.expect(windows)
    assert column(canvas, 0) == [0.0] and column(canvas, 1) == [1.0]


def test_after_a_share_that_was_given_up_the_next_one_runs_ahead(flaky):
    extractor, canvas = flaky
    canvas.expect([Window(0, 100 * number, 100, 100) for number in range(3)])
    column(canvas, 0)  # 1 and 2 are under way, and nobody will ask for them
    canvas.expect([Window(0, 100 * number, 100, 100) for number in (3, 4, 5)])
    assert column(canvas, 3) == [3.0]
    assert column(canvas, 4) == [4.0] and {4, 5} <= set(extractor.read_tiles)
    assert column(canvas, 5) == [5.0] and sorted(extractor.read_tiles)[-3:] == [3, 4, 5]
