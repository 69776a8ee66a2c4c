"""Making a raster chunk by chunk: those that are not yet on disk are computed, by this process or by several.

Reading, computing and writing overlap. What is finished stays finished: a run that was cancelled, killed or cut off goes on with
its chunks when the same is asked for again, and gives the same bytes as one that was not.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import torch

from skysense.errors import InputError
from skysense.heap import tidy
from skysense.inference.crew import compute_together, is_shared
from skysense.inference.journal import begin
from skysense.inference.lock import RunLock
from skysense.inference.work import Prepared, Work
from skysense.jobs.control import JobControl
from skysense.raster.chunks import Chunk

#: Locations that are fused at a time at least; a GPU whose memory does not hold them is too small for the model.
_FEWEST_LOCATIONS = 128

W = TypeVar("W", bound=Work[Any])


def compute_chunks(
    kind: type[W],
    session: Prepared,
    content: dict[str, Any],
    chosen: dict[str, int],
    folder: Path,
    lock: RunLock,
    control: JobControl,
) -> W:
    """See to it that all chunks are on disk.

    Args:
        kind: of raster; session: what it is made with.
        content: the run's manifest; chosen: what `journal.begin` gave for it; folder: of its chunks.

    Returns:
        The work, which is done and closed.

    Raises:
        InputError: a file is gone or damaged, the lock is lost, the model is too large for the GPU, or see
        `crew.compute_together`; StorageError: a chunk cannot be written; Cancelled.
    """
    while True:
        try:
            with kind(session, chosen, control) as work:
                if is_shared(session.recipe.options):
                    compute_together(work, folder, content, chosen, lock, control)
                else:
                    _compute_alone(work, folder, lock, control)
                return work
        except torch.OutOfMemoryError:
            if chosen["locations"] <= _FEWEST_LOCATIONS:
                raise InputError(
                    "does not fit into the GPU's memory",
                    session.about,
                    "Close other programs that use the GPU, choose a smaller model, or use the CPU",
                ) from None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        # Other batches round otherwise: what was computed with the old ones is computed again.
        chosen = begin(folder, content, chosen | {"locations": chosen["locations"] // 2}, anew=True)
        control.note(
            f"The GPU's memory was full: the work begins again with batches of {chosen['locations']} pixels."
        )


def _compute_alone(work: Work[Any], folder: Path, lock: RunLock, control: JobControl) -> None:
    """Compute in this process; the last chunk is written while the next is computed."""
    chunks = work.plan.chunks
    missing = [chunk for chunk in chunks if not work.is_whole(folder, chunk)]
    done = len(chunks) - len(missing)
    start, end = work.span
    left = control.share(start + (end - start) * done / max(1, len(chunks)), end)
    work.expect(missing, lambda share: left.progress(share, work.text))

    def write(chunk: Chunk, values: Any, done: int) -> None:
        work.write(folder, chunk, values)
        work.tell(folder, chunk, done, len(chunks), control)

    with ThreadPoolExecutor(1, thread_name_prefix="write") as writer:
        writing: Future[None] | None = None
        for chunk in missing:
            values = work.compute(chunk, control)
            if writing is not None:
                writing.result()
            lock.check()
            done += 1
            writing = writer.submit(write, chunk, values, done)
            tidy()
        if writing is not None:
            writing.result()
