"""Numbers over a scene as chunks on disk: what a map of values, of their uncertainty or of change is merged from.

Shape legend: K layers, h x w pixels of a chunk.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from skysense.inference.lock import RunLock
from skysense.inference.resample import OutputSampler
from skysense.jobs.control import JobControl
from skysense.raster.chunks import Chunk, value_path, write_raster
from skysense.raster.grid import Window

Parts = list[tuple[Window, Path]]


def map_numbers(
    sampler: OutputSampler,
    chunks: Sequence[Chunk],
    layers: Sequence[str],
    folder: Path,
    control: JobControl,
    lock: RunLock,
) -> dict[str, Parts]:
    """Compute every chunk that is not yet on disk.

    Args:
        sampler: gives K values or more; the first K are kept.
        chunks: in plan order.
        layers: (K,) names; the last one's file is written last, so that a chunk that has it is whole.
        folder: of the run's chunks; lock: held on it.

    Returns:
        By layer the windows on `layout.output` and files (float32, NaN where nothing was seen), in plan order.

    Raises:
        StorageError: a chunk cannot be written; Cancelled; InputError: the lock is lost.
    """
    parts: dict[str, Parts] = {name: [] for name in layers}
    for chunk in chunks:
        paths = [value_path(folder, chunk, name) for name in layers]
        if not paths[-1].is_file():
            values, valid = sampler.chunk(chunk.grid, control)
            lock.check()
            for path, found in zip(paths, values.masked_fill(~valid, torch.nan)):
                write_raster(path, chunk.grid, found.numpy().astype(np.float32))
        for name, path in zip(layers, paths):
            parts[name].append((chunk.window, path))
    return parts
