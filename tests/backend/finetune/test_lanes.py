"""Tiles side by side: in order, several at a time, with their own number of threads."""

import gc
import threading
import time
import weakref

import pytest
import torch
from skysense.finetune.lanes import Lanes, features_of
from skysense.model import device
from skysense.model.team import each

TILES = [(number, f"own {number}") for number in range(9)]


class Numbers:
    """An extractor of which a "tile" is a number, its features ten times that."""

    device = torch.device("cpu")

    def __init__(self, compute=lambda number: None):
        self.compute = compute

    def read(self, tile):
        return tile

    def features(self, tile):
        self.compute(tile)
        return tile * 10


@pytest.fixture
def four_cores(monkeypatch):
    monkeypatch.setattr("skysense.finetune.lanes.cpu_threads", lambda: 4)
    monkeypatch.setattr(device, "cpu_threads", lambda: 4)


def test_results_come_in_the_order_of_the_tiles(four_cores):
    def slow_first(number):
        if number == 0:
            assert later.wait(10)
        if number == 3:
            later.set()

    later = threading.Event()  # the first tile is done only after the fourth
    with Lanes(Numbers(slow_first)) as lanes:
        assert list(lanes.features(TILES)) == [(n, own, 10 * n) for n, own in TILES]
        assert list(lanes.over(TILES, lambda data, found: data - found))[8] == (8, "own 8", -72)
    assert features_of(Numbers(), [7, 2, 5]) == [70, 20, 50]


def test_tiles_are_not_begun_long_before_they_are_wanted(four_cores):
    begun = []
    with Lanes(Numbers(begun.append)) as lanes:
        results = lanes.features(TILES)
        next(results)
    assert len(begun) <= lanes.ahead < len(TILES)


@pytest.mark.parametrize(
    ("cores", "lanes", "threads"), [(1, 1, 1), (2, 2, 1), (5, 5, 1), (7, 3, 2), (15, 5, 3)]
)
def test_the_cores_are_shared_out(cores, lanes, threads, monkeypatch):
    monkeypatch.setattr("skysense.finetune.lanes.cpu_threads", lambda: cores)
    monkeypatch.setattr(device, "cpu_threads", lambda: cores)
    together, seen = threading.Barrier(lanes), []

    def meet(number):
        together.wait(10)  # all lanes are in a tile at once, or it breaks
        seen.append(torch.get_num_threads())

    usual = torch.get_num_threads()
    with Lanes(Numbers(meet)) as opened:
        assert len(list(opened.features((n, None) for n in range(2 * lanes)))) == 2 * lanes
        assert torch.get_num_threads() == threads
    assert seen == [threads] * 2 * lanes and torch.get_num_threads() == usual


def test_processes_share_the_cores_and_keep_the_threads(monkeypatch):
    monkeypatch.setattr("skysense.finetune.lanes.cpu_threads", lambda: 8)
    seen = []
    with Lanes(Numbers(lambda n: seen.append(torch.get_num_threads())), threads=2, share=2) as lanes:
        list(lanes.features(TILES))
    assert lanes.ahead == 3 and set(seen) == {2}
    with Lanes(Numbers(), threads=2, share=16) as lanes:
        assert lanes.ahead == 2


def test_one_tile_at_a_time_is_on_a_gpu():
    busy, most = [], []

    def alone(number):
        busy.append(number)
        most.append(len(busy))
        busy.remove(number)

    extractor = Numbers(alone)
    extractor.device = torch.device("cuda")
    with Lanes(extractor, threads=1) as lanes:
        list(lanes.features(TILES))
    assert set(most) == {1} and len(most) == len(TILES)


def test_the_first_tile_is_read_alone(four_cores):
    begun, beside = [], []

    class Slow(Numbers):
        def read(self, tile):
            begun.append(tile)
            if tile == 0:
                time.sleep(0.2)  # time for the others to come in between
                beside.extend(begun)
            return tile

    with Lanes(Slow()) as lanes:
        assert len(list(lanes.features(TILES))) == len(TILES)
    assert beside == [0] and sorted(begun) == list(range(9))
    with pytest.raises(ValueError, match="first"), Lanes(Numbers()) as lanes:
        lanes.extractor.read = lambda tile: (_ for _ in ()).throw(ValueError("first" if tile == 0 else ""))
        list(lanes.features(TILES))


def test_lanes_without_a_tile_help_with_the_only_one(four_cores):
    together = threading.Barrier(4)

    def parts(number):
        with torch.inference_mode():
            assert sorted(each(lambda part: together.wait(10), range(4))) == [0, 1, 2, 3]

    with Lanes(Numbers(parts)) as lanes:
        assert len(list(lanes.features(TILES[:1]))) == 1


def test_an_error_comes_out_where_its_tile_is_asked_for(four_cores):
    def fail(number):
        if number == 2:
            raise ValueError("tile 2")

    usual, found = torch.get_num_threads(), []
    with pytest.raises(ValueError, match="tile 2"), Lanes(Numbers(fail)) as lanes:
        found.extend(number for number, *_ in lanes.features(TILES))
    assert torch.get_num_threads() == usual and threading.active_count() < 20


def test_what_an_error_holds_goes_with_it(four_cores):
    """A GPU that ran out of memory must be empty when the run begins again."""

    class Activations:
        pass

    held = []

    def fail(number):
        activations = Activations()
        held.append(weakref.ref(activations))
        raise ValueError(f"tile {number}")

    gc.disable()
    try:
        with pytest.raises(ValueError), Lanes(Numbers(fail)) as lanes:
            list(lanes.features(TILES))
        alive = [one() for one in held if one() is not None]
    finally:
        gc.enable()
    assert held and not alive
