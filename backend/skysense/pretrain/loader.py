"""The steps of a run as they are learned from: windows drawn, read and augmented in threads beside the training.

Each sample is a function of (seed, step, index) alone, so steps are the same with any number of threads. Threads
suffice: decoding and array work release Python's lock, and they share one cache.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, Self, TypeVar

import numpy as np

from skysense.errors import InputError
from skysense.pretrain.config import PretrainConfig
from skysense.pretrain.corpus import Entry
from skysense.pretrain.found import Omitted
from skysense.pretrain.sampler import Sampler
from skysense.pretrain.windows import RawWindow, WindowReader

Item = TypeVar("Item")
#: From a window, the settings and the sample's own generator.
Make = Callable[[RawWindow, PretrainConfig, np.random.Generator], Item]

#: Steps that are prepared ahead: enough to hide a block that must be decoded, few enough to hold in memory.
_AHEAD = 3
#: So many draws in a row without enough valid pixels mean that there is nothing to learn from.
_ATTEMPTS = 100
#: First word of the generators' seeds; those of the sampler are 1 and 2.
_MAKE = 3


class Loader(Generic[Item]):
    """Steps of items in order: iterate, then `close`, or use it as a context manager.

    Args:
        entries: the corpus.
        make: turns a window into what the training takes, e.g. `pretrain.views.make_sample`; runs in threads.
        first_step: the first that is given; the last is `config.steps` - 1.
        rank, processes: process r of n gets slots r, r + n, ... of each step's batch.

    `config.workers` 0 = no threads. What a thread raises, the iteration raises.
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        make: Make[Item],
        config: PretrainConfig,
        *,
        first_step: int = 0,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        self._make, self._config = make, config
        self._sampler = Sampler(entries, config)
        self._reader = WindowReader(entries, config)
        self._indices = range(rank, config.batch, processes)
        self._first_step = first_step
        self._pool = ThreadPoolExecutor(config.workers, "imagery") if config.workers else None
        self._waited = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def waited_s(self) -> float:
        """Seconds that the iteration has waited for items so far."""
        return self._waited

    @property
    def problems(self) -> Counter[Omitted]:
        """See `WindowReader.problems`."""
        return self._reader.problems

    def close(self) -> None:
        """Stop the threads and close all files."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        self._reader.close()

    def __iter__(self) -> Iterator[list[Item]]:
        steps = iter(range(self._first_step, self._config.steps))
        if self._pool is None:
            for step in steps:
                began = time.perf_counter()
                items = [self.item(step, index) for index in self._indices]
                self._waited += time.perf_counter() - began
                yield items
            return
        queue: deque[list[Future[Item]]] = deque()
        while True:
            while len(queue) < _AHEAD and (ahead := next(steps, None)) is not None:
                queue.append([self._pool.submit(self.item, ahead, index) for index in self._indices])
            if not queue:
                return
            began = time.perf_counter()
            items = [future.result() for future in queue.popleft()]
            self._waited += time.perf_counter() - began
            yield items

    def item(self, step: int, index: int) -> Item:
        """Slot `index` of a step; windows that show too little are drawn again.

        Raises:
            InputError: no draw shows enough; it says what could not be read.
        """
        for attempt in range(_ATTEMPTS):
            raw = self._reader.read(self._sampler.draw(step, index, attempt))
            if raw is not None:
                random = np.random.default_rng((_MAKE, self._config.seed, step, index))
                return self._make(raw, self._config, random)
        reasons = "; ".join(f"{problem.name}: {problem.reason}" for problem in self.problems)
        raise InputError(
            f"{_ATTEMPTS} windows in a row show less than {self._config.min_valid:.0%} of valid pixels"
            + (f" ({reasons})" if reasons else ""),
            "data",
            "Check the imagery; add scenes with valid pixels",
        )
