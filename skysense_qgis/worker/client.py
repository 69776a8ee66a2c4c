"""The worker process as seen from the GUI thread: requests with callbacks, nothing that waits."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from qgis.PyQt.QtCore import QObject, QProcess, QTimer, pyqtSignal

from ..environment.find import Found, find_python
from ..environment.launch import prepare
from ..paths import cache_folder
from .exits import exit_failure, start_failure
from .log import WorkerLog
from .messages import Failure, LineBuffer, check_hello, encode, failure_of

OnResult = Callable[[dict[str, Any]], None]
OnError = Callable[[Failure], None]
OnEvent = Callable[[dict[str, Any]], None]

_LAST_WORDS_MS = 1000


@dataclass
class _Pending:
    on_result: OnResult | None
    on_error: OnError | None
    on_event: OnEvent | None


class WorkerClient(QObject):
    """Starts the worker before the first request, and again after it died.

    Args:
        find: finds the interpreter; called at each start.

    Signals:
        greeted(dict): the worker is up; its answer to "hello".
        died(str): it ended by itself; one sentence.
    """

    greeted = pyqtSignal(dict)
    died = pyqtSignal(str)

    def __init__(self, parent: QObject | None = None, find: Callable[[], Found] = find_python) -> None:
        super().__init__(parent)
        self._find = find
        self._ids = itertools.count(1)
        self._process: QProcess | None = None
        self._found: Found | None = None
        self._buffer = LineBuffer()
        self._log = WorkerLog(None)
        self._pending: dict[int, _Pending] = {}
        self._waiting: list[bytes] = []  # requests that wait for the hello
        self._hello_id = 0
        self.hello: dict[str, Any] | None = None

    @property
    def running(self) -> bool:
        """The worker has greeted and has not ended."""
        return self.hello is not None

    @property
    def pid(self) -> int:
        """Process id; 0 = not started."""
        return int(self._process.processId()) if self._process is not None else 0

    def request(
        self,
        method: str,
        params: dict[str, Any],
        on_result: OnResult | None = None,
        on_error: OnError | None = None,
        on_event: OnEvent | None = None,
    ) -> int:
        """Ask the worker; exactly one of `on_result` and `on_error` is called, later, in this thread.

        Returns:
            The request's id, for `cancel`.
        """
        request = next(self._ids)
        self._pending[request] = _Pending(on_result, on_error, on_event)
        line = encode(request, method, params)
        if self._process is None:
            self._start()
        if self._process is not None:
            if self.running:
                self._process.write(line)
            else:
                self._waiting.append(line)
        return request

    def cancel(self, job: int) -> None:
        """Ask the worker to stop a run; its `on_error` then tells "cancelled"."""
        if job in self._pending and self._process is not None:
            self.request("cancel", {"job": job})

    def shutdown(self) -> None:
        """End the worker; callbacks of open requests are not called any more. Waits a second at most."""
        process, self._process = self._process, None
        self._forget()
        if process is None:
            return
        process.blockSignals(True)
        process.closeWriteChannel()
        if not process.waitForFinished(_LAST_WORDS_MS):
            process.kill()
            process.waitForFinished(_LAST_WORDS_MS)
        process.deleteLater()

    def restart(self) -> None:
        """End the worker, whose options have changed; open requests are told that they were cancelled, the next one starts another."""
        waiting = list(self._pending.values())
        self.shutdown()
        for pending in waiting:
            if pending.on_error is not None:
                pending.on_error(Failure("cancelled", "Cancelled: the options were changed."))

    def _start(self) -> None:
        found = self._find()
        self._found = found
        if not found.ok:
            self._fail_later(Failure("environment", found.reason))
            return
        process = QProcess(self)
        try:
            prepare(process, found)
            self._log = WorkerLog(cache_folder() / "worker.log")
        except OSError as error:
            process.deleteLater()
            self._fail_later(
                Failure("storage", f"The cache folder cannot be used ({error}). Free some space.")
            )
            return
        self._buffer = LineBuffer()
        self._process = process
        process.readyReadStandardOutput.connect(self._read)
        process.readyReadStandardError.connect(self._read_log)
        process.finished.connect(self._finished)
        process.errorOccurred.connect(self._error)
        self._hello_id = next(self._ids)
        self._pending[self._hello_id] = _Pending(self._greet, None, None)
        process.start()
        process.write(encode(self._hello_id, "hello", {}))

    def _greet(self, hello: dict[str, Any]) -> None:
        failure = check_hello(hello)
        if failure is not None:
            self._end(failure, kill=True)
            return
        self.hello = hello
        waiting, self._waiting = self._waiting, []
        for line in waiting:
            if self._process is not None:
                self._process.write(line)
        self.greeted.emit(hello)

    def _read(self) -> None:
        if self._process is None:
            return
        for message in self._buffer.feed(bytes(self._process.readAllStandardOutput())):
            self._take(message)

    def _take(self, message: dict[str, Any]) -> None:
        request = message.get("id")
        pending = self._pending.get(request) if isinstance(request, int) else None
        if pending is None:
            return
        if "event" in message:
            if pending.on_event is not None:
                pending.on_event(message)
            return
        del self._pending[message["id"]]
        if "result" in message:
            if pending.on_result is not None:
                pending.on_result(message["result"])
            return
        failure = failure_of(message.get("error"))
        if failure.kind == "internal":
            self._read_log()
            self._log.to_panel(failure.sentence)
        if pending.on_error is not None:
            pending.on_error(failure)

    def _read_log(self) -> None:
        if self._process is not None:
            self._log.feed(bytes(self._process.readAllStandardError()))

    def _error(self, error: QProcess.ProcessError) -> None:
        process = self._process

        def tell() -> None:
            if process is not None and process is self._process and self._found is not None:
                self._end(start_failure(self._found.program))

        if error == QProcess.ProcessError.FailedToStart:
            QTimer.singleShot(0, tell)  # on some systems Qt tells of it before `request` has returned

    def _finished(self, code: int, status: QProcess.ExitStatus) -> None:
        if self._process is None or self._found is None:
            return
        self._read()
        self._read_log()
        crashed = status == QProcess.ExitStatus.CrashExit
        self._end(exit_failure(self._found.program, crashed, code, self._log.last_line))

    def _end(self, failure: Failure, kill: bool = False) -> None:
        """The worker is gone (or useless): tell everyone who waits; the next request starts a new one."""
        process, self._process = self._process, None
        open_requests = self._forget()
        self._log.to_panel(failure.sentence)
        if process is not None:
            process.blockSignals(True)
            if kill:
                process.kill()
                process.waitForFinished(_LAST_WORDS_MS)
            process.deleteLater()
        for pending in open_requests:
            if pending.on_error is not None:
                pending.on_error(failure)
        self.died.emit(failure.sentence)

    def _fail_later(self, failure: Failure) -> None:
        """Callbacks come after `request` has returned, also when there is nothing to start."""

        def fail() -> None:
            for pending in self._forget():
                if pending.on_error is not None:
                    pending.on_error(failure)

        QTimer.singleShot(0, fail)

    def _forget(self) -> list[_Pending]:
        open_requests = list(self._pending.values())
        self._pending, self._waiting, self.hello = {}, [], None
        return open_requests
