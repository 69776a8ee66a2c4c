"""The worker's stderr: a rotating file, and its last lines for the log panel of QGIS."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path

from qgis.core import Qgis, QgsMessageLog

TAG = "SkySense"
_MAX_BYTES = 1_000_000
_KEPT_LINES = 30


class WorkerLog:
    """Collects what the worker writes on stderr.

    Args:
        path: the log file; one older generation is kept as `<path>.1`. None = memory only.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Take some bytes of stderr."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._lines.extend(line.decode("utf-8", "replace").rstrip() for line in lines if line.strip())
        if self.path is not None and data:
            try:
                _append(self.path, data)
            except OSError as error:
                QgsMessageLog.logMessage(
                    f"The log {self.path} cannot be written: {error}", TAG, Qgis.MessageLevel.Warning
                )
                self.path = None

    @property
    def last_line(self) -> str:
        """The last line that was written, also one without an end."""
        rest = self._rest.decode("utf-8", "replace").strip()
        return rest or (self._lines[-1].strip() if self._lines else "")

    def to_panel(self, headline: str) -> None:
        """Show a headline and the last lines in the log panel of QGIS."""
        QgsMessageLog.logMessage("\n".join([headline, *self._lines]), TAG, Qgis.MessageLevel.Warning, False)


def _append(path: Path, data: bytes) -> None:
    if path.exists() and path.stat().st_size > _MAX_BYTES:
        os.replace(str(path), str(path) + ".1")
    with open(path, "ab") as file:
        file.write(data)
