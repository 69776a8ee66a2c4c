"""Several processes of this machine, or the workers of a Dask cluster, make one raster.

Each gets shares of neighbouring chunks and writes them where a single process would: the raster has the same bytes. A share whose
worker dies is given to another; what the dead one had finished stays.
"""

import importlib
import multiprocessing
import os
import platform
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from skysense.errors import Cancelled, InputError, SkySenseError
from skysense.heap import tidy
from skysense.inference.journal import digest_of, is_current
from skysense.inference.lock import RunLock, holds, wait_while_paused
from skysense.inference.work import Work
from skysense.jobs.control import JobControl
from skysense.jobs.recipe import Options, Recipe
from skysense.model.compiled import can_compile

#: Times that a share is tried: a share that kills three workers would kill the next as well.
_TRIES = 3
_LOOK_S = 0.2
#: Seconds between two looks at a cluster's workers, and without any after which the user is told.
_STAFF_S, _VACANT_S = 1.0, 5.0
_PATIENCE = "10s"  # for a scheduler that does not answer
_CLUSTER = 4  # workers that a cluster is taken to have when shares are cut


@dataclass(frozen=True)
class Order:
    """What a worker needs to know of a raster.

    Attributes:
        kind: of raster, "module:class"; found: see `work.Work`.
        recipe: of the raster; folder: of its chunks, on storage that all workers share.
        digest: of the run's manifest; chosen: see `journal.begin`.
        run: that owns the chunks, see `lock.RunLock`.
    """

    kind: str  # a class itself could not even be read by a worker of another version
    recipe: Recipe
    folder: Path
    digest: str
    chosen: dict[str, int]
    run: str
    found: dict[str, Any] = field(default_factory=dict, compare=False)  # arrays, which the others identify

    def check(self) -> None:
        """Raises Cancelled where the run has ended, or has begun again in another way: what is computed is of no use."""
        if not (holds(self.folder, self.run) and is_current(self.folder, self.digest, self.chosen)):
            raise Cancelled()


def kind_of(work: Work[Any]) -> str:
    """As `Order.kind`."""
    return f"{type(work).__module__}:{type(work).__qualname__}"


def is_shared(options: Options) -> bool:
    """Whether several processes are to make a raster."""
    return options.scheduler is not None or options.workers > 1


def compute_together(
    work: Work[Any],
    folder: Path,
    content: dict[str, Any],
    chosen: dict[str, int],
    lock: RunLock,
    control: JobControl,
) -> None:
    """See to it that workers compute every chunk that is not yet on disk.

    Args:
        work: tells the chunks; it computes none itself.
        content: the run's manifest; chosen: see `journal.begin`.

    Raises:
        InputError: the cluster cannot be reached, a worker sees other files, or the same share failed three times; StorageError;
        Cancelled.
    """
    chunks, recipe = work.plan.chunks, work.session.recipe
    digest = digest_of(content)
    order = Order(kind_of(work), _everywhere(recipe), folder.resolve(), digest, chosen, lock.run, work.found)
    waiting = {number for number, chunk in enumerate(chunks) if not work.is_whole(folder, chunk)}
    workers = _CLUSTER if recipe.options.scheduler else recipe.options.workers
    shares = [[number for number in share if number in waiting] for share in work.plan.shares(workers)]
    tries = {tuple(share): 0 for share in shares if share}
    part = control.share(*work.span)

    def look() -> None:
        """Tell of new chunks; a point where the job can be cancelled."""
        control.check()
        lock.check()
        for number in sorted(waiting):
            if work.is_whole(folder, chunks[number]):
                waiting.discard(number)
                done = len(chunks) - len(waiting)
                work.tell(folder, chunks[number], done, len(chunks), control)
                part.progress(done / len(chunks), work.text)

    left = list(tries)
    while left:
        for share in left:
            tries[share] += 1
            if tries[share] > _TRIES:
                raise InputError(
                    f"stopped its worker {_TRIES} times",
                    f"a part of {recipe.output.name}",
                    "Use fewer workers: their memory may not suffice",
                )
        with control.holding(lock.paused), _pool(recipe, control) as (pool, watch):
            with _unheard():
                running = {pool.submit(compute_share, order, list(share)): share for share in left}
            before = len(waiting)
            left = _outcome(running, look, watch)
        if len(waiting) < before:  # the workers that died were not stopped by one and the same share
            tries = dict.fromkeys(tries, 0)
    look()


def _outcome(
    running: dict["Future[None]", tuple[int, ...]], *looks: Callable[[], None]
) -> list[tuple[int, ...]]:
    """Wait for all shares; returns those whose worker died."""
    lost = []
    while running:
        for look in looks:
            look()
        for future in [future for future in running if future.done()]:
            share = running.pop(future)
            try:
                future.result()
            except BrokenProcessPool:
                lost.append(share)
            except (SkySenseError, torch.OutOfMemoryError):
                raise
            except Exception as error:
                if not type(error).__module__.startswith(("distributed", "dask", "concurrent", "asyncio")):
                    raise
                raise InputError(
                    f"gave up ({type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no reason'})",
                    "the cluster",
                    "Look into its workers' logs, then try again: what is finished stays",
                ) from None
        time.sleep(_LOOK_S)
    return lost


@contextmanager
def _pool(recipe: Recipe, control: JobControl) -> Iterator[tuple[Executor, Callable[[], None]]]:
    """Processes of this machine, or a Dask cluster's workers; whatever still runs at the end is stopped.

    Beside them what is to be called now and then: it tells where nobody works.
    """
    if recipe.options.scheduler is not None:
        with _cluster(recipe.options.scheduler, control) as found:
            yield found
        return
    # Not forked: threads and a GPU's context do not survive that.
    pool = ProcessPoolExecutor(
        recipe.options.workers, multiprocessing.get_context("spawn"), initializer=_end_with_parent
    )
    try:
        yield pool, lambda: None
    finally:
        processes = list((pool._processes or {}).values())
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
            process.join(_LOOK_S * 10)


@contextmanager
def _unheard() -> Iterator[None]:
    """Processes that begin in here hear no Ctrl-C, which a terminal sends to all: this one tells them to end."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_parent() -> None:
    """In a worker process: a parent that was killed leaves nobody behind."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, name="parent", daemon=True).start()


def _everywhere(recipe: Recipe) -> Recipe:
    """The recipe with paths that hold in any folder."""

    def whole(path: str | None) -> str | None:
        return None if path is None else str(Path(path).resolve())

    scene, options = recipe.scene, recipe.options
    return replace(
        recipe,
        scene=whole(scene) if isinstance(scene, str) else scene,
        root=recipe.root.resolve(),
        output=recipe.output.resolve(),
        model=None if recipe.model is None else recipe.model.resolve(),
        options=replace(options, within=whole(options.within)),
    )


@contextmanager
def _cluster(address: str, control: JobControl) -> Iterator[tuple[Executor, Callable[[], None]]]:
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
        workers = _Staff(lambda: len(client.scheduler_info()["workers"]), address, control)
        yield client.get_executor(retries=_TRIES, pure=False), workers.look
    finally:
        client.close()  # what runs for it ends at its next chunk: the run no longer owns them


class _Staff:
    """Tells when a cluster has had no workers for some seconds, once for each time: it takes the work and waits for them.

    Args:
        count: of its workers.
    """

    def __init__(self, count: Callable[[], int], address: str, control: JobControl) -> None:
        self._count, self._address, self._control = count, address, control
        self._worked, self._asked, self._told = time.monotonic(), float("-inf"), False

    def look(self) -> None:
        now = time.monotonic()
        if now - self._asked < _STAFF_S:
            return
        self._asked = now
        if self._count():
            self._worked, self._told = now, False
        elif not self._told and now - self._worked >= _VACANT_S:
            self._told = True
            self._control.note(
                f"The cluster at {self._address} has no workers yet: the work begins as soon as one joins."
            )


_opened: tuple[Order, Work[Any]] | None = None  # of this process: opening takes longer than a small share
_one = threading.Lock()  # a cluster's worker may have several threads, and a work is for one


def compute_share(order: Order, numbers: list[int]) -> None:
    """Compute some chunks of a raster, in a worker.

    Raises:
        InputError: this worker does not see the files that the run was begun with, or cannot compile as it was begun;
        Cancelled: the run has ended.
    """
    with _one:
        _compute_share(order, numbers)


def _compute_share(order: Order, numbers: list[int]) -> None:
    global _opened
    control = JobControl(lambda event: None)
    if _opened is None or _opened[0] != order:
        if _opened is not None:
            _opened[1].__exit__(None, None, None)
            _opened = None
        _opened = order, _open(order, control)
    work = _opened[1]
    chunks = [work.plan.chunks[number] for number in numbers]
    missing = [chunk for chunk in chunks if not work.is_whole(order.folder, chunk)]
    work.expect(missing)
    for chunk in missing:
        wait_while_paused(order.folder, order.run)
        order.check()
        values = work.compute(chunk, control)
        order.check()
        work.write(order.folder, chunk, values)
        tidy()


def _open(order: Order, control: JobControl) -> Work[Any]:
    recipe = order.recipe
    if recipe.options.device in ("auto", "cuda") and (count := torch.cuda.device_count()) > 1:
        number = (multiprocessing.current_process()._identity or (1,))[0] - 1
        device = f"cuda:{number % count}"
        recipe = replace(recipe, options=replace(recipe.options, device=device))
    kind = _kind_named(order.kind)
    session = kind.open(recipe, control)
    if digest_of(session.manifest()) != order.digest:
        raise _other_worker(session.scene.name)
    if order.chosen["compiled"] and not can_compile(session.device):
        raise InputError(
            f"cannot compile the model's blocks, with which {recipe.output.name} was begun",
            f"the worker on {platform.node()}",
            "Install a C compiler (gcc) on every machine that computes",
        )
    share = 1 if recipe.options.scheduler else recipe.options.workers
    return kind(session, order.chosen, control, share, **order.found)


def _kind_named(name: str) -> type[Work[Any]]:
    module, _, own = name.partition(":")
    try:
        kind: type[Work[Any]] = getattr(importlib.import_module(module), own)
    except (ImportError, AttributeError):
        raise _other_worker("the raster") from None
    return kind


def _other_worker(what: str) -> InputError:
    return InputError(
        "is not what a worker sees: its files or its version of SkySense differ",
        what,
        "Let all workers share the storage and the installation",
    )
