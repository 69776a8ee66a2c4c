"""What a running job may say, and how it learns that it must stop. Standard library only."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from skysense.errors import Cancelled

Emit = Callable[[dict[str, Any]], None]

_QUIET_S = 0.1  # progress events come at most this often: a pipe full of them helps nobody
_ETA_AFTER_S = 1.0
_METRICS_QUIET_S = 1.0
_LOOK_S = 0.2  # how soon a paused job learns that it is cancelled


class JobControl:
    """Handed to every job: progress, notes, finished chunks, figures; `check` raises when the user pressed Cancel.

    Args:
        emit: receives each event as a dict (see docs/architecture.md, "The worker's protocol").
    """

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._cancelled = threading.Event()
        self._running = threading.Event()
        self._running.set()
        self._began: tuple[float, float] | None = (
            None  # when the first progress was told, and how far that was
        )
        self._meanwhile: Callable[[], AbstractContextManager[None]] = nullcontext
        self.paused_s = 0.0  # so far: time paused is not time worked
        self._last = float("-inf")
        self._last_metrics = float("-inf")

    def cancel(self) -> None:
        """Ask the job to stop at its next `check`; may be called from any thread."""
        self._cancelled.set()

    def pause(self) -> None:
        """Ask the job to wait at its next `check`; may be called from any thread."""
        self._running.clear()

    def resume(self) -> None:
        """Let a paused job go on; may be called from any thread."""
        self._running.set()

    def check(self) -> None:
        """Wait while the user has paused the job; raise `Cancelled` if the user asked to stop, paused or not."""
        if self._cancelled.is_set():
            raise Cancelled()
        if self._running.is_set():
            return
        self._emit({"event": "paused"})
        paused = time.monotonic()
        with self._meanwhile():
            while not self._running.wait(_LOOK_S):
                if self._cancelled.is_set():
                    raise Cancelled()
        waited = time.monotonic() - paused
        self.paused_s += waited
        if self._began is not None:
            self._began = (self._began[0] + waited, self._began[1])
        self._emit({"event": "resumed"})

    @contextmanager
    def holding(self, meanwhile: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
        """In a `with` block: whenever the job waits, `meanwhile` is entered for as long, so that others wait with it."""
        self._meanwhile = meanwhile
        try:
            yield
        finally:
            self._meanwhile = nullcontext

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

    def quiet(self) -> "JobControl":
        """For a part of the job that says nothing; Cancel and pause are the whole's."""
        return _Quiet(self)

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

    def metrics(
        self,
        step: int,
        loss: float,
        terms: dict[str, float],
        *,
        lr: float,
        samples_per_s: float,
        last: bool = False,
    ) -> None:
        """Tell how a training goes, for a live chart: at most once a second, and the `last` time in any case.

        Args:
            step: steps done.
            loss, terms: of that step; the terms by name.
        """
        now = time.monotonic()
        if now - self._last_metrics < _METRICS_QUIET_S and not last:
            return
        self._last_metrics = now
        self._emit(
            {
                "event": "metrics",
                "step": step,
                "loss": loss,
                "terms": terms,
                "lr": lr,
                "samples_per_s": samples_per_s,
            }
        )


class _Share(JobControl):
    def __init__(self, whole: JobControl, start: float, end: float) -> None:
        super().__init__(whole._emit)
        self._whole, self._start, self._end = whole, start, end

    def cancel(self) -> None:
        self._whole.cancel()

    def pause(self) -> None:
        self._whole.pause()

    def resume(self) -> None:
        self._whole.resume()

    def check(self) -> None:
        self._whole.check()

    @contextmanager
    def holding(self, meanwhile: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
        with self._whole.holding(meanwhile):
            yield

    def progress(self, fraction: float, text: str) -> None:
        self._whole.progress(self._start + (self._end - self._start) * fraction, text)


class _Quiet(JobControl):
    def __init__(self, whole: JobControl) -> None:
        super().__init__(lambda event: None)
        self._whole = whole

    def check(self) -> None:
        self._whole.check()

    @contextmanager
    def holding(self, meanwhile: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
        with self._whole.holding(meanwhile):
            yield
