"""Tiles computed side by side.

Threads that share every product of a tile wait for each other many times in it, and all of them wait while one reads, prepares or
writes. So on a CPU several tiles are computed at a time, each by few threads, which share the bands of the oldest one's fusion
(`model.team`); a GPU computes one after the other while the next ones are read.

Shape legend: T threads of a lane.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from types import TracebackType
from typing import Self, TypeVar

import torch

from skysense.finetune.features import FeatureExtractor, TileFeatures, TileInput
from skysense.model.device import cpu_threads, lane_threads
from skysense.model.fuse import usual_locations
from skysense.model.team import Team
from skysense.raster.tiles import Tile

C = TypeVar("C")
R = TypeVar("R")

#: Threads that feed a GPU, whose own work is done by one at a time.
_MOST_READERS = 4


def usual_choice(device: torch.device) -> dict[str, int]:
    """How a device computes, on which features' last bits depend: by name the "threads" of a tile, the "locations" fused at a
    time, and whether the model's blocks are "compiled" (0 or 1)."""
    return {"threads": lane_threads(device), "locations": usual_locations(device), "compiled": 0}


class Lanes:
    """Computes tiles in a `with` block, during which torch uses T threads in every thread of this process; blocks end in order.

    Args:
        extractor: makes features.
        threads: T, on which the last bits of features depend; None: see `model.device.lane_threads`.
        share: of the machine, among so many processes.

    Attributes:
        count: tiles that are computed (on a GPU: read) at a time.
    """

    def __init__(self, extractor: FeatureExtractor, threads: int | None = None, share: int = 1) -> None:
        self.extractor = extractor
        device = extractor.device
        self._threads = threads or lane_threads(device)
        self._first, self._looked = threading.Lock(), threading.Event()
        self._computer: ThreadPoolExecutor | None = None
        if device.type == "cpu":
            self.count = max(1, cpu_threads() // self._threads // share)
        else:
            self.count = max(1, min(_MOST_READERS, cpu_threads() // 2))
            self._computer = _computer(device)

    def __enter__(self) -> Self:
        self._usual = torch.get_num_threads()
        torch.set_num_threads(self._threads)  # matrix products have one number for all
        self._team = Team(self.count, self._call)
        self._pool = ThreadPoolExecutor(self.count, thread_name_prefix="lane", initializer=self._begin)
        return self

    def _begin(self) -> None:
        torch.get_num_threads()  # torch counts for each thread, from its first question on
        torch.set_num_threads(self._threads)
        self._team.join()

    def _call(self, help_out: Callable[[], None]) -> None:
        """Have a lane without a tile help."""
        with suppress(RuntimeError):  # no lane begins anything when the pool is being shut down
            self._pool.submit(help_out)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._pool.shutdown(cancel_futures=True)
        finally:
            torch.set_num_threads(self._usual)

    @property
    def ahead(self) -> int:
        """Tiles that should be under way, so that none of the lanes waits."""
        return self.count + 1

    def submit(self, tile: Tile, then: Callable[[TileInput, TileFeatures], R]) -> "Future[R]":
        """Compute a tile's features, and from them what is wanted; errors come out of the future."""
        return self._pool.submit(self._compute, tile, then)

    def over(
        self, tiles: Iterable[tuple[Tile, C]], then: Callable[[TileInput, TileFeatures], R]
    ) -> Iterator[tuple[Tile, C, R]]:
        """What is wanted of tiles, in their order; what came with each tile is given back."""
        coming = deque[tuple[Tile, C, Future[R]]]()
        try:
            for tile, own in tiles:
                coming.append((tile, own, self.submit(tile, then)))
                if len(coming) >= self.ahead:
                    yield _first(coming)
            while coming:
                yield _first(coming)
        finally:
            coming.clear()  # what an error in one of them holds goes with it

    def features(self, tiles: Iterable[tuple[Tile, C]]) -> Iterator[tuple[Tile, C, TileFeatures]]:
        """Features of tiles, as of `over`."""
        return self.over(tiles, _features)

    def _compute(self, tile: Tile, then: Callable[[TileInput, TileFeatures], R]) -> R:
        self._team.begin()
        data = self._read(tile)

        def compute() -> R:
            return then(data, self.extractor.features(data))

        return compute() if self._computer is None else self._computer.submit(compute).result()

    def _read(self, tile: Tile) -> TileInput:
        """The first tile alone: the files that it opens serve the others, and it is there the sooner."""
        if self._looked.is_set() or not self._first.acquire(blocking=False):
            self._looked.wait()
            return self.extractor.read(tile)
        try:
            return self.extractor.read(tile)
        finally:
            self._looked.set()


@lru_cache
def _computer(device: torch.device) -> ThreadPoolExecutor:
    """The one thread that a GPU works for, as long as the process lives: CUDA's libraries make their plans anew for each thread,
    which takes seconds."""
    return ThreadPoolExecutor(1, thread_name_prefix=f"{device.type}")


def _first(coming: deque[tuple[Tile, C, "Future[R]"]]) -> tuple[Tile, C, R]:
    tile, own, future = coming.popleft()
    try:
        return tile, own, future.result()
    finally:
        del future  # an error leads to this frame, and the future to the error: a circle that would hold all its tensors


def features_of(extractor: FeatureExtractor, tiles: Iterable[Tile]) -> list[TileFeatures]:
    """Features of a few tiles, in their order; torch's threads are as they were when all are there."""
    with Lanes(extractor) as lanes:
        return [features for *_, features in lanes.features((tile, None) for tile in tiles)]


def _features(data: TileInput, features: TileFeatures) -> TileFeatures:
    return features
