import numpy as np
import pytest
from skysense.raster.grid import Lattice, Window
from skysense.raster.layout import Layout
from skysense.raster.tiles import chunk_size, plan_tiles


def _layout(modalities, factor, area):
    base = Lattice("EPSG:32632", 10.0 if factor != 1 else 0.5, 0.0, 0.0)
    compute = base.refine(max(factor, 1))
    return Layout(modalities, base, factor, area, compute.grid(area), True)


CASES = [
    (("s2", "s1"), 0, Window(-37, 1009, 130, 75)),
    (("hr", "s2"), 8, Window(-900, 450, 700, 1000)),
    (("hr",), 1, Window(-1000, 3000, 1100, 900)),
]


@pytest.mark.parametrize(("modalities", "factor", "area"), CASES)
def test_cores_cover_every_pixel_exactly_once(modalities, factor, area):
    tiling = plan_tiles(_layout(modalities, factor, area))
    count = np.zeros((area.height, area.width), int)
    for tile in tiling.over(area):
        part = tile.core.intersect(area)
        assert part is not None
        count[part.row - area.row :, part.col - area.col :][: part.height, : part.width] += 1
    assert (count == 1).all()


@pytest.mark.parametrize(("modalities", "factor", "area"), CASES)
def test_tiles_do_not_depend_on_the_area(modalities, factor, area):
    tiling = plan_tiles(_layout(modalities, factor, area))
    inner = Window(area.row + 20, area.col + 20, area.height // 2, area.width // 2)
    assert set(tiling.over(inner)) <= set(tiling.over(area))


@pytest.mark.parametrize(("modalities", "factor", "area"), CASES)
def test_the_core_lies_in_the_middle_of_what_is_read(modalities, factor, area):
    tiling = plan_tiles(_layout(modalities, factor, area))
    tile = next(iter(tiling.over(area)))
    scale, margin = tiling.scale, tiling.margin * tiling.scale
    assert tile.core.row - tile.window.row * scale == margin
    assert tiling.compute_grid(tile).width == tiling.side * scale == tile.core.width + 2 * margin
    assert chunk_size(tiling) % tiling.core == 0
    # The ViTs' patches and Swin's windows start where the tile starts.
    assert tiling.side % 4 == 0 and tiling.margin % 4 == 0


def test_drawn_tiles_are_of_the_area_each_once_and_all_over_it():
    area = Window(0, 0, 23 * 56, 23 * 56)
    tiling = plan_tiles(_layout(("s2", "s1"), 0, area))
    every = {(tile.row, tile.col) for tile in tiling.over(area)}
    drawn = [(tile.row, tile.col) for tile in tiling.drawn(area, 24)]
    assert len(drawn) == len(set(drawn)) == 24 and set(drawn) <= every
    assert len({row for row, _ in drawn}) > 10 and len({col for _, col in drawn}) > 10
    assert drawn == [(tile.row, tile.col) for tile in tiling.drawn(area, 24)]
    assert {(tile.row, tile.col) for tile in tiling.drawn(area, 10_000)} == every
