"""The SkySense panel: imagery, labels, train and map."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qgis.core import QgsProject, QgsRasterLayer, QgsVectorLayer
from qgis.gui import QgisInterface, QgsDockWidget
from qgis.PyQt.QtCore import Qt, pyqtSignal
from qgis.PyQt.QtWidgets import QLabel, QVBoxLayout, QWidget

from ..adapt.dialog import AdaptDialog
from ..adapt.form import Panel
from ..forms import TallScroll
from ..paths import built_in_model
from ..worker.client import WorkerClient
from .acquisitions import AcquisitionsSection
from .checking import SceneChecker
from .class_ids import remember_ids
from .following import Following, Task
from .jobs import JobRunner
from .labels import LabelsSection
from .messages import PanelMessages
from .project import restore, store
from .recipes import MAP, TRAIN, default_folder, make_run_folder, mapping, training
from .row import RowError
from .run import RunSection
from .runs import Runs
from .scene import PanelScene
from .sources import SceneFile


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
        self._loading = False
        self._learning = "", ""  # the layer, by its id, and the field that the newest training learns from
        self.messages = PanelMessages(self)
        self.imagery = AcquisitionsSection(self)
        self.labels = LabelsSection(self)
        self.run = RunSection(client, self)
        self._build()
        self._scene = PanelScene(self.imagery.model)
        self.checker = SceneChecker(self.imagery.model, client, self._scene_to_check, self)
        self.jobs = JobRunner(client, self)
        self.adaptation = AdaptDialog(client, self.jobs, self)
        self.runs = Runs(client, self.jobs, self._scene, self.run, self.messages, self.adaptation, self)
        self.results = self.runs.results
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
        return self._scene.to_json()

    def train(self) -> None:
        """What the button Train does."""
        self._start(TRAIN)

    def map(self) -> None:
        """What the button Map does."""
        self._start(MAP)

    def suggest(self) -> None:
        """What the button "Where to draw next" does: places of the newest map, numbered, in its group."""
        self.runs.suggest()

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

    def resume(self) -> None:
        """What the button Resume does: go on with the map or adaptation that was stopped."""
        self.runs.resume()

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
        outer = QWidget(self)
        column = QVBoxLayout(outer)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.messages)
        column.addWidget(TallScroll(content, outer), 1)
        column.addWidget(self.run.controls)
        self.setWidget(outer)

    def _connect(self) -> None:
        self.imagery.message.connect(self.messages.warn)
        self.imagery.scene_loaded.connect(self._take_scene_file)
        self.imagery.model.scene_changed.connect(self._changed)
        self.imagery.selected.connect(self._show_summary)
        self.checker.checked.connect(self._take_check)
        self.checker.failed.connect(self.messages.warn)
        self.labels.changed.connect(self.checker.touch)
        self.labels.changed.connect(self._changed)
        self.labels.new_layer.connect(self._draw_labels)
        self.run.changed.connect(self._changed)
        self.run.train.connect(self.train)
        self.run.map.connect(self.map)
        self.run.cancel.connect(self.cancel)
        self.run.adapt.connect(self.adapt)
        self.run.suggest.connect(self.suggest)
        self.run.follow.connect(self.following.switch)
        self.run.base.changed.connect(self.following.touch)
        self.run.dates.changed.connect(self.following.touch)
        self.run.day.currentIndexChanged.connect(self.following.repaint)
        self.run.follow.connect(lambda _: self._update_buttons())
        self.labels.changed.connect(self.following.touch)
        self.imagery.model.scene_changed.connect(self.following.touch)
        self.following.started.connect(lambda: self.run.set_busy("Learning from what is drawn…"))
        self.following.progressed.connect(self.run.set_progress)
        self.following.ended.connect(self._looked)
        self.adaptation.start.connect(self._start_adapting)
        self.adaptation.cancel.connect(self.cancel)
        self.runs.starting.connect(self.following.give_way)
        self.runs.changed.connect(self._update_buttons)
        self.runs.trained.connect(self._remember_ids)
        self.runs.trained.connect(self.trained)
        self.runs.mapped.connect(self.mapped)
        self.runs.adapted.connect(self.adapted)
        self.runs.suggested.connect(self.suggested)
        self.runs.failed.connect(self.failed)
        for ended in (self.jobs.finished, self.jobs.failed):
            ended.connect(lambda *_: self.following.poke())
        project = QgsProject.instance()
        project.readProject.connect(self._restore)
        project.writeProject.connect(self._store)
        project.cleared.connect(self._clear)

    # Scene ----------------------------------------------------------------------------------------------------------

    def _take_scene_file(self, scene: SceneFile) -> None:
        """A scene file replaces what was there."""
        self._scene.take_file(scene)
        if scene.labels is None:
            return
        path, field = scene.labels["path"], str(scene.labels.get("field") or "")
        if not self.labels.open_file(path, str(scene.labels.get("layer") or ""), field):
            self.messages.warn(f"The scene's labels {path} cannot be opened. Choose another polygon layer.")

    def _scene_to_check(self) -> tuple[dict[str, Any], list[int]]:
        scene = self.scene()
        labels = self.labels.as_file()
        if labels is not None:
            scene["labels"] = labels
        return scene, self._scene.numbers

    def _take_check(self, result: dict[str, Any]) -> None:
        self._scene.take_check(result)
        self._show_summary()
        self._update_buttons()
        self.following.poke()

    def _show_summary(self, *_: Any) -> None:
        """Under the table."""
        self.imagery.say(self._scene.told(self.imagery.selected_rows()))

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
        images = self._scene.missing(self.checker.settled)
        first = images if self.imagery.model.rows else "Add images first."
        if not first and self._scene.errors:
            first = self._scene.errors[0]
        model = self.run.model.filePath().strip()
        map_first = first
        if not first and not model:
            map_first = "Press Train first, or choose a model file."
        elif not first and not Path(model).is_file():
            map_first = f"There is no model file {model}."
        elif not first:
            map_first = self.run.extent.missing
        base = self.run.base.missing
        if self.run.base.busy:  # the worker does one thing at a time, and the row's Cancel must stay in reach
            map_first = map_first or base
        return first or self.labels.missing or base, map_first, images or base

    def _update_buttons(self) -> None:
        self.run.show_target()
        self.run.allow_following(self.labels.taught.words.not_drawing)
        self.run.show_dates(self._scene.longest_series)
        self.run.show_day(self._scene.days, bool(self.labels.date_field))
        train, map_, adapt = self._missing()
        self.run.set_missing(train, map_, self.jobs.busy)
        self.run.set_map(self.runs.has_map, self.jobs.busy)
        base = self.run.base
        self.adaptation.set_panel(
            Panel(
                self._scene.title,
                len(self._scene.numbers),
                base.title,
                base.path or built_in_model(),
                not base.path,
                adapt,
                self.jobs.busy,
            )
        )

    # Runs -----------------------------------------------------------------------------------------------------------

    def _start(self, task: str) -> None:
        self.run.show_target()  # the file may be another one by now
        missing = self._missing()[0 if task == TRAIN else 1]
        if missing or self.jobs.busy:
            self.messages.warn(missing or "A run is in progress.")
            return
        try:
            scene = self.scene()
            folder = make_run_folder(Path(self._output_folder()), scene, self._scene.folder)
            if task == TRAIN:
                options = {"report": str(folder / "report"), **self.labels.options, **self.run.dates.options}
                recipe = training(folder, self.labels.layer, self.labels.fields, self.run.base.path, options)
                self._learning = self.labels.layer.id(), self.labels.field
            else:
                options = self.run.extent.options(self._iface.mapCanvas(), folder)
                options |= self.run.dates.options | self.run.day_options
                model = self.run.model.filePath().strip()
                recipe = mapping(folder, model, options, self.run.target.output)
        except RowError as error:
            self.messages.warn(str(error))
            self.failed.emit(str(error))
            return
        self._scene.date_layers()
        self.runs.start(recipe, [entry["date"] for entry in scene["acquisitions"] if entry["date"]])

    def _remember_ids(self, result: dict[str, Any]) -> None:
        """The classes of a training keep their ids in the next one."""
        layer_id, field = self._learning
        remember_ids(QgsProject.instance().mapLayer(layer_id), field, result.get("classes") or [])

    def _start_adapting(self) -> None:
        if self.adaptation.form.missing:
            return
        try:
            scene = self.scene()
        except RowError as error:
            self.messages.warn(str(error))
            return
        self.runs.start(self.adaptation.form.recipe(scene if scene["acquisitions"] else None))

    def _drawn(self) -> Task | None:
        """What there is to learn from while the user draws; None: not yet."""
        layer = self.labels.layer
        if layer is None or self.jobs.busy or self._missing()[0]:
            return None
        scene = self._scene
        return Task(
            scene.to_json(),
            scene.folder,
            scene.title,
            layer,
            self.labels.fields,
            self.labels.options,
            self.run.base.path,
            self.run.dates.options,
            self.run.day.options if self.labels.date_field else {},
        )

    def _looked(self, said: str) -> None:
        if not self.jobs.busy:
            self.run.set_idle(said)
            self._update_buttons()

    def _output_folder(self) -> str:
        return self.run.folder.filePath().strip() or str(default_folder())

    # Project --------------------------------------------------------------------------------------------------------

    def _store(self, *_: Any) -> None:
        layer = self.labels.layer
        store(
            QgsProject.instance(),
            {
                "name": self._scene.name,
                "rows": self.imagery.model.rows,
                "root": self._scene.root,
                "extra": self._scene.extra,
                "labels": layer.id() if layer is not None else "",
                "field": self.labels.field,
                "date_field": self.labels.date_combo.field,
                "target": self.labels.target,
                "model": self.run.model.filePath(),
                "base": self.run.base.path,
                "dates": self.run.dates.rule,
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
        self._scene.come_from(state["name"], state["root"], state["extra"])
        self.run.model.setFilePath(state["model"])
        self.run.base.set_path(state["base"])
        self.run.dates.choose(state["dates"])
        self.run.folder.setFilePath(state["folder"])
        layer = QgsProject.instance().mapLayer(state["labels"])
        self.labels.choose(layer, state["field"], state["date_field"], state["target"])
        self.imagery.model.add(state["rows"])
        self._loading = False

    def _clear(self) -> None:
        """A new project: start empty."""
        self._loading = True  # this is no change that would have to be saved
        self.runs.clear()
        self.run.follow_box.setChecked(False)
        self.following.clear()
        self._scene.clear()
        self.labels.taught.choose("classes")
        self.imagery.model.clear()
        self.run.model.setFilePath("")
        self.run.base.set_path("")
        self.run.dates.choose("all")
        self.run.folder.setFilePath("")
        self.run.folder.lineEdit().setPlaceholderText(str(default_folder()))
        self._show_summary()
        self._update_buttons()
        self._loading = False
