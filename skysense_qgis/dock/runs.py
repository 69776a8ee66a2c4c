"""A run from its start to what is shown of its result; and how it goes on when it was stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from qgis.core import Qgis, QgsProject
from qgis.PyQt.QtCore import QObject, pyqtSignal

from ..adapt.dialog import AdaptDialog, can_resume
from ..adapt.plan import TASK as ADAPT
from ..duration import duration
from ..models.picker import model_title
from ..results.display import ResultDisplay
from ..worker.client import WorkerClient
from ..worker.messages import Failure
from .jobs import JobRunner
from .messages import PanelMessages
from .recipes import MAP, TRAIN
from .run import RunSection, quality
from .scene import PanelScene

_KEPT = {MAP: "What is finished is kept.", ADAPT: "What the model has learned so far is kept."}


class Runs(QObject):
    """Training, mapping and adapting, one at a time.

    Args:
        jobs: what runs them.
        scene: whose name results bear.
        section, messages, adaptation: where it is told how they go.

    Signals:
        starting: a run is about to begin.
        changed: one has begun or ended.
        trained(dict), mapped(dict), adapted(dict), suggested(dict): the worker's result.
        failed(str): a run ended otherwise; one sentence.
    """

    starting = pyqtSignal()
    changed = pyqtSignal()
    trained = pyqtSignal(dict)
    mapped = pyqtSignal(dict)
    adapted = pyqtSignal(dict)
    suggested = pyqtSignal(dict)
    failed = pyqtSignal(str)

    def __init__(
        self,
        client: WorkerClient,
        jobs: JobRunner,
        scene: PanelScene,
        section: RunSection,
        messages: PanelMessages,
        adaptation: AdaptDialog,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._client, self._jobs, self._scene = client, jobs, scene
        self._section, self._messages, self._adaptation = section, messages, adaptation
        self._dates: list[str] = []  # of the images of the newest run
        self._map = ""  # the newest finished one
        self._stopped: dict[str, Any] = {}  # the recipe of the run that can go on
        self._left = (
            False  # the project of the run was closed: its results are told of, and not shown in another one
        )
        self.results = ResultDisplay(QgsProject.instance(), self)
        jobs.paused.connect(section.set_paused)
        jobs.progressed.connect(section.set_progress)
        jobs.noted.connect(self._note)
        jobs.chunked.connect(self._grow)
        jobs.finished.connect(self._finished)
        jobs.failed.connect(self._failed)
        messages.resume.connect(self.resume)

    @property
    def has_map(self) -> bool:
        """There is a map to say where to draw next."""
        return bool(self._map and Path(self._map).is_file())

    def start(self, recipe: dict[str, Any], dates: list[str] | None = None) -> None:
        """Begin.

        Args:
            dates: ISO dates of the images, without empty ones; None = those of the run before.
        """
        if dates is not None:
            self._dates = dates
        self._messages.drop_resume()
        self._left = False
        self.starting.emit()
        self._section.set_busy("Starting…")
        self._jobs.start(recipe)
        self.changed.emit()

    def resume(self) -> None:
        """Go on with the map or adaptation that was stopped."""
        if self._jobs.busy:
            return
        before = self._stopped
        self.start({**before, "options": {**before["options"], "resume": True}})

    def _note(self, text: str) -> None:
        """The table shows what is doubtful about the images."""
        if text.rpartition(": ")[2] not in {known.rpartition(": ")[2] for known in self._scene.warnings}:
            self._messages.note(text)

    def suggest(self) -> None:
        """Places of the newest map where it is unsure, numbered, in its group."""
        self._section.set_map(True, busy=True)
        self._section.set_idle("Looking for places where the map is unsure…")
        out = str(Path(self._map).with_name("suggestions.gpkg"))
        self.results.forget_places(out)  # so that the file can be written anew
        asked = self._map

        def here(then: Callable[[Any], None]) -> Callable[[Any], None]:
            """Nothing is told in another project, or of a map that is not the newest any more."""
            return lambda answer: then(answer) if self._map == asked else None

        self._client.request(
            "suggest", {"map": asked, "out": out}, here(self._suggested), here(self._not_suggested)
        )

    def clear(self) -> None:
        """Another project: let go of what is shown of this one."""
        self.results.drop()
        self._messages.drop_resume()
        self._map = ""
        self._left = self._jobs.busy

    def _grow(self, chunk: dict[str, Any]) -> None:
        if self._left:
            return
        self.results.grow(chunk, self._scene.title, str(self._jobs.recipe.get("model")))

    def _finished(self, task: str, result: dict[str, Any]) -> None:
        took = duration(float(result.get("seconds") or 0))
        if self._left:
            made = str(result.get("map") or result.get("model") or self._jobs.recipe["output"])
            said = f"The run that was begun in the project before is finished, in {took}: {made}"
            self._messages.push(said, Qgis.MessageLevel.Success)
            self._end("")
        elif task == TRAIN:
            self._show_model(result, took)
        elif task == ADAPT:
            self._show_base(result, took)
        else:
            self._show_map(result, took)

    def _show_model(self, result: dict[str, Any], took: str) -> None:
        self.results.remember_classes(str(result["model"]), result.get("classes") or [])
        self._section.model.setFilePath(str(result["model"]))
        self._end(f"Trained in {took}. {quality(result)}{self._section.next_map}")
        self.trained.emit(result)

    def _show_map(self, result: dict[str, Any], took: str) -> None:
        try:
            group = self.results.finish(result, self._jobs.recipe, self._dates, self._scene.title)
        except ValueError as error:
            self._failed(Failure("storage", str(error)))
            return
        self._map = str(result["map"]) if "confidence" in result else ""
        self._end(f"{_made(result)} in {took}: see “{group.name()}” in the layer list.")
        self.mapped.emit(result)

    def _show_base(self, result: dict[str, Any], took: str) -> None:
        path = str(result["model"])
        self._section.base.add_adapted(path)
        said = f"Adapted in {took}: “{model_title(path)}” is now the base model. Next: press Train."
        self._section.set_idle(said)
        self._messages.push(said, Qgis.MessageLevel.Success)
        self._adaptation.finished(path, took)
        self.changed.emit()
        self.adapted.emit(result)

    def _suggested(self, result: dict[str, Any]) -> None:
        try:
            layer = self.results.show_places(str(result["suggestions"]))
        except ValueError as error:
            self._not_suggested(Failure("storage", str(error)))
            return
        count = len(result["points"])
        self._tell(
            f"{count} places, the most useful first: see “{layer.name()}”. Draw a polygon of what is truly there, then press Train."
        )
        self.suggested.emit(result)

    def _not_suggested(self, failure: Failure) -> None:
        self._tell(failure.sentence)

    def _failed(self, failure: Failure) -> None:
        self.results.drop()
        self._section.set_idle("Cancelled." if failure.cancelled else failure.sentence)
        resume = not self._left and _keeps(self._jobs.recipe) and failure.kind in ("cancelled", "crashed")
        self._stopped = self._jobs.recipe
        self._adaptation.failed(failure, resume)
        if failure.cancelled and resume:
            self._messages.push(
                f"Cancelled. {_KEPT[self._jobs.recipe['task']]}", Qgis.MessageLevel.Info, resume=resume
            )
        elif not failure.cancelled:
            self._messages.push(failure.sentence, Qgis.MessageLevel.Critical, resume=resume)
        self.changed.emit()
        self.failed.emit(failure.sentence)

    def _tell(self, said: str) -> None:
        """The end of what is done beside a run: a run's own words and its Cancel stay."""
        if self._jobs.busy:
            self._messages.push(said, Qgis.MessageLevel.Info)
        else:
            self._end(said)

    def _end(self, said: str) -> None:
        self._section.set_idle(said)
        self.changed.emit()


def _keeps(recipe: dict[str, Any]) -> bool:
    """A stopped run can go on: of a mapping what is finished is kept, of an adaptation the checkpoints, of all else nothing."""
    return recipe.get("task") == MAP or (recipe.get("task") == ADAPT and can_resume(recipe))


def _made(result: dict[str, Any]) -> str:
    """What was made, as the beginning of a sentence."""
    for key, count, name, done in (
        ("polygons", "classified", "polygon", "classified"),
        ("objects", "count", "object", "found"),
    ):
        if key in result:
            number = int(result[count])
            return f"{number} {name if number == 1 else name + 's'} {done}"
    return "Mapped"
