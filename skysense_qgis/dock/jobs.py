"""Runs: folders, recipes, and one job at a time in the worker."""

from __future__ import annotations

import datetime
import json
import re
import shutil
from pathlib import Path
from typing import Any

from qgis.core import QgsProject
from qgis.PyQt.QtCore import QObject, pyqtSignal

from ..paths import data_folder
from ..worker.client import WorkerClient
from ..worker.messages import Failure
from .row import RowError

TRAIN, MAP = "finetune", "predict"


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


def default_folder() -> Path:
    """Where results go if the user says nothing: beside the project, else the per-user folder."""
    home = QgsProject.instance().homePath()
    return Path(home) / "skysense" if home else data_folder() / "results"


def make_run_folder(parent: Path, scene: dict[str, Any], root: Path | None) -> Path:
    """Make the folder of a run with its scene file (and the class ids that belong to the scene, if it has some).

    Args:
        parent: the output folder.
        scene: with absolute paths.
        root: folder of the scene file that the scene came from; its `classes.json` is taken along.

    Raises:
        RowError: it cannot be written; a sentence.
    """
    name = re.sub(r"[^\w.-]+", "_", str(scene.get("name") or "scene")).strip("_") or "scene"
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    try:
        parent.mkdir(parents=True, exist_ok=True)
        folder, number = parent / f"{name}_{stamp}", 1
        while folder.exists():
            number += 1
            folder = parent / f"{name}_{stamp}-{number}"
        folder.mkdir()
        text = json.dumps(scene, indent=1, ensure_ascii=False)
        (folder / "scene.json").write_text(text + "\n", encoding="utf-8")
        if root is not None and (root / "classes.json").is_file():
            shutil.copyfile(str(root / "classes.json"), str(folder / "classes.json"))
    except OSError as error:
        raise RowError(
            f"The output folder {parent} cannot be used ({error.strerror}). Choose another one."
        ) from None
    return folder


def recipe(task: str, folder: Path, **keys: Any) -> dict[str, Any]:
    """A recipe (C4) for the scene file in a run's folder."""
    output = folder / ("model.safetensors" if task == TRAIN else "map.tif")
    return {
        "skysense": 1,
        "task": task,
        "scene": str(folder / "scene.json"),
        "output": str(output),
        "options": {},
        **keys,
    }
