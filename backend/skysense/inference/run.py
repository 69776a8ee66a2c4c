"""Making a map: its chunks are computed (see `inference.chunked`) and merged into finished rasters."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from skysense.finetune.lanes import usual_choice
from skysense.inference.chunked import compute_chunks
from skysense.inference.crew import is_shared
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
    session = open_session(recipe, control, ahead=not is_shared(recipe.options))
    try:
        return _make(session, started, control)
    finally:
        session.close()


def _make(session: Session, started: float, control: JobControl) -> Made:
    recipe = session.recipe
    folder, before = journal_folder(recipe.output), file_identities(session.scene)
    with RunLock(folder, recipe.output, session.about) as lock:
        layers, chunks, matches = _compute(session, folder, lock, control)
        check_unchanged(session.scene, before, folder)
        control.progress(Making.span[1], "Writing the map")
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
    making = compute_chunks(Making, session, content, chosen, folder, lock, control)
    return making.layers.layers, making.plan.chunks, making.matches
