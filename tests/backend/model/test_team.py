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
        one = Team(2, lambda run: pool.submit(run))
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


def test_the_oldest_tile_goes_first_whoever_shares_first():
    """Two threads that nobody calls: what each makes is what it takes by itself."""
    team = Team(1, lambda run: None)
    begun, of_new, of_old = threading.Event(), threading.Event(), threading.Event()
    order, done = [], threading.Event()

    def old(part):
        of_old.set()
        if part == 0:
            assert done.wait(30)  # the older tile's own thread is held here
        order.append(("old", part))

    def new(part):
        of_new.set()
        if part == 0:
            assert of_old.wait(30)
        order.append(("new", part))

    def older():
        team.join()
        begun.set()
        assert of_new.wait(30)  # the newer one has shared before
        with torch.inference_mode():
            each(old, range(3))

    def newer():
        assert begun.wait(30)
        team.join()
        with torch.inference_mode():
            each(new, range(3))
        done.set()

    with ThreadPoolExecutor(2) as pool:
        for work in [pool.submit(older), pool.submit(newer)]:
            work.result(60)
    assert order == [("new", 0), ("old", 1), ("old", 2), ("new", 1), ("new", 2), ("old", 0)]


def test_a_helper_lets_a_waiting_tile_go_first():
    with ThreadPoolExecutor(1) as pool:
        one, order = Team(2, lambda run: pool.submit(run)), []
        called, waiting = threading.Event(), threading.Event()

        def make(part):
            if threading.current_thread() is not owner:
                called.set()
                assert waiting.wait(30)  # a tile waits for this thread by now
                order.append(part)
            else:
                assert called.wait(30) and tile.wait(30)  # the owner leaves the rest to it

        def waits():
            order.append("tile")
            tile.set()

        tile = threading.Event()

        def own():
            one.join()
            with torch.inference_mode():
                each(make, range(3))

        owner = threading.Thread(target=own)
        owner.start()
        assert called.wait(30)
        pool.submit(waits)
        waiting.set()
        owner.join(60)
    assert order[1] == "tile"


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
    calls, shared_by, together = [], [], threading.Barrier(2)

    def fused(*arguments):
        if shared_by and len(calls) < 2:
            calls.append(0)
            together.wait(60)  # both threads are at it
        threads.add(threading.get_ident())
        return inner(*arguments)

    def tile():
        torch.get_num_threads()  # a thread has its own number from its first question on
        torch.set_num_threads(usual)
        with torch.inference_mode():
            return model(inputs, crop=4).fused

    monkeypatch.setattr(fuse, "_fused", fused)
    alone = tile()
    shared_by.append(team)
    shared = team.pool.submit(tile).result(120)
    assert torch.equal(alone, shared) and len(threads) == 3
