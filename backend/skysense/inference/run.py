"""Making a map: chunks that are not yet on disk are computed, by one process or several, and merged into finished rasters.

Reading, computing and writing overlap. What is finished stays finished: a run that was cancelled, killed or cut off goes on with
its chunks when the same is asked for again, and gives the same bytes as one that was not.
"""

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from skysense.errors import InputError
from skysense.finetune.lanes import usual_choice
from skysense.inference.heap import give_back
from skysense.inference.journal import begin, check_unchanged, close_journal, journal_folder
from skysense.inference.layers import Layer
from skysense.inference.lock import RunLock
from skysense.inference.making import Making
from skysense.inference.session import Session, open_session
from skysense.jobs.control import JobControl
from skysense.jobs.recipe import Recipe
from skysense.model.compiled import can_compile
from skysense.model.regions import RegionMatch
from skysense.raster.chunks import Chunk
from skysense.raster.identity import file_identities
from skysense.raster.maps import discard, put

_MERGING = 0.97  # share of the progress bar that mapping takes; the rest is merging
#: Locations that are fused at a time at least; a GPU whose memory does not hold them is too small for the model.
_FEWEST_LOCATIONS = 128


@dataclass(frozen=True)
class Made:
    """A finished map.

    Attributes:
        layers: its rasters; log: what the run tells of itself.
        session: what it was made with.
    """

    session: Session
    layers: tuple[Layer, ...]
    log: Path
    seconds: float


def make_map(recipe: Recipe, control: JobControl) -> Made:
    """Make all rasters of a map (`inference.layers`) and put them in their places, with the recipe and the run's log.

    Raises:
        InputError: the scene does not fit the model, cannot be used or changed meanwhile, or another run makes the same map;
        StorageError: the map cannot be written; Cancelled: the finished chunks stay for the next run.
    """
    started = time.monotonic()
    alone = recipe.options.scheduler is None and recipe.options.workers == 1
    session = open_session(recipe, control, ahead=alone)
    try:
        return _make(session, started, control)
    finally:
        session.close()


def _make(session: Session, started: float, control: JobControl) -> Made:
    recipe = session.recipe
    folder, before = journal_folder(recipe.output), file_identities(session.scene)
    with RunLock(folder, recipe.output, session.path.name) as lock:
        layers, chunks, matches = _compute(session, folder, lock, control)
        check_unchanged(session.scene, before, folder)
        control.progress(_MERGING, "Writing the map")
        _merge(layers, folder, chunks, session)
        seconds = time.monotonic() - started
        log = session.write_log(matches, seconds)
        close_journal(folder)
    control.progress(1.0, "Mapped")
    return Made(session, layers, log, seconds)


def _merge(layers: Sequence[Layer], folder: Path, chunks: tuple[Chunk, ...], session: Session) -> None:
    """Put all rasters in their places when all are made, the class map last: a map that is there is whole."""
    output, metadata = session.layout.output, session.metadata()
    with ThreadPoolExecutor(2, thread_name_prefix="merge") as pool:
        merging = [pool.submit(layer.merge, folder, chunks, output, metadata) for layer in layers]
    try:
        for layer, part in zip(layers, [merged.result() for merged in merging], strict=True):
            put(part, layer.path)
    except BaseException:
        for merged in merging:
            if merged.exception() is None:
                discard(merged.result())
        raise


def _compute(
    session: Session, folder: Path, lock: RunLock, control: JobControl
) -> tuple[tuple[Layer, ...], tuple[Chunk, ...], list[RegionMatch]]:
    """See to it that all chunks are on disk."""
    content = session.manifest()
    compiled = {"compiled": int(session.worth_compiling())}
    chosen = begin(folder, content, usual_choice(session.device) | compiled)
    if chosen["compiled"] and not can_compile(session.device):  # begun where a C compiler was
        chosen = begin(folder, content, chosen | {"compiled": 0}, anew=True)
        control.note(
            "The map was begun with compiled blocks, and nothing can be compiled here: it begins again."
        )
    if chosen["compiled"]:
        control.note(
            "The model is compiled for this GPU first: about a minute, after which the map is made faster."
        )
    while True:
        try:
            with Making(session, chosen, control) as making:
                options = session.recipe.options
                if options.scheduler is not None or options.workers > 1:
                    from skysense.inference.crew import compute_together

                    compute_together(making, folder, content, chosen, lock, control)
                else:
                    compute_alone(making, folder, lock, control)
                return making.layers.layers, making.plan.chunks, making.matches
        except torch.OutOfMemoryError:
            if chosen["locations"] <= _FEWEST_LOCATIONS:
                raise InputError(
                    "does not fit into the GPU's memory",
                    session.path.name,
                    "Close other programs that use the GPU, choose a smaller model, or map on the CPU",
                ) from None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        # Other batches round otherwise: what was computed with the old ones is computed again.
        chosen = begin(folder, content, chosen | {"locations": chosen["locations"] // 2}, anew=True)
        control.note(
            f"The GPU's memory was full: mapping begins again with batches of {chosen['locations']} pixels."
        )


def compute_alone(making: Making, folder: Path, lock: RunLock, control: JobControl) -> None:
    """Compute in this process every chunk that is not yet on disk; the last one is written while the next is computed.

    Raises:
        StorageError: a chunk cannot be written; Cancelled; InputError: a file is gone or damaged, or the lock is lost.
    """
    layers, chunks = making.layers.layers, making.plan.chunks
    missing = [number for number, chunk in enumerate(chunks) if not is_whole(layers, folder, chunk)]
    done = len(chunks) - len(missing)
    before = done / max(1, len(chunks))
    mapping = control.share(_MERGING * before, _MERGING)
    making.expect([chunks[number] for number in missing], lambda share: mapping.progress(share, "Mapping"))
    with ThreadPoolExecutor(1, thread_name_prefix="write") as writer:
        writing: Future[None] | None = None
        for number in missing:
            values = making.compute(chunks[number], control)
            if writing is not None:
                writing.result()
            lock.check()
            done += 1
            writing = writer.submit(_write, layers, folder, chunks, number, values, done, control)
            give_back()
        if writing is not None:
            writing.result()


def _write(
    layers: Sequence[Layer],
    folder: Path,
    chunks: Sequence[Chunk],
    number: int,
    values: Sequence[NDArray[np.uint8] | NDArray[np.float32]],
    done: int,
    control: JobControl,
) -> None:
    write_chunk(layers, folder, chunks[number], values)
    tell(layers, folder, chunks[number], done, len(chunks), control)


def write_chunk(
    layers: Sequence[Layer],
    folder: Path,
    chunk: Chunk,
    values: Sequence[NDArray[np.uint8] | NDArray[np.float32]],
) -> None:
    """Write a chunk of every layer, in their order: a chunk that has the last is whole.

    Raises:
        StorageError: it cannot be written.
    """
    for layer, found in zip(layers, values, strict=True):
        layer.write(folder, chunk, found)


def is_whole(layers: Sequence[Layer], folder: Path, chunk: Chunk) -> bool:
    """Whether all of a chunk is on disk."""
    return all(layer.chunk(folder, chunk).is_file() for layer in reversed(layers))


def tell(
    layers: Sequence[Layer], folder: Path, chunk: Chunk, done: int, total: int, control: JobControl
) -> None:
    """Tell that a chunk of a class map is on disk."""
    paths = {layer.name: str(layer.chunk(folder, chunk)) for layer in layers}
    if "class" in paths:
        control.chunk(paths["class"], paths["conf"], done, total)
