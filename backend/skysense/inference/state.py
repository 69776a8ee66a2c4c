"""How far a run has come that makes no chunks of a map: arrays in one file of its journal, replaced as it goes on."""

import io
import os
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skysense.aside import write_aside
from skysense.inference.lock import RunLock

NAME = "state.npz"
#: Times as long as the last keeping took that must have passed before the next: so it costs a run a twentieth at most.
_PATIENCE = 20


class RunState:
    """The state of a run that goes tile by tile.

    Args:
        folder: of the run's journal, made ready by `journal.begin`: what lies there is of the very same input.
        lock: held on it.
    """

    def __init__(self, folder: Path, lock: RunLock) -> None:
        self._path, self._lock = folder / NAME, lock
        self._kept = self._asked = time.monotonic()
        self._took = 0.0

    def load(self) -> dict[str, NDArray[Any]]:
        """The arrays that were kept last, by name; none where nothing was kept, or where it is damaged."""
        try:
            with np.load(self._path) as arrays:
                return dict(arrays)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile):
            return {}

    def due(self) -> bool:
        """Whether it is worth its time to keep how far the run is now; to be asked after each tile.

        Raises:
            InputError: the lock is lost.
        """
        self._lock.check()
        self._asked = time.monotonic()
        return self._asked - self._kept >= _PATIENCE * self._took

    def keep(self, arrays: Mapping[str, ArrayLike]) -> None:
        """Keep all that the run needs to go on from here, by name.

        Raises:
            StorageError: it cannot be written; what was kept last stays.
        """
        file = io.BytesIO()
        np.savez(file, **arrays)  # type: ignore[arg-type]  # no array is named as its one flag
        # Another process may write the same state: one that was thought to be dead.
        write_aside(self._path, file.getvalue(), mark=f".{os.getpid()}", lasting=True)
        self._kept = time.monotonic()
        self._took = self._kept - self._asked
