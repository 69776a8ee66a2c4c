from dataclasses import replace

import numpy as np
import pytest
from corpus_fixtures import write_scene
from skysense.pretrain.config import PretrainConfig
from skysense.pretrain.corpus import find_corpus
from skysense.pretrain.sampler import Sampler

CONFIG = PretrainConfig(window=16, hr_window=64, batch=16)


@pytest.fixture(scope="module")
def entries(tmp_path_factory):
    """Two series in one region (25 and 1 windows), one 300 km east (1), HR alone (4), fused (1)."""
    folder = tmp_path_factory.mktemp("corpus")
    write_scene(folder / "a-large", s2=1, side=80)
    write_scene(folder / "b-small", s2=1, side=16)
    write_scene(folder / "c-far", s1=1, side=16, x=800000.0)
    write_scene(folder / "d-hr", hr=1, side=32)
    write_scene(folder / "e-fused", s2=1, hr=1, side=16)
    return find_corpus([folder]).entries


def shares(entries, power):
    return Sampler(entries, replace(CONFIG, area_exponent=power)).shares


def test_the_shares_follow_the_exponent(entries):
    np.testing.assert_allclose(shares(entries, 1.0), np.array([25, 1, 1, 4, 1]) / 32)
    np.testing.assert_allclose(shares(entries, 0.0), [1 / 12, 1 / 12, 1 / 6, 1 / 3, 1 / 3])
    kinds = np.sqrt(27) + 2 + 1
    series, near = np.sqrt(27) / kinds, np.sqrt(26) / (np.sqrt(26) + 1)
    expected = [series * near * 5 / 6, series * near / 6, series * (1 - near), 2 / kinds, 1 / kinds]
    np.testing.assert_allclose(shares(entries, 0.5), expected)


def test_draws_follow_the_shares_and_kinds_mix_in_every_step(entries):
    sampler = Sampler(entries, CONFIG)
    counts = np.zeros(len(entries))
    series = sampler.shares[:3].sum() * CONFIG.batch
    for step in range(500):
        drawn = [sampler.draw(step, index).entry for index in range(CONFIG.batch)]
        assert abs(sum(entry < 3 for entry in drawn) - series) < 2
        counts += np.bincount(drawn, minlength=len(entries))
    np.testing.assert_allclose(counts / counts.sum(), sampler.shares, atol=0.015)


def test_a_draw_is_a_function_of_seed_step_slot_and_attempt(entries):
    one, two = Sampler(entries, CONFIG), Sampler(entries, CONFIG)
    keys = [(step, index, attempt) for step in range(4) for index in range(16) for attempt in range(2)]
    first = {key: one.draw(*key) for key in keys}
    assert first == {key: two.draw(*key) for key in reversed(keys)}
    assert len({(draw.entry, draw.window) for draw in first.values()}) > len(keys) / 2
    other = Sampler(entries, replace(CONFIG, seed=1))
    assert sum(other.draw(*key) == first[key] for key in keys) < len(keys) / 4


def test_windows_lie_in_their_block_and_have_the_kind_s_side(entries):
    sampler = Sampler(entries, CONFIG)
    for step in range(30):
        for index in range(16):
            draw = sampler.draw(step, index)
            assert draw.block.contains(draw.window)
            assert draw.window.height == draw.window.width == (64 if entries[draw.entry].kind == "hr" else 16)


def test_a_slot_stays_on_its_block_where_the_cache_is_too_small(entries):
    config = replace(CONFIG, cache_mb=0, block_steps=4)
    sampler = Sampler(entries, config)
    blocks = [[(d.entry, d.block) for d in (sampler.draw(step, i) for i in range(16))] for step in range(9)]
    for index in range(16):
        # slot 0 moves on at step 4, slots 4.. one step earlier, and so on
        moves = 4 - index * 4 // 16
        assert len({blocks[step][index] for step in range(moves)}) == 1
        assert len({blocks[step][index] for step in range(moves, moves + 4)}) == 1
    within = [{sampler.draw(step, index).window for step in range(4)} for index in range(4)]
    assert max(len(windows) for windows in within) > 1  # another window of the same block
    everything = Sampler(entries, CONFIG)
    assert len({tuple(everything.draw(step, i).entry for step in range(4)) for i in range(16)}) > 8
