"""The panel's scene: the table's images, what a scene file had beside them, and what the worker says of it all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qgis.core import QgsProject, QgsRasterLayer

from .row import RED, Row, RowError, parse_date
from .sources import SceneFile, set_layer_dates
from .table import AcquisitionModel


class PanelScene:
    """Rows without a sensor are no part of it.

    Args:
        table: the rows.

    Attributes:
        name, root: of the scene file that it came from, and its folder; "" = none.
        extra: the scene file's unknown keys, kept.
        errors, warnings: what is wrong and what is doubtful about the scene and its images, in sentences.
    """

    def __init__(self, table: AcquisitionModel) -> None:
        self._table = table
        self.clear()

    def clear(self) -> None:
        """Forget all but the rows."""
        self.come_from("", "", {})
        self.take_check({})

    def come_from(self, name: str, root: str, extra: dict[str, Any]) -> None:
        """The rows are a scene file's."""
        self.name, self.root, self.extra = name, root, extra

    def take_file(self, scene: SceneFile) -> None:
        """A scene file replaces what was there; its rows come after this."""
        self._table.clear()
        self.come_from(scene.name, str(scene.root), scene.extra)

    def take_check(self, result: dict[str, Any]) -> None:
        """The worker's answer to "validate"; {} = there is nothing to check."""
        self.errors = [str(error) for error in result.get("errors") or []]
        self.warnings = [str(warning) for warning in result.get("warnings") or []]
        self._summary = str(result.get("summary") or "")

    @property
    def title(self) -> str:
        """Its name for the user."""
        return self.name or QgsProject.instance().baseName() or "scene"

    @property
    def folder(self) -> Path | None:
        """The folder of the scene file that it came from."""
        return Path(self.root) if self.root else None

    @property
    def numbers(self) -> list[int]:
        """The row of each acquisition."""
        return [number for number, row in enumerate(self._table.rows) if row.modality is not None]

    @property
    def longest_series(self) -> int:
        """Dates of the Sentinel series that has most."""
        rows = self._table.rows
        return max(
            len({row.date for row in rows if row.modality == sensor and row.date}) for sensor in ("s2", "s1")
        )

    @property
    def days(self) -> dict[str, set[str]]:
        """The days of its images, ISO dates, and the sensors of each."""
        found: dict[str, set[str]] = {}
        for number in self.numbers:
            row = self._table.rows[number]
            try:
                day = parse_date(row.date)
            except RowError:  # the row says so
                continue
            if day:
                found.setdefault(day, set()).add(str(row.modality))
        return found

    def to_json(self) -> dict[str, Any]:
        """As in a scene file, with absolute paths and without labels.

        Raises:
            RowError: a date cannot be read.
        """
        return {
            "version": 1,
            "name": self.title,
            "acquisitions": [self._table.rows[number].to_scene() for number in self.numbers],
            **self.extra,
        }

    def missing(self, settled: bool) -> str:
        """What must be done before the images can be used, as a sentence; "" = nothing, or there are none.

        Args:
            settled: each row has been looked at and checked.
        """
        rows = self._table.rows
        if rows and not settled:
            return "Looking at the images…"
        if any(row.verdict[0] == RED for row in rows):
            return "Mend or remove the red rows first: point at a red dot for the reason."
        return ""

    def told(self, selected: list[Row]) -> str:
        """What the scene is, and the reason of a selected row or the first thing to look at."""
        rows = self._table.rows
        hints = []
        for row in [*selected, *(row for row in rows if row.verdict[0] == RED)]:
            if row.verdict[1]:
                hints.append(f"{row.title}: {row.verdict[1]}")
        hints += self.errors + self.warnings
        return "\n".join(filter(None, [self._summary, *hints[:1]])) if rows else ""

    def date_layers(self) -> None:
        """Write the dates back to the layers, so that QGIS's Temporal Controller can play them."""
        for row in self._table.rows:
            layer = QgsProject.instance().mapLayer(row.layer_id) if row.layer_id else None
            date = parse_date(row.date)
            if isinstance(layer, QgsRasterLayer) and date:
                set_layer_dates(layer, date, date)
