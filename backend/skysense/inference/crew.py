"""Several processes of this machine, or the workers of a Dask cluster, make one map.

Each gets shares of neighbouring chunks and writes them where a single process would: the map has the same bytes. A share whose
worker dies is given to another; what the dead one had finished stays.
"""

import multiprocessing
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from skysense.errors import InputError
from skysense.inference.heap import give_back
from skysense.inference.journal import digest_of
from skysense.inference.lock import RunLock
from skysense.inference.making import Making
from skysense.inference.session import open_session
from skysense.jobs.control import JobControl
from skysense.jobs.recipe import Recipe

#: Times that a share is tried: a share that kills three workers would kill the next as well.
_TRIES = 3
_LOOK_S = 0.2
_PATIENCE = "10s"  # for a scheduler that does not answer
_SHARE = 0.97  # of the progress bar, as in `run`


@dataclass(frozen=True)
class Order:
    """What a worker needs to know of a map.

    Attributes:
        recipe: of the map; folder: of its chunks, on storage that all workers share.
        digest: of the run's manifest; chosen: see `journal.begin`.
    """

    recipe: Recipe
    folder: Path
    digest: str
    chosen: dict[str, int]


def compute_together(
    making: Making,
    folder: Path,
    content: dict[str, Any],
    chosen: dict[str, int],
    lock: RunLock,
    control: JobControl,
) -> None:
    """See to it that workers compute every chunk that is not yet on disk.

    Args:
        making: tells the chunks; it computes none itself.
        content: the run's manifest; chosen: see `journal.begin`.

    Raises:
        InputError: the cluster cannot be reached, a worker sees other files, or the same share failed three times; StorageError;
        Cancelled.
    """
    from skysense.inference.run import is_whole, tell

    layers, chunks, recipe = making.layers.layers, making.plan.chunks, making.session.recipe
    order = Order(recipe, folder.resolve(), digest_of(content), chosen)
    waiting = {number for number, chunk in enumerate(chunks) if not is_whole(layers, folder, chunk)}
    shares = [[n for n in share if n in waiting] for share in making.plan.shares(making.session.tiling)]
    tries = {tuple(share): 0 for share in shares if share}

    def look() -> None:
        """Tell of new chunks; a point where the job can be cancelled."""
        control.check()
        lock.check()
        for number in sorted(waiting):
            if is_whole(layers, folder, chunks[number]):
                waiting.discard(number)
                done = len(chunks) - len(waiting)
                tell(layers, folder, chunks[number], done, len(chunks), control)
                control.progress(_SHARE * done / len(chunks), "Mapping")

    left = list(tries)
    while left:
        for share in left:
            tries[share] += 1
            if tries[share] > _TRIES:
                raise InputError(
                    f"stopped its worker {_TRIES} times",
                    f"a part of {making.session.recipe.output.name}",
                    "Use fewer workers: their memory may not suffice",
                )
        with _pool(recipe) as pool:
            running = {pool.submit(compute_share, order, list(share)): share for share in left}
            left = _outcome(running, look)
    look()


def _outcome(
    running: dict["Future[None]", tuple[int, ...]], look: Callable[[], None]
) -> list[tuple[int, ...]]:
    """Wait for all shares; returns those whose worker died."""
    lost = []
    while running:
        look()
        for future in [future for future in running if future.done()]:
            share = running.pop(future)
            try:
                future.result()
            except BrokenProcessPool:
                lost.append(share)
        time.sleep(_LOOK_S)
    return lost


@contextmanager
def _pool(recipe: Recipe) -> Iterator[Executor]:
    """Processes of this machine, or a Dask cluster's workers; whatever still runs at the end is stopped."""
    if recipe.options.scheduler is not None:
        with _cluster(recipe.options.scheduler) as executor:
            yield executor
        return
    # Not forked: threads and a GPU's context do not survive that.
    pool = ProcessPoolExecutor(recipe.options.workers, multiprocessing.get_context("spawn"))
    try:
        yield pool
    finally:
        processes = list((pool._processes or {}).values())
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()


@contextmanager
def _cluster(address: str) -> Iterator[Executor]:
    try:
        from distributed import Client
    except ImportError:
        raise InputError(
            "needs Dask, which is not installed", "--scheduler", 'Install it: pip install "skysense[cluster]"'
        ) from None
    try:
        client = Client(address, timeout=_PATIENCE, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise InputError(
            f"cannot be reached ({error})", address, "Start it (dask scheduler), or correct the address"
        ) from None
    try:
        yield client.get_executor(retries=_TRIES, pure=False)
    finally:
        client.close()  # what still runs for it is cancelled


_opened: tuple[Order, Making] | None = None  # of this process: opening takes longer than a small share


def compute_share(order: Order, numbers: list[int]) -> None:
    """Compute some chunks of a map, in a worker.

    Raises:
        InputError: this worker does not see the files that the map was begun with.
    """
    global _opened
    control = JobControl(lambda event: None)
    if _opened is None or _opened[0] != order:
        if _opened is not None:
            _opened[1].__exit__(None, None, None)
            _opened = None
        _opened = order, _open(order, control)
    from skysense.inference.run import is_whole, write_chunk

    making = _opened[1]
    layers, chunks = making.layers.layers, making.plan.chunks
    missing = [number for number in numbers if not is_whole(layers, order.folder, chunks[number])]
    making.expect([chunks[number] for number in missing])
    for number in missing:
        write_chunk(layers, order.folder, chunks[number], making.compute(chunks[number], control))
        give_back()


def _open(order: Order, control: JobControl) -> Making:
    recipe = order.recipe
    if recipe.options.device in ("auto", "cuda") and (count := torch.cuda.device_count()) > 1:
        number = (multiprocessing.current_process()._identity or (1,))[0] - 1
        device = f"cuda:{number % count}"
        recipe = replace(recipe, options=replace(recipe.options, device=device))
    session = open_session(recipe, control)
    if digest_of(session.manifest()) != order.digest:
        raise InputError(
            "is not what a worker sees: its files or its version of SkySense differ",
            session.scene.name,
            "Let all workers share the storage and the installation",
        )
    torch.set_num_threads(order.chosen["threads"])
    return Making(session, order.chosen["locations"], control)
