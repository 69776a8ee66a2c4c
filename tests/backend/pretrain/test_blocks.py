import numpy as np
import pytest
from corpus_fixtures import write_scene
from skysense.pretrain.blocks import bytes_per_pixel, place_window, plan_blocks, window_side, windows_in
from skysense.pretrain.config import PretrainConfig
from skysense.pretrain.corpus import find_corpus
from skysense.raster.grid import Window


def entry_of(folder, **scene):
    write_scene(folder / "x", **scene)
    return find_corpus([folder]).entries[0]


def test_windows_are_counted_in_the_scene_s_own_size(tmp_path):
    config = PretrainConfig(window=16, hr_window=64)
    series = entry_of(tmp_path / "a", s2=1, side=40)
    alone = entry_of(tmp_path / "b", hr=1, side=40)
    small = entry_of(tmp_path / "c", s2=1, side=8)
    assert [window_side(entry, config) for entry in (series, alone)] == [16, 64]
    assert windows_in(series, config) == (40 / 16) ** 2 and windows_in(alone, config) == (160 / 64) ** 2
    assert windows_in(small, config) == 1


def test_a_pixel_s_bytes_count_every_date_and_hr_pixel(tmp_path):
    assert bytes_per_pixel(entry_of(tmp_path / "a", s2=3, s1=2, side=8)) == 3 * 41 + 2 * 9
    assert bytes_per_pixel(entry_of(tmp_path / "b", s2=1, hr=1, side=8)) == 41 + 16 * 13
    bands = {"hr": ("R", "G", "B", "NIR")}
    assert bytes_per_pixel(entry_of(tmp_path / "c", hr=3, side=8, bands=bands)) == 2 * 17


def test_a_small_scene_is_one_block_and_a_narrow_one_is_centred(tmp_path):
    entry = entry_of(tmp_path / "a", s2=1, side=40)
    assert plan_blocks(entry, PretrainConfig(window=16)) == (entry.extent,)
    assert plan_blocks(entry, PretrainConfig(window=50)) == (Window(-560005, 49995, 50, 50),)


@pytest.mark.parametrize("side, window", [(1000, 16), (1001, 32), (333, 333), (700, 200)])
def test_every_window_lies_in_one_block_and_no_block_leaves_the_scene(tmp_path, side, window):
    entry = entry_of(tmp_path, s2=1, side=side)
    config = PretrainConfig(window=window, block_mb=1)  # 159 pixels a side
    blocks = plan_blocks(entry, config)
    begins = np.zeros((side - window + 1,) * 2, int)
    for block in blocks:
        assert entry.extent.contains(block) and min(block.height, block.width) >= window
        assert max(block.height, block.width) <= max(159, window)
        row, col = block.row - entry.extent.row, block.col - entry.extent.col
        begins[row : row + block.height - window + 1, col : col + block.width - window + 1] += 1
    assert (begins == 1).all()


def test_windows_are_placed_all_over_a_block():
    block, random = Window(-5, 7, 10, 6), np.random.default_rng(0)
    placed = {place_window(block, 4, random) for _ in range(1000)}
    assert placed == {Window(row, col, 4, 4) for row in range(-5, 2) for col in range(7, 10)}
