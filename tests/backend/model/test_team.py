"""Parts that several threads compute: every one once, the oldest first, errors where they belong."""

import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from skysense.model import fuse
from skysense.model.inputs import Inputs
from skysense.model.presets import seeded_model
from skysense.model.team import Team, each


@pytest.fixture
def team():
    """A team of two threads, one of which is called when the other shares."""
    with ThreadPoolExecutor(2) as pool:
        one = Team(lambda run: pool.submit(run))
        together = threading.Barrier(2)

        def join():
            one.join()
            together.wait(10)  # both threads are there

        list(pool.map(lambda _: join(), range(2)))
        one.pool = pool
        yield one


def shared(team, make, parts):
    """As one of the team's threads does it in inference mode."""

    def work():
        with torch.inference_mode():
            return each(make, parts)

    return team.pool.submit(work)


def test_both_compute_parts_of_one_work_and_results_keep_their_order(team):
    together, made = threading.Barrier(2), []

    def make(part):
        if part < 2:
            together.wait(10)  # breaks unless two threads are at it
        made.append(part)
        return 10 * part, torch.is_inference_mode_enabled()

    assert shared(team, make, range(7)).result(20) == [(10 * part, True) for part in range(7)]
    assert sorted(made) == list(range(7))


def test_the_oldest_work_goes_first(team):
    begun, first, order = threading.Event(), threading.Event(), []

    def old(part):
        begun.set()
        if part == 0:
            assert first.wait(10)
        order.append(("old", part))

    one = shared(team, old, range(3))
    assert begun.wait(10)
    other = shared(team, lambda part: order.append(("new", part)), range(3))
    # While one thread is held in the first part, the other makes the rest of the old work, and only then its own.
    other.result(10)
    first.set()
    one.result(10)
    assert order == [("old", 1), ("old", 2), ("new", 0), ("new", 1), ("new", 2), ("old", 0)]


def test_an_error_ends_its_own_work_and_holds_nothing(team):
    class Activations:
        pass

    held = []

    def fail(part):
        activations = Activations()
        held.append(weakref.ref(activations))
        raise ValueError(f"part {part}")

    gc.disable()
    try:
        with pytest.raises(ValueError, match="part"):
            shared(team, fail, range(50)).result(10)
        alive = [one() for one in held if one() is not None]
    finally:
        gc.enable()
    assert len(held) <= 2 and not alive
    assert shared(team, lambda part: part + 1, range(3)).result(10) == [1, 2, 3]


def test_without_a_team_or_with_gradients_a_thread_computes_alone(team):
    me = threading.get_ident()
    with torch.inference_mode():
        assert each(lambda part: (part, threading.get_ident()), [1, 2]) == [(1, me), (2, me)]
    there = team.pool.submit(lambda: each(lambda part: threading.get_ident(), range(9))).result(10)
    assert len(set(there)) == 1


def test_a_tile_is_the_same_to_the_bit(team, monkeypatch):
    model, threads = seeded_model("tiny"), set()
    model.locations = 64
    torch.manual_seed(0)
    valid = torch.rand(1, 3, 32, 32) > 0.2
    valid[:, :, 8:16, 8:16] = False
    inputs = Inputs(s2=torch.randn(1, 3, 10, 32, 32), s2_valid=valid, s2_day=torch.tensor([[20, 150, 300]]))
    usual, inner = torch.get_num_threads(), fuse._fused

    def fused(*arguments):
        threads.add(threading.get_ident())
        return inner(*arguments)

    def tile():
        torch.get_num_threads()  # a thread has its own number from its first question on
        torch.set_num_threads(usual)
        with torch.inference_mode():
            return model(inputs, crop=4).fused

    monkeypatch.setattr(fuse, "_fused", fused)
    alone = tile()
    together = team.pool.submit(tile).result(60)
    assert torch.equal(alone, together) and len(threads) == 3
