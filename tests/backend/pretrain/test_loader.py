import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from corpus_fixtures import SHARED, cut_off, write_scene
from skysense.errors import InputError
from skysense.pretrain.config import PretrainConfig
from skysense.pretrain.corpus import find_corpus
from skysense.pretrain.loader import Loader

CONFIG = PretrainConfig(steps=6, batch=6, window=16, hr_window=64, workers=2)


@pytest.fixture
def entries(tmp_path):
    write_scene(tmp_path / "a", s2=3, s1=2, side=48)
    write_scene(tmp_path / "b", s2=2, hr=1, side=24)
    write_scene(tmp_path / "c", hr=1, side=24)
    return find_corpus([tmp_path]).entries


def print_of(raw, config, random):
    """What identifies a window and the generator that came with it."""
    sums = [float(stack.values.sum(dtype=np.float64)) for stack in raw.stacks.values()]
    return raw.scene, tuple(raw.stacks), tuple(sums), float(random.random())


def steps(entries, config, **more):
    with Loader(entries, print_of, config, **more) as loader:
        return list(loader)


def test_steps_are_the_same_with_any_number_of_threads(entries):
    alone = steps(entries, replace(CONFIG, workers=0))
    assert len(alone) == 6 and all(len(step) == 6 for step in alone)
    assert len({item for step in alone for item in step}) == 36
    for workers in (1, 3):
        assert steps(entries, replace(CONFIG, workers=workers)) == alone


def test_a_resumed_run_and_several_processes_share_one_order(entries):
    whole = steps(entries, CONFIG)
    assert steps(entries, CONFIG, first_step=4) == whole[4:]
    first, second = (steps(entries, CONFIG, rank=rank, processes=2) for rank in (0, 1))
    assert [step[0::2] for step in whole] == first and [step[1::2] for step in whole] == second


def test_what_make_raises_surfaces_and_the_loader_closes(entries):
    def fail(raw, config, random):
        raise RuntimeError("in make")

    for workers in (0, 2):
        with (
            pytest.raises(RuntimeError, match="in make"),
            Loader(entries, fail, replace(CONFIG, workers=workers)) as loader,
        ):
            next(iter(loader))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("imagery")]


def test_leaving_early_ends_the_threads(entries):
    with Loader(entries, print_of, replace(CONFIG, steps=10_000)) as loader:
        next(iter(loader))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("imagery")]


def test_no_more_than_a_few_steps_are_prepared_and_waiting_is_measured(entries):
    made = []

    def slow(raw, config, random):
        time.sleep(0.01)
        made.append(raw.scene)

    with Loader(entries, slow, replace(CONFIG, steps=100)) as loader:
        upcoming = iter(loader)
        next(upcoming)
        assert loader.waited_s >= 0.03  # three rounds of two threads
        time.sleep(0.5)
        assert len(made) == 18
        before = loader.waited_s
        next(upcoming)
        assert loader.waited_s - before < 0.01


def test_damaged_files_do_not_stop_the_run(tmp_path):
    write_scene(tmp_path / "a", s2=3, side=64)
    write_scene(tmp_path / "b", s2=1, side=64)
    entries = find_corpus([tmp_path]).entries
    cut_off(tmp_path / "a" / "s2_1.tif")
    cut_off(tmp_path / "b" / "s2_0.tif")
    for workers in (0, 2):
        with Loader(entries, print_of, replace(CONFIG, workers=workers)) as loader:
            assert {item[0] for step in loader for item in step} == {"a"}
            assert {problem.name for problem in loader.problems} == {"a, s2_1.tif", "b, s2_0.tif"}


def test_nothing_but_damaged_files_is_an_error_that_names_them(tmp_path):
    write_scene(tmp_path / "a", s2=1, side=64)
    entries = find_corpus([tmp_path]).entries
    cut_off(tmp_path / "a" / "s2_0.tif")
    with pytest.raises(InputError, match=r"100 windows in a row .*a, s2_0.tif: .*damaged"):
        steps(entries, CONFIG)


@pytest.mark.skipif(not SHARED.exists(), reason="the sample data are not here")
def test_real_scenes_make_steps_of_mixed_kinds():
    places = ("flanders-crops-2018", "flanders-crops-2019-20m", "forest-birch-1", "kampala-buildings")
    entries = find_corpus([SHARED / "scenes" / place for place in places]).entries
    found = steps(entries, replace(CONFIG, batch=16, steps=1, window=32, hr_window=384))[0]
    assert {item[1] for item in found} == {("hr",), ("s2", "s1"), ("hr", "s2", "s1")}
    assert all(np.isfinite(item[2]).all() for item in found)
