from dataclasses import replace

import numpy as np
import pytest
from corpus_fixtures import SHARED, cut_off, write_scene
from skysense.pretrain.blocks import place_window, plan_blocks, window_side
from skysense.pretrain.config import PretrainConfig
from skysense.pretrain.corpus import find_corpus
from skysense.pretrain.sampler import Draw
from skysense.pretrain.windows import WindowReader
from skysense.raster.grid import Window
from skysense.raster.reader import SceneReader

CONFIG = PretrainConfig(window=16, hr_window=64, block_mb=1)
CORNER = Window(-560000, 50000, 0, 0)


def window(row, col, side):
    return Window(CORNER.row + row, CORNER.col + col, side, side)


def plain(entry, place):
    """The window as the reader gives it, without acquisitions that show nothing."""
    stacks = {}
    with SceneReader(entry.scene, entry.layout) as reader:
        for modality in entry.layout.modalities:
            k = max(entry.layout.hr_factor, 1) if modality == "hr" else 1
            fine = Window(place.row * k, place.col * k, place.height * k, place.width * k)
            stack = reader.read(modality, entry.layout.base.refine(k).grid(fine))
            kept = np.flatnonzero(stack.valid.any(axis=(1, 2)))
            stacks[modality] = [stack.values[kept], stack.valid[kept], stack.band_present[kept]]
            stacks[modality].append(tuple(stack.dates[number] for number in kept))
    return stacks


def assert_equal_to_plain(entries, draws, config):
    reader = WindowReader(entries, config)
    for draw in draws:
        raw = reader.read(draw)
        assert raw is not None, (entries[draw.entry].name, draw)
        expected = plain(entries[draw.entry], draw.window)
        for modality, stack in raw.stacks.items():
            values, valid, present, dates = expected[modality]
            assert (stack.values == values).all() and stack.values.dtype == np.float32
            assert (stack.valid == valid).all() and (stack.band_present == present).all()
            assert stack.dates == dates
    reader.close()
    assert not reader.problems


def test_windows_equal_what_the_scene_reader_gives(tmp_path):
    write_scene(tmp_path / "a", s2=6, s1=3, side=90)
    write_scene(tmp_path / "b", s2=2, hr=1, side=30, gsd=2.4)  # HR is warped to 2.5 m
    write_scene(tmp_path / "c", hr=1, side=40)
    entries = find_corpus([tmp_path]).entries
    random = np.random.default_rng(0)
    draws = []
    for number, entry in enumerate(entries):
        for block in plan_blocks(entry, CONFIG):
            draws += [
                Draw(number, block, place_window(block, window_side(entry, CONFIG), random)) for _ in range(3)
            ]
    assert len(draws) > 9  # some are cut into blocks
    assert_equal_to_plain(entries, draws, CONFIG)
    assert_equal_to_plain(entries, draws, replace(CONFIG, cache_mb=0))


@pytest.mark.skipif(not SHARED.exists(), reason="the sample data are not here")
def test_windows_of_real_scenes_with_clouds_and_other_grids_equal_the_reader(tmp_path):
    places = ("boadella-water", "flanders-crops-2018", "forest-birch-1", "kampala-buildings")
    entries = find_corpus([SHARED / "scenes" / place for place in places]).entries
    config, random = PretrainConfig(), np.random.default_rng(1)
    draws = []
    for number, entry in enumerate(entries):
        block = plan_blocks(entry, config)[-1]
        draws.append(Draw(number, block, place_window(block, window_side(entry, config), random)))
    assert_equal_to_plain(entries, draws, config)


def test_a_window_says_what_it_is(tmp_path):
    write_scene(tmp_path / "a-fused", s2=2, s1=1, hr=1, side=20)
    write_scene(tmp_path / "b-hr", hr=1, side=40)
    entries = find_corpus([tmp_path]).entries
    reader = WindowReader(entries, CONFIG)
    fused = reader.read(Draw(0, entries[0].extent, window(2, 3, 16)))
    assert fused.hr_per_base == 4 and fused.scene == "a-fused"
    assert fused.stacks["s2"].values.shape == (2, 10, 16, 16)
    assert fused.stacks["s1"].values.shape == (1, 2, 16, 16)
    assert fused.stacks["hr"].values.shape == (1, 3, 64, 64)
    assert fused.place == pytest.approx((3.0016, 50.5495), abs=2e-3)
    alone = reader.read(Draw(1, entries[1].extent, Window(-2240000, 200000, 64, 64)))
    assert alone.hr_per_base is None and alone.stacks["hr"].values.shape == (1, 3, 64, 64)
    reader.close()


def test_beyond_a_small_scene_is_invalid_and_does_not_count_against_it(tmp_path):
    write_scene(tmp_path / "x", s2=1, side=6)
    entries = find_corpus([tmp_path]).entries
    (block,) = plan_blocks(entries[0], CONFIG)
    stack = WindowReader(entries, CONFIG).read(Draw(0, block, block)).stacks["s2"]
    inside = np.zeros((16, 16), bool)
    inside[5:11, 5:11] = True
    assert (stack.valid[0] == inside).all() and not stack.values[0][:, ~inside].any()


def test_windows_that_show_too_little_are_refused(tmp_path):
    write_scene(tmp_path / "x", s2=2, side=40, hole=(slice(0, 40), slice(0, 30)))
    entries = find_corpus([tmp_path]).entries
    reader = WindowReader(entries, CONFIG)
    block = entries[0].extent
    assert reader.read(Draw(0, block, window(0, 0, 16))) is None
    assert reader.read(Draw(0, block, window(0, 17, 16))) is None  # 3 of 16 columns
    assert reader.read(Draw(0, block, window(0, 18, 16))).stacks["s2"].valid.mean() == 0.25


def test_a_fused_window_without_hr_is_a_series_and_without_series_is_refused(tmp_path):
    west = (slice(0, 40), slice(0, 20))
    write_scene(tmp_path / "x", s2=1, hr=1, side=40)
    write_scene(tmp_path / "hr-hole", hr=1, side=40, hole=west)
    write_scene(tmp_path / "s2-hole", s2=1, side=40, hole=west)
    entries = []
    for broken, file in (("hr-hole", "hr_0.tif"), ("s2-hole", "s2_0.tif")):
        kept = (tmp_path / "x" / file).read_bytes()
        (tmp_path / "x" / file).write_bytes((tmp_path / broken / file).read_bytes())
        entries = find_corpus([tmp_path / "x"]).entries
        reader = WindowReader(entries, CONFIG)
        block = entries[0].extent
        raw = reader.read(Draw(0, block, window(0, 0, 16)))
        if broken == "hr-hole":
            assert set(raw.stacks) == {"s2"} and raw.hr_per_base is None
        else:
            assert raw is None
        assert reader.read(Draw(0, block, window(0, 22, 16))).hr_per_base == 4
        reader.close()
        (tmp_path / "x" / file).write_bytes(kept)


def test_a_date_without_a_valid_pixel_in_the_window_is_not_there(tmp_path):
    write_scene(tmp_path / "x", s2=2, side=40)
    write_scene(tmp_path / "y", s2=1, side=40, hole=(slice(0, 20), slice(0, 40)))
    (tmp_path / "x" / "s2_0.tif").write_bytes((tmp_path / "y" / "s2_0.tif").read_bytes())
    entries = find_corpus([tmp_path / "x"]).entries
    reader = WindowReader(entries, CONFIG)
    above = reader.read(Draw(0, entries[0].extent, window(2, 2, 16))).stacks["s2"]
    below = reader.read(Draw(0, entries[0].extent, window(22, 2, 16))).stacks["s2"]
    assert [str(day) for day in above.dates] == ["2021-02-15"]
    assert [str(day) for day in below.dates] == ["2021-01-15", "2021-02-15"]
    assert len(above.values) == len(above.band_present) == 1


def test_a_damaged_file_is_left_out_counted_and_named(tmp_path):
    write_scene(tmp_path / "x", s2=5, side=120)
    cut_off(tmp_path / "x" / "s2_3.tif")
    entries = find_corpus([tmp_path]).entries
    reader = WindowReader(entries, CONFIG)
    blocks = plan_blocks(entries[0], CONFIG)
    assert len(blocks) == 4
    for block in (*blocks, blocks[0]):
        raw = reader.read(Draw(0, block, Window(block.row, block.col, 16, 16)))
        assert [day.month for day in raw.stacks["s2"].dates] == [1, 2, 3, 5]
    ((problem, count),) = reader.problems.items()
    assert problem.name == "x, s2_3.tif" and "damaged" in problem.reason and count == 4
    reader.close()


def test_a_scene_that_cannot_be_read_at_all_is_named_and_shows_nothing(tmp_path):
    write_scene(tmp_path / "x", s2=1, side=120)
    entries = find_corpus([tmp_path]).entries
    cut_off(tmp_path / "x" / "s2_0.tif")
    reader = WindowReader(entries, CONFIG)
    assert reader.read(Draw(0, entries[0].extent, window(0, 0, 16))) is None
    assert [problem.name for problem in reader.problems] == ["x, s2_0.tif"]


def test_readers_beyond_the_limit_of_open_files_are_closed(tmp_path, monkeypatch):
    monkeypatch.setattr("skysense.pretrain.windows._MOST_FILES", 5)
    for name in "abc":
        write_scene(tmp_path / name, s2=2, side=16)
    entries = find_corpus([tmp_path]).entries
    reader = WindowReader(entries, replace(CONFIG, cache_mb=0))
    for number in (0, 1, 2, 0, 1, 2):
        assert reader.read(Draw(number, entries[number].extent, window(0, 0, 16))) is not None
        assert len(reader._all[0]) <= 2
    reader.close()
    assert not reader._all[0]
