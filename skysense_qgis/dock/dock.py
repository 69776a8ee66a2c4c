"""The SkySense panel: imagery, labels, train and map."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qgis.core import Qgis, QgsProject, QgsRasterLayer, QgsVectorLayer
from qgis.gui import QgisInterface, QgsDockWidget
from qgis.PyQt.QtCore import Qt, pyqtSignal
from qgis.PyQt.QtWidgets import (
    QFrame,
    QLabel,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from ..adapt.dialog import AdaptDialog, can_resume
from ..adapt.form import Panel
from ..adapt.plan import TASK as ADAPT
from ..duration import duration
from ..models.picker import model_title
from ..paths import built_in_model
from ..results.display import ResultDisplay
from ..worker.client import WorkerClient
from ..worker.messages import Failure
from .acquisitions import AcquisitionsSection
from .checking import SceneChecker
from .export import LAYER_NAME, class_colors, export_labels
from .following import Following, Task
from .jobs import MAP, TRAIN, JobRunner, default_folder, make_run_folder, recipe
from .labels import LabelsSection
from .messages import PanelMessages
from .project import restore, store
from .row import RED, RowError, parse_date
from .run import RunSection, quality
from .sources import SceneFile, set_layer_dates

_KEPT = {MAP: "The finished part of the map is kept.", ADAPT: "What the model has learned so far is kept."}


class SkySenseDock(QgsDockWidget):
    """The panel.

    Args:
        iface: QGIS's interface; used to show the attribute form of a new label layer.
        client: the worker.

    Signals:
        trained(dict), mapped(dict), adapted(dict), suggested(dict): the worker's result.
        failed(str): a run ended otherwise; one sentence.
    """

    trained = pyqtSignal(dict)
    mapped = pyqtSignal(dict)
    adapted = pyqtSignal(dict)
    suggested = pyqtSignal(dict)
    failed = pyqtSignal(str)

    def __init__(self, iface: QgisInterface, client: WorkerClient, parent: QWidget | None = None) -> None:
        super().__init__("SkySense", parent)
        self.setObjectName("SkySenseDock")
        self.setAllowedAreas(Qt.DockWidgetArea.LeftDockWidgetArea | Qt.DockWidgetArea.RightDockWidgetArea)
        self._iface, self._client = iface, client
        self._scene_name, self._scene_root, self._scene_extra = "", "", {}
        self._errors: list[str] = []
        self._warnings: list[str] = []
        self._summary = ""
        self._dates: list[str] = []  # of the images of the newest run
        self._map = ""  # the newest finished one
        self._loading = False
        self.messages = PanelMessages(self)
        self.imagery = AcquisitionsSection(self)
        self.labels = LabelsSection(self)
        self.run = RunSection(client, self)
        self._build()
        self.checker = SceneChecker(self.imagery.model, client, self._scene_to_check, self)
        self.jobs = JobRunner(client, self)
        self.adaptation = AdaptDialog(client, self.jobs, self)
        self.results = ResultDisplay(QgsProject.instance(), self)
        self.following = Following(client, iface.mapCanvas(), self._drawn, self)
        self._connect()
        self._restore()

    # For scripts ----------------------------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """There are rows, and each has been looked at and checked."""
        return bool(self.imagery.model.rows) and self.checker.settled

    def add_paths(self, paths: list[str]) -> None:
        """Add files, product folders, or a scene (scene.json or its folder)."""
        self.imagery.add_paths(paths)

    def add_layers(self, layers: list[QgsRasterLayer]) -> None:
        """Add raster layers of the project."""
        self.imagery.add_layers(layers)

    def scene(self) -> dict[str, Any]:
        """The scene as in a scene file, with absolute paths and without labels; rows without a sensor are left out.

        Raises:
            RowError: a date cannot be read.
        """
        rows = [row for row in self.imagery.model.rows if row.modality is not None]
        return {
            "version": 1,
            "name": self._title,
            "acquisitions": [row.to_scene() for row in rows],
            **self._scene_extra,
        }

    def train(self) -> None:
        """What the button Train does."""
        self._start(TRAIN)

    def map(self) -> None:
        """What the button Map does."""
        self._start(MAP)

    def suggest(self) -> None:
        """What the button "Where to draw next" does: places of the newest map, numbered, in its group."""
        self.run.set_map(True, busy=True)
        self.run.set_idle("Looking for places where the map is unsure…")
        out = str(Path(self._map).with_name("suggestions.gpkg"))
        self.results.forget_places(out)  # so that the file can be written anew
        self._client.request("suggest", {"map": self._map, "out": out}, self._suggested, self._not_suggested)

    def adapt(self) -> AdaptDialog:
        """What the button "Adapt to my imagery…" does."""
        self.adaptation.show()
        self.adaptation.raise_()
        return self.adaptation

    def cancel(self) -> None:
        """What the button Cancel does."""
        if self.following.busy:
            self.run.follow_box.setChecked(False)
            return
        self.run.set_cancelling()
        self.adaptation.cancelling()
        self.jobs.cancel()

    def close_down(self) -> None:
        """Let go of everything outside the panel; called before it is deleted."""
        project = QgsProject.instance()
        project.readProject.disconnect(self._restore)
        project.writeProject.disconnect(self._store)
        project.cleared.disconnect(self._clear)
        self.following.close_down()
        self.results.drop()

    # Building -------------------------------------------------------------------------------------------------------

    def _build(self) -> None:
        content = QWidget(self)
        layout = QVBoxLayout(content)
        layout.setSpacing(6)
        for title, section, stretch in (
            ("1  Imagery", self.imagery, 1),
            ("2  Labels", self.labels, 0),
            ("3  Train and map", self.run, 0),
        ):
            heading = QLabel(title, content)
            font = heading.font()
            font.setBold(True)
            heading.setFont(font)
            layout.addWidget(heading)
            layout.addWidget(section, stretch)
        scroll = QScrollArea(self)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setWidgetResizable(True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(content)
        scroll.setMinimumWidth(content.minimumSizeHint().width() + 16)
        outer = QWidget(self)
        column = QVBoxLayout(outer)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.messages)
        column.addWidget(scroll, 1)
        self.setWidget(outer)

    def _connect(self) -> None:
        self.messages.resume.connect(self.resume)
        self.imagery.message.connect(self.messages.warn)
        self.imagery.scene_loaded.connect(self._take_scene_file)
        self.imagery.model.scene_changed.connect(self._changed)
        self.imagery.selected.connect(self._show_summary)
        self.checker.checked.connect(self._take_check)
        self.checker.failed.connect(self.messages.warn)
        self.labels.changed.connect(self._labels_changed)
        self.labels.new_layer.connect(self._draw_labels)
        self.run.changed.connect(self._changed)
        self.run.train.connect(self.train)
        self.run.map.connect(self.map)
        self.run.cancel.connect(self.cancel)
        self.run.adapt.connect(self.adapt)
        self.run.suggest.connect(self.suggest)
        self.run.follow.connect(self.following.switch)
        self.run.base.changed.connect(self.following.touch)
        self.labels.changed.connect(self.following.touch)
        self.imagery.model.scene_changed.connect(self.following.touch)
        self.following.started.connect(lambda: self.run.set_busy("Learning from what is drawn…"))
        self.following.progressed.connect(self.run.set_progress)
        self.following.ended.connect(self._looked)
        self.adaptation.start.connect(self._start_adapting)
        self.adaptation.cancel.connect(self.cancel)
        self.jobs.paused.connect(self.run.set_paused)
        self.jobs.progressed.connect(self.run.set_progress)
        self.jobs.noted.connect(self.messages.note)
        self.jobs.chunked.connect(self._grow)
        self.jobs.finished.connect(self._finished)
        self.jobs.failed.connect(self._failed)
        for ended in (self.jobs.finished, self.jobs.failed):
            ended.connect(lambda *_: self.following.poke())
        project = QgsProject.instance()
        project.readProject.connect(self._restore)
        project.writeProject.connect(self._store)
        project.cleared.connect(self._clear)

    # Scene ----------------------------------------------------------------------------------------------------------

    def _take_scene_file(self, scene: SceneFile) -> None:
        """A scene file replaces what was there."""
        self.imagery.model.clear()
        self._scene_name, self._scene_root, self._scene_extra = scene.name, str(scene.root), scene.extra
        if scene.labels is None:
            return
        path, field = scene.labels["path"], str(scene.labels.get("field") or "")
        if not self.labels.open_file(path, str(scene.labels.get("layer") or ""), field):
            self.messages.warn(f"The scene's labels {path} cannot be opened. Choose another polygon layer.")

    @property
    def _title(self) -> str:
        return self._scene_name or QgsProject.instance().baseName() or "scene"

    def _scene_to_check(self) -> tuple[dict[str, Any], list[int]]:
        numbers = [number for number, row in enumerate(self.imagery.model.rows) if row.modality is not None]
        scene = self.scene()
        labels = self.labels.as_file()
        if labels is not None:
            scene["labels"] = labels
        return scene, numbers

    def _take_check(self, result: dict[str, Any]) -> None:
        self._errors = [str(error) for error in result.get("errors") or []]
        self._warnings = [str(warning) for warning in result.get("warnings") or []]
        self._summary = str(result.get("summary") or "")
        self._show_summary()
        self._update_buttons()
        self.following.poke()

    def _show_summary(self, *_: Any) -> None:
        """Under the table: what the scene is, and the selected row's reason or the first thing to look at."""
        rows = self.imagery.model.rows
        hints = []
        for row in [*self.imagery.selected_rows(), *(row for row in rows if row.verdict[0] == RED)]:
            if row.verdict[1]:
                hints.append(f"{row.title}: {row.verdict[1]}")
        hints += self._errors + self._warnings
        self.imagery.say("\n".join(filter(None, [self._summary, *hints[:1]])) if rows else "")

    def _labels_changed(self) -> None:
        if hasattr(self, "checker"):
            self.checker.touch()
            self._changed()

    def _draw_labels(self, layer: QgsVectorLayer) -> None:
        self._iface.setActiveLayer(layer)
        action = self._iface.actionAddFeature()
        if action is not None:
            action.trigger()

    def _changed(self) -> None:
        if not self._loading:
            QgsProject.instance().setDirty(True)
        self._show_summary()
        self._update_buttons()

    def _missing(self) -> tuple[str, str, str]:
        """What must be done before Train, before Map and before an adaptation; "" = nothing."""
        rows = self.imagery.model.rows
        images = ""
        if rows and not self.checker.settled:
            images = "Looking at the images…"
        elif any(row.verdict[0] == RED for row in rows):
            images = "Mend or remove the red rows first: point at a red dot for the reason."
        first = images if rows else "Add images first."
        if not first and self._errors:
            first = self._errors[0]
        model = self.run.model.filePath().strip()
        map_first = first
        if not first and not model:
            map_first = "Press Train first, or choose a model file."
        elif not first and not Path(model).is_file():
            map_first = f"There is no model file {model}."
        elif not first:
            map_first = self.run.extent.missing
        base = self.run.base.missing
        return first or self.labels.missing or base, map_first, images or base

    def _update_buttons(self) -> None:
        train, map_, adapt = self._missing()
        self.run.set_missing(train, map_, self.jobs.busy)
        self.run.set_map(bool(self._map and Path(self._map).is_file()), self.jobs.busy)
        base = self.run.base
        images = sum(row.modality is not None for row in self.imagery.model.rows)
        self.adaptation.set_panel(
            Panel(
                self._title,
                images,
                base.title,
                base.path or built_in_model(),
                not base.path,
                adapt,
                self.jobs.busy,
            )
        )

    # Runs -----------------------------------------------------------------------------------------------------------

    def _start(self, task: str) -> None:
        missing = self._missing()[0 if task == TRAIN else 1]
        if missing or self.jobs.busy:
            self.messages.warn(missing or "A run is in progress.")
            return
        try:
            scene = self.scene()
            root = Path(self._scene_root) if self._scene_root else None
            folder = make_run_folder(Path(self._output_folder()), scene, root)
            keys: dict[str, Any] = {"model": self.run.model.filePath().strip()}
            if task == MAP:
                keys["options"] = self.run.extent.options(self._iface.mapCanvas(), folder)
            if task == TRAIN:
                export_labels(self.labels.layer, folder / "labels.gpkg")
                labels = {
                    "path": str(folder / "labels.gpkg"),
                    "field": self.labels.field,
                    "layer": LAYER_NAME,
                }
                keys = {
                    "labels": labels,
                    "options": {
                        "colors": class_colors(self.labels.layer, self.labels.field),
                        "report": str(folder / "report"),
                    },
                }
                if self.run.base.path:
                    keys["model"] = self.run.base.path
        except RowError as error:
            self.messages.warn(str(error))
            self.failed.emit(str(error))
            return
        self._date_layers()
        self._dates = [entry["date"] for entry in scene["acquisitions"] if entry["date"]]
        self._launch(recipe(task, folder, **keys))

    def _start_adapting(self) -> None:
        if self.adaptation.form.missing:
            return
        try:
            scene = self.scene()
        except RowError as error:
            self.messages.warn(str(error))
            return
        self._launch(self.adaptation.form.recipe(scene if scene["acquisitions"] else None))

    def _drawn(self) -> Task | None:
        """What there is to learn from while the user draws; None: not yet."""
        layer = self.labels.layer
        if layer is None or self.jobs.busy or self._missing()[0]:
            return None
        root = Path(self._scene_root) if self._scene_root else None
        return Task(self.scene(), root, self._title, layer, self.labels.field, self.run.base.path)

    def _looked(self, said: str) -> None:
        if not self.jobs.busy:
            self.run.set_idle(said)
            self._update_buttons()

    def _launch(self, job: dict[str, Any]) -> None:
        self.following.give_way()
        self.run.set_busy("Starting…")
        self.jobs.start(job)
        self._update_buttons()

    def _output_folder(self) -> str:
        return self.run.folder.filePath().strip() or str(default_folder())

    def _date_layers(self) -> None:
        """Write the dates back to the layers, so that QGIS's Temporal Controller can play them."""
        for row in self.imagery.model.rows:
            layer = QgsProject.instance().mapLayer(row.layer_id) if row.layer_id else None
            date = parse_date(row.date)
            if isinstance(layer, QgsRasterLayer) and date:
                set_layer_dates(layer, date, date)

    def _grow(self, chunk: dict[str, Any]) -> None:
        self.results.grow(chunk, self._title, str(self.jobs.recipe.get("model")))

    def _finished(self, task: str, result: dict[str, Any]) -> None:
        took = duration(float(result.get("seconds") or 0))
        if task == TRAIN:
            self.results.remember_classes(str(result["model"]), result.get("classes") or [])
            self.run.model.setFilePath(str(result["model"]))
            self.run.set_idle(f"Trained in {took}. {quality(result)}Next: press Map.")
            self._update_buttons()
            self.trained.emit(result)
            return
        if task == ADAPT:
            self._adapted(result, took)
            return
        try:
            group = self.results.finish(result, self.jobs.recipe, self._dates, self._title)
        except ValueError as error:
            self._failed(Failure("storage", str(error)))
            return
        self._map = str(result["map"]) if "confidence" in result else ""
        self.run.set_idle(f"Mapped in {took}: see “{group.name()}” in the layer list.")
        self._update_buttons()
        self.mapped.emit(result)

    def _suggested(self, result: dict[str, Any]) -> None:
        try:
            layer = self.results.show_places(str(result["suggestions"]))
        except ValueError as error:
            self._not_suggested(Failure("storage", str(error)))
            return
        count = len(result["points"])
        self.run.set_idle(
            f"{count} places, the most useful first: see “{layer.name()}”. Draw a polygon of what is truly there, then press Train."
        )
        self._update_buttons()
        self.suggested.emit(result)

    def _not_suggested(self, failure: Failure) -> None:
        self.run.set_idle(failure.sentence)
        self._update_buttons()

    def _adapted(self, result: dict[str, Any], took: str) -> None:
        path = str(result["model"])
        self.run.base.add_adapted(path)
        said = f"Adapted in {took}: “{model_title(path)}” is now the base model. Next: press Train."
        self.run.set_idle(said)
        self.messages.push(said, Qgis.MessageLevel.Success)
        self.adaptation.finished(path, took)
        self._update_buttons()
        self.adapted.emit(result)

    def _failed(self, failure: Failure) -> None:
        self.results.drop()
        self.run.set_idle("Cancelled." if failure.cancelled else failure.sentence)
        # What was done of a map or an adaptation is kept: after Cancel or a crash it can go on from there.
        task = self.jobs.recipe.get("task")
        kept = task == MAP or (task == ADAPT and can_resume(self.jobs.recipe))
        resume = kept and failure.kind in ("cancelled", "crashed")
        self.adaptation.failed(failure, resume)
        if failure.cancelled and resume:
            self.messages.push(f"Cancelled. {_KEPT[task]}", Qgis.MessageLevel.Info, resume=resume)
        elif not failure.cancelled:
            self.messages.push(failure.sentence, Qgis.MessageLevel.Critical, resume=resume)
        self._update_buttons()
        self.failed.emit(failure.sentence)

    def resume(self) -> None:
        """Go on with the map or adaptation that was stopped."""
        if self.jobs.busy:
            return
        before = self.jobs.recipe
        self._launch({**before, "options": {**before["options"], "resume": True}})

    # Project --------------------------------------------------------------------------------------------------------

    def _store(self, *_: Any) -> None:
        layer = self.labels.layer
        store(
            QgsProject.instance(),
            {
                "name": self._scene_name,
                "rows": self.imagery.model.rows,
                "root": self._scene_root,
                "extra": self._scene_extra,
                "labels": layer.id() if layer is not None else "",
                "field": self.labels.field,
                "model": self.run.model.filePath(),
                "base": self.run.base.path,
                "folder": self.run.folder.filePath(),
            },
        )

    def _restore(self, *_: Any) -> None:
        """Show what the project holds."""
        state = restore(QgsProject.instance())
        self._clear()
        if state is None:
            return
        self._loading = True
        self._scene_name, self._scene_root, self._scene_extra = state["name"], state["root"], state["extra"]
        self.run.model.setFilePath(state["model"])
        self.run.base.set_path(state["base"])
        self.run.folder.setFilePath(state["folder"])
        self.labels.choose(QgsProject.instance().mapLayer(state["labels"]), state["field"])
        self.imagery.model.add(state["rows"])
        self._loading = False

    def _clear(self) -> None:
        """A new project: start empty."""
        self._loading = True  # this is no change that would have to be saved
        self.results.drop()
        self.run.follow_box.setChecked(False)
        self.following.clear()
        self._scene_name, self._scene_root, self._scene_extra = "", "", {}
        self._errors, self._warnings, self._summary, self._map = [], [], "", ""
        self.imagery.model.clear()
        self.run.model.setFilePath("")
        self.run.base.set_path("")
        self.run.folder.setFilePath("")
        self.run.folder.lineEdit().setPlaceholderText(str(default_folder()))
        self._show_summary()
        self._update_buttons()
        self._loading = False
