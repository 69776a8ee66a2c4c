"""A cache of decoded imagery, bounded in bytes: the least recently used goes first; each block is decoded once,
also if several threads ask for it."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class BlockCache(Generic[Value]):
    """Keeps values up to a number of bytes; a value larger than that is handed on and not kept.

    Args:
        limit: bytes that are kept at most.
        size: bytes of a value.
    """

    def __init__(self, limit: int, size: Callable[[Value], int]) -> None:
        self._limit, self._size = limit, size
        self._kept: OrderedDict[Hashable, Value] = OrderedDict()
        self._used = 0
        self._lock = threading.Lock()
        self._loading: dict[Hashable, tuple[threading.Lock, int]] = {}  # and how many threads use the lock

    @property
    def used(self) -> int:
        """Bytes that are kept now."""
        return self._used

    def find(self, key: Hashable) -> Value | None:
        """The value of a key; None where it is not kept."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def get(self, key: Hashable, load: Callable[[], Value]) -> Value:
        """The value of a key, from `load` where it is not kept; other threads that ask for it meanwhile wait."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            turn, users = self._loading.get(key, (threading.Lock(), 0))
            self._loading[key] = (turn, users + 1)
        try:
            with turn:
                with self._lock:
                    if key in self._kept:
                        return self._kept[key]
                value = load()
                self._keep(key, value)
                return value
        finally:
            with self._lock:
                turn, users = self._loading.pop(key)
                if users > 1:
                    self._loading[key] = (turn, users - 1)

    def _keep(self, key: Hashable, value: Value) -> None:
        size = self._size(value)
        if size > self._limit:
            return
        with self._lock:
            while self._used + size > self._limit:
                _, old = self._kept.popitem(last=False)
                self._used -= self._size(old)
            self._kept[key] = value
            self._used += size
