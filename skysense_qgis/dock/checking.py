"""Keeps the table true: asks the worker to describe new rows and to check the scene as a whole."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

from qgis.PyQt.QtCore import QObject, QTimer, pyqtSignal

from ..worker.client import WorkerClient
from ..worker.messages import Failure
from .row import RED, Row, RowError
from .sources import images_in
from .table import AcquisitionModel

_CALM_MS = 200  # changes in quick succession are checked once
_BATCH = 12  # rows a request: the table fills while the rest is still being looked at


class SceneChecker(QObject):
    """Watches the table.

    Args:
        model: the table.
        client: the worker.
        scene: gives the scene as JSON and the number of each entry's row.

    Signals:
        checked(dict): the worker's answer to "validate"; {} = there is nothing to check.
        failed(str): the worker cannot be asked; a sentence.
    """

    checked = pyqtSignal(dict)
    failed = pyqtSignal(str)

    def __init__(
        self,
        model: AcquisitionModel,
        client: WorkerClient,
        scene: Callable[[], tuple[dict[str, Any], list[int]]],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._model, self._client, self._scene = model, client, scene
        self._asked: list[Row] = []  # rows that the worker is looking at
        self._outdated = False
        self._serial = 0
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_CALM_MS)
        self._timer.timeout.connect(self._validate)
        model.described_needed.connect(self.describe)
        model.scene_changed.connect(self.touch)

    @property
    def settled(self) -> bool:
        """Every row is described and the scene as it is now has been checked."""
        return not self._asked and not self._outdated and all(row.described for row in self._model.rows)

    def touch(self) -> None:
        """The scene has changed: check it once it is calm."""
        self._outdated = True
        self._timer.start()

    def describe(self) -> None:
        """Ask for every row that has no description yet."""
        groups: dict[str | None, list[Row]] = defaultdict(list)
        for row in self._model.rows:
            if not row.described and not any(row is asked for asked in self._asked):
                groups[row.modality if "modality" in row.stated else None].append(row)
        for modality, rows in groups.items():
            for start in range(0, len(rows), _BATCH):
                self._ask(modality, rows[start : start + _BATCH])

    def ask_again(self) -> None:
        """Ask anew for the rows for which the worker could not be asked."""
        for row in self._model.rows:
            if row.failed:
                row.described, row.found = False, {}
        self.describe()

    def _ask(self, modality: str | None, rows: list[Row]) -> None:
        self._asked.extend(rows)

        def take(result: dict[str, Any]) -> None:
            for row, found in zip(rows, result.get("descriptions") or []):
                self._release(row)
                # The user may have chosen another sensor while the worker was looking.
                if "modality" in row.stated and row.modality != modality:
                    continue
                files = images_in(row.path) if found.get("status") == RED else []
                if files:  # no product but a folder of images: each is a row
                    self._model.replace(row, [Row(path=file) for file in files])
                else:
                    self._model.describe_row(row, found)
            self.describe()
            self.touch()

        def fail(failure: Failure) -> None:
            for row in rows:
                self._release(row)
                self._model.describe_row(row, {"status": "red", "reason": failure.sentence, "failed": True})
            self.touch()
            self.failed.emit(failure.sentence)

        self._client.request(
            "describe", {"paths": [row.path for row in rows], "modality": modality}, take, fail
        )

    def _release(self, row: Row) -> None:
        self._asked = [asked for asked in self._asked if asked is not row]

    def _validate(self) -> None:
        if self._asked:
            return  # `take` comes back here
        try:
            scene, numbers = self._scene()
        except RowError:  # a date that is no date: the row says so itself
            self._settle({})
            return
        if not numbers:
            self._settle({})
            return
        self._serial += 1
        serial = self._serial

        def take(result: dict[str, Any]) -> None:
            if serial == self._serial and not self._timer.isActive():
                rows = result.get("rows") or []
                self._model.set_checks(
                    {number: (row["status"], row["reason"]) for number, row in zip(numbers, rows)}
                )
                self._settle(result)

        def fail(failure: Failure) -> None:
            if serial == self._serial and not self._timer.isActive():
                self._settle({"errors": [failure.sentence], "rows": [], "warnings": [], "summary": ""})

        labels = scene.get("labels")
        self._client.request("validate", {"scene": scene, "labels": labels}, take, fail)

    def _settle(self, result: dict[str, Any]) -> None:
        self._outdated = False
        self.checked.emit(result)
