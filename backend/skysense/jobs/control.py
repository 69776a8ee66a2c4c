"""What a running job may say, and how it learns that it must stop. Standard library only."""

import threading
import time
from collections.abc import Callable
from typing import Any

from skysense.errors import Cancelled

Emit = Callable[[dict[str, Any]], None]

_QUIET_S = 0.1  # progress events come at most this often: a pipe full of them helps nobody
_ETA_AFTER_S = 1.0


class JobControl:
    """Handed to every job: progress, notes, finished chunks; `check` raises when the user pressed Cancel.

    Args:
        emit: receives each event as a dict (see docs/architecture.md, "The worker's protocol").
    """

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._cancelled = threading.Event()
        self._began: tuple[float, float] | None = (
            None  # when the first progress was told, and how far that was
        )
        self._last = float("-inf")

    def cancel(self) -> None:
        """Ask the job to stop at its next `check`; may be called from any thread."""
        self._cancelled.set()

    def check(self) -> None:
        """Raise `Cancelled` if the user asked to stop."""
        if self._cancelled.is_set():
            raise Cancelled()

    def progress(self, fraction: float, text: str) -> None:
        """Tell how far the whole job is (0..1) and what it is doing; also a point where it can be cancelled."""
        self.check()
        now = time.monotonic()
        if now - self._last < _QUIET_S and fraction < 1.0:
            return
        self._last = now
        # A resumed job begins in the middle: only what this run does itself tells how fast it is.
        start, before = self._began = self._began or (now, fraction)
        gained, elapsed = fraction - before, now - start
        eta = elapsed * (1 - fraction) / gained if gained > 0 and elapsed > _ETA_AFTER_S else None
        self._emit({"event": "progress", "fraction": round(fraction, 4), "text": text, "eta_s": eta})

    def share(self, start: float, end: float) -> "JobControl":
        """For a part of the job: its progress from 0 to 1 is the whole's from `start` to `end`; Cancel is the whole's."""
        return _Share(self, start, end)

    def note(self, text: str) -> None:
        """Tell something the user should know, in one sentence."""
        self._emit({"event": "note", "text": text})

    def chunk(self, class_path: str, confidence_path: str, done: int, total: int) -> None:
        """Tell that one more chunk of the map is on disk."""
        self._emit(
            {
                "event": "chunk",
                "class": class_path,
                "confidence": confidence_path,
                "done": done,
                "total": total,
            }
        )


class _Share(JobControl):
    def __init__(self, whole: JobControl, start: float, end: float) -> None:
        super().__init__(whole._emit)
        self._whole, self._start, self._end = whole, start, end

    def cancel(self) -> None:
        self._whole.cancel()

    def check(self) -> None:
        self._whole.check()

    def progress(self, fraction: float, text: str) -> None:
        self._whole.progress(self._start + (self._end - self._start) * fraction, text)
