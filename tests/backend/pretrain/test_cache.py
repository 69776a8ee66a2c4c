import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from skysense.pretrain.cache import BlockCache


def test_the_least_recently_used_goes_first_and_bytes_are_bounded():
    cache, loaded = BlockCache(10, len), []

    def get(key, size):
        return cache.get(key, lambda: loaded.append(key) or key * size)

    assert get("a", 4) == "aaaa" and get("b", 4) == "bbbb" and cache.used == 8
    get("a", 4)  # used again: b is older
    assert cache.find("a") == "aaaa" and cache.find("c") is None
    get("c", 6)
    assert cache.used == 10
    get("a", 4)
    get("b", 4)
    assert loaded == ["a", "b", "c", "b"]


def test_what_is_larger_than_the_cache_is_handed_on():
    cache = BlockCache(3, len)
    assert cache.get("a", lambda: "aaaa") == "aaaa" and cache.used == 0
    assert cache.get("a", lambda: "bbbb") == "bbbb"


def test_threads_that_want_one_block_load_it_once():
    cache, loads, started = BlockCache(100, len), [], threading.Event()

    def load():
        loads.append(1)
        started.wait(0.2)  # the others come meanwhile
        return "x"

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: cache.get("k", load), range(8))) == ["x"] * 8
    assert loads == [1]


def test_a_failed_load_can_be_tried_again():
    cache = BlockCache(100, len)

    def fail():
        raise ValueError("no")

    for _ in range(2):
        with pytest.raises(ValueError):
            cache.get("k", fail)
    assert cache.get("k", lambda: "x") == "x"
