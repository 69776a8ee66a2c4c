"""Mapping while the user draws: after each edit of the labels the model learns again and what is in view is repainted."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qgis.core import QgsProject, QgsRectangle, QgsUnitTypes, QgsVectorLayer
from qgis.gui import QgsMapCanvas
from qgis.PyQt.QtCore import QElapsedTimer, QObject, QTimer, pyqtSignal

from ..compat import METRES
from ..crs import crs_text
from ..paths import cache_folder
from ..results.look import LookLayer, remove
from ..worker.client import WorkerClient
from ..worker.messages import Failure
from .recipes import make_run_folder, mapping, training
from .row import RowError

#: Edits and moves of the map that follow each other faster than this count as one.
_PATIENCE_MS = 400
#: Sides of the area in view that is mapped at most, around its centre: 512 Sentinel pixels, or about as many of HR.
_SERIES_M, _HR_M = 5_120.0, 320.0


@dataclass(frozen=True)
class Task:
    """What is learned.

    Attributes:
        scene: with absolute paths; root: the folder that its scene file came from.
        title: its name for the user.
        labels, fields: the layer, and its fields as `recipes.training` takes them.
        taught: the recipe's option of what they teach.
        base: path of the base model; "" = the built-in one.
        dates: the recipe's option of the dates that are used; day: of the day that is mapped.
    """

    scene: dict[str, Any]
    root: Path | None
    title: str
    labels: QgsVectorLayer
    fields: dict[str, str]
    taught: dict[str, Any]
    base: str
    dates: dict[str, Any]
    day: dict[str, Any]


class Following(QObject):
    """Learns and maps by itself while it is on.

    Args:
        current: gives what is to be learned now; None while something is missing or a run is in progress.

    Signals:
        started(): a look has begun.
        progressed(float, str, object): as `JobRunner.progressed`.
        ended(str): nothing runs any more; a sentence.
        shown(dict): the worker's result of the map that is shown now.
    """

    started = pyqtSignal()
    progressed = pyqtSignal(float, str, object)
    ended = pyqtSignal(str)
    shown = pyqtSignal(dict)

    def __init__(
        self,
        client: WorkerClient,
        canvas: QgsMapCanvas,
        current: Callable[[], Task | None],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._client, self._canvas, self._current = client, canvas, current
        self._on = False
        self._job = 0
        self._again = False
        self._model: dict[str, Any] | None = None  # the worker's result of the newest training
        self._edit, self._learned = (
            0,
            -1,
        )  # the newest state of labels and images, and the one that the model knows
        self._mapped = QgsRectangle()
        self._number = 0
        self._folder: Path | None = None
        self._outdated: list[Path] = []  # folders of models before, and of the map that is still shown
        self._clock = QElapsedTimer()
        self.map = LookLayer(QgsProject.instance())
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_PATIENCE_MS)
        self._timer.timeout.connect(self._look)
        canvas.extentsChanged.connect(self._moved)

    @property
    def on(self) -> bool:
        return self._on

    @property
    def busy(self) -> bool:
        """A look is in progress."""
        return self._job != 0

    def switch(self, on: bool) -> None:
        """Begin or stop to follow; the map that was shown last stays."""
        self._on = on
        if on:
            self.touch()
        else:
            self._timer.stop()
            self._stop()

    def touch(self) -> None:
        """Labels, images or the base model are other ones now."""
        self._edit += 1
        self._later()

    def repaint(self, *_: object) -> None:
        """What was learned holds, but another map of it is wanted."""
        self._later()

    def poke(self) -> None:
        """What was missing may be there now: the images are checked, or a run has ended."""
        if self._learned != self._edit and not self._job:
            self._later()

    def give_way(self) -> None:
        """A run begins: stop what is in progress. `poke` lets it go on."""
        self._timer.stop()
        self._edit += 1
        self._stop()

    def clear(self) -> None:
        """Stop, and take away all that was shown."""
        self.switch(False)
        self.map.close()
        folder, self._folder, self._outdated = self._folder, None, []
        if folder is not None:
            shutil.rmtree(str(folder), ignore_errors=True)

    def close_down(self) -> None:
        """Let go of the canvas; called before it is deleted."""
        self._canvas.extentsChanged.disconnect(self._moved)
        self.clear()

    def _moved(self) -> None:
        if self._on and not self._mapped.contains(self._canvas.extent()):
            self._later()

    def _later(self) -> None:
        if self._on:
            self._timer.start()

    def _stop(self) -> None:
        self._again = False
        if self._job:
            self._client.cancel(self._job)

    def _look(self) -> None:
        if self._job:  # what is in progress is out of date
            self._again = True
            self._client.cancel(self._job)
            return
        task = self._current() if self._on else None
        if task is None:
            return
        self._number += 1
        self._clock.start()
        self.started.emit()
        try:
            if self._learned != self._edit:
                self._learn(task)
            else:
                self._show(task)
        except (RowError, OSError) as error:
            self._end(str(error))

    def _learn(self, task: Task) -> None:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="look-", dir=str(cache_folder())))
        edit = self._edit
        folder = make_run_folder(self._folder, task.scene, task.root)
        options = {"judged": False, **task.taught, **task.dates}
        recipe = training(folder, task.labels, task.fields, task.base, options)

        def learned(model: dict[str, Any]) -> None:
            self._job = 0
            if self._model is not None:
                self._outdated.append(Path(self._model["model"]).parent)  # the map that is shown lies there
            self._model, self._learned = model, edit
            if self._again or not self._on:
                self._end("")
            else:
                self._show(task)

        self._run(recipe, learned, 0.0, 0.3)

    def _show(self, task: Task) -> None:
        assert self._model is not None
        area = self._area(any(item["modality"] == "hr" for item in task.scene["acquisitions"]))
        crs = self._canvas.mapSettings().destinationCrs()
        if not crs.isValid() or area.isEmpty():
            raise RowError(
                "There is no view to map: zoom to the imagery, in a project with a coordinate system."
            )
        model = self._model
        options = {
            "area": [area.xMinimum(), area.yMinimum(), area.xMaximum(), area.yMaximum()],
            "area_crs": crs_text(crs),
            **task.dates,
            **task.day,
        }
        folder = Path(model["model"]).parent
        recipe = mapping(folder, model["model"], options, f"look{self._number}.tif")

        def mapped(result: dict[str, Any]) -> None:
            self._job = 0
            if not self._on:
                remove(recipe["output"])
                self._end("")
                return
            self._mapped = area
            self.map.show(result, task.title)
            while self._outdated:
                shutil.rmtree(str(self._outdated.pop()), ignore_errors=True)
            self.shown.emit(result)
            self._end(f"Repainted in {self._clock.elapsed() / 1000:.1f} s.")

        self._run(recipe, mapped, 0.3, 1.0)

    def _run(
        self, recipe: dict[str, Any], then: Callable[[dict[str, Any]], None], start: float, end: float
    ) -> None:
        def event(found: dict[str, Any]) -> None:
            if found.get("event") == "progress":
                fraction = start + (end - start) * float(found.get("fraction") or 0)
                self.progressed.emit(fraction, str(found.get("text") or ""), None)

        self._job = self._client.request("run", {"recipe": recipe}, then, self._failed, event)

    def _failed(self, failure: Failure) -> None:
        self._job = 0
        self._end("" if failure.cancelled else failure.sentence)

    def _end(self, said: str) -> None:
        again, self._again = self._again, False
        self.ended.emit(said)
        if again:
            self._later()

    def _area(self, with_hr: bool) -> QgsRectangle:
        """What is in view, cut to what takes seconds around its centre; in the canvas's CRS."""
        view = self._canvas.extent()
        crs = self._canvas.mapSettings().destinationCrs()
        metre = QgsUnitTypes.fromUnitToUnitFactor(METRES, crs.mapUnits())
        side = (_HR_M if with_hr else _SERIES_M) * metre
        return QgsRectangle.fromCenterAndSize(
            view.center(), min(view.width(), side), min(view.height(), side)
        )
