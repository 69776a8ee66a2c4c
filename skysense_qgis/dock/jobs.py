"""One job at a time in the worker."""

from __future__ import annotations

from typing import Any

from qgis.PyQt.QtCore import QObject, pyqtSignal

from ..worker.client import WorkerClient
from ..worker.messages import Failure


class JobRunner(QObject):
    """One run at a time.

    Signals:
        started(dict): a recipe was handed to the worker.
        paused(bool): the run waits, or goes on.
        measured(dict): a training's figures: "step", "loss", "samples_per_s", ...
        progressed(float, str, object): fraction, what it is doing, seconds left or None.
        noted(str): something the user should know.
        chunked(dict): one more chunk of the map is on disk.
        finished(str, dict): task and result.
        failed(Failure): it ended otherwise.
    """

    started = pyqtSignal(dict)
    paused = pyqtSignal(bool)
    measured = pyqtSignal(dict)
    progressed = pyqtSignal(float, str, object)
    noted = pyqtSignal(str)
    chunked = pyqtSignal(dict)
    finished = pyqtSignal(str, dict)
    failed = pyqtSignal(object)

    def __init__(self, client: WorkerClient, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._client = client
        self._job = 0
        self.recipe: dict[str, Any] = {}

    @property
    def busy(self) -> bool:
        return self._job != 0

    def start(self, recipe: dict[str, Any]) -> None:
        """Hand a recipe to the worker."""
        self.recipe = recipe
        self._job = self._client.request(
            "run",
            {"recipe": recipe},
            lambda result: self._done(recipe["task"], result),
            self._fail,
            self._event,
        )
        self.started.emit(recipe)

    def cancel(self) -> None:
        if self.busy:
            self._client.cancel(self._job)

    def pause(self) -> None:
        """Ask the run to wait; `paused` tells when it does."""
        if self.busy:
            self._client.request("pause", {"job": self._job})

    def go_on(self) -> None:
        """Ask a run that waits to go on; `paused` tells when it does."""
        if self.busy:
            self._client.request("resume", {"job": self._job})

    def _event(self, event: dict[str, Any]) -> None:
        kind = event.get("event")
        if kind == "progress":
            self.progressed.emit(
                float(event.get("fraction") or 0), str(event.get("text") or ""), event.get("eta_s")
            )
        elif kind == "note":
            self.noted.emit(str(event.get("text") or ""))
        elif kind == "chunk":
            self.chunked.emit(event)
        elif kind == "metrics":
            self.measured.emit(event)
        elif kind in ("paused", "resumed"):
            self.paused.emit(kind == "paused")

    def _done(self, task: str, result: dict[str, Any]) -> None:
        self._job = 0
        self.finished.emit(task, result)

    def _fail(self, failure: Failure) -> None:
        self._job = 0
        self.failed.emit(failure)
