"""The worker for code that may wait: Processing's background threads. Never call this in the GUI thread."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from qgis.core import QgsFeedback
from qgis.PyQt.QtCore import QProcess

from ..environment.find import Found, find_python
from ..environment.launch import prepare
from ..paths import cache_folder
from .exits import exit_failure, start_failure
from .log import WorkerLog
from .messages import Failure, LineBuffer, WorkerError, check_hello, encode, failure_of

_POLL_MS = 100
_START_MS = 30_000
_CANCEL_S = 15.0


def run_blocking(
    recipe: dict[str, Any], feedback: QgsFeedback, on_chunk: Callable[[dict[str, Any]], None] | None = None
) -> dict[str, Any]:
    """Run a recipe in a worker of its own; progress, notes and Cancel go through `feedback`.

    Returns:
        The task's result, as the worker gives it.

    Raises:
        WorkerError: one sentence for the user; `failure.cancelled` tells a cancelled run.
    """
    with BlockingWorker() as worker:
        return worker.call("run", {"recipe": recipe}, feedback, on_chunk)


class BlockingWorker:
    """A worker process that lives as long as the `with` block, used by one thread.

    Args:
        find: finds the interpreter.

    Raises:
        WorkerError: on entering, if the worker cannot be started.
    """

    def __init__(self, find: Callable[[], Found] = find_python) -> None:
        self._find = find
        self._ids = itertools.count(1)
        self._buffer = LineBuffer()

    def __enter__(self) -> BlockingWorker:
        found = self._find()
        if not found.ok:
            raise WorkerError(Failure("environment", found.reason))
        self._program = found.program
        self._process = QProcess()
        try:
            prepare(self._process, found)
            # A file of its own: the panel's worker may be writing the other one.
            self._log = WorkerLog(cache_folder() / "worker-processing.log")
        except OSError as error:
            raise WorkerError(Failure("storage", f"The cache folder cannot be used ({error}).")) from None
        self._process.start()
        if not self._process.waitForStarted(_START_MS):
            raise WorkerError(start_failure(found.program))
        try:
            failure = check_hello(self.call("hello", {}))
            if failure is not None:
                raise WorkerError(failure)
        except WorkerError:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def call(
        self,
        method: str,
        params: dict[str, Any],
        feedback: QgsFeedback | None = None,
        on_chunk: Callable[[dict[str, Any]], None] | None = None,
    ) -> dict[str, Any]:
        """Ask and wait for the answer.

        Raises:
            WorkerError: the worker answered with an error, was cancelled through `feedback`, or died.
        """
        request = next(self._ids)
        self._process.write(encode(request, method, params))
        told = ""
        give_up: float | None = None
        while True:
            for message in self._messages():
                if message.get("id") != request:
                    continue
                if "result" in message:
                    return message["result"]
                if "error" in message:
                    raise WorkerError(failure_of(message["error"]))
                if message.get("event") == "chunk" and on_chunk is not None:
                    on_chunk(message)
                elif feedback is not None:
                    told = _tell(message, feedback, told)
            if feedback is not None and feedback.isCanceled():
                if give_up is None:
                    self._process.write(encode(next(self._ids), "cancel", {"job": request}))
                    give_up = time.monotonic() + _CANCEL_S
                elif time.monotonic() > give_up:
                    raise WorkerError(Failure("cancelled", "Cancelled by the user."))

    def _messages(self) -> list[dict[str, Any]]:
        """What has arrived, after a short wait.

        Raises:
            WorkerError: the process has ended and nothing is left to read.
        """
        self._process.waitForReadyRead(_POLL_MS)
        self._log.feed(bytes(self._process.readAllStandardError()))
        messages = self._buffer.feed(bytes(self._process.readAllStandardOutput()))
        if not messages and self._process.state() == QProcess.ProcessState.NotRunning:
            crashed = self._process.exitStatus() == QProcess.ExitStatus.CrashExit
            failure = exit_failure(self._program, crashed, self._process.exitCode(), self._log.last_line)
            self._log.to_panel(failure.sentence)
            raise WorkerError(failure)
        return messages

    def _stop(self) -> None:
        self._process.closeWriteChannel()
        if not self._process.waitForFinished(1000):
            self._process.kill()
            self._process.waitForFinished(1000)


def _tell(message: dict[str, Any], feedback: QgsFeedback, told: str) -> str:
    """Pass an event on; returns the progress text that is now shown."""
    if message.get("event") == "progress":
        feedback.setProgress(100.0 * float(message.get("fraction") or 0.0))
        text = str(message.get("text") or "")
        if text and text != told and hasattr(feedback, "setProgressText"):  # QgsProcessingFeedback
            feedback.setProgressText(text)
        return text or told
    if message.get("event") == "note" and hasattr(feedback, "pushInfo"):
        feedback.pushInfo(str(message.get("text") or ""))
    return told
