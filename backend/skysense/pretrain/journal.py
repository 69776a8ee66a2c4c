"""The log of a pretraining: `log.jsonl`, one JSON object per step, whole even after the process was killed."""

import json
import math
from pathlib import Path
from typing import Any, TextIO

from skysense.aside import storage_error, write_aside


class Journal:
    """Appends records to a log.

    Args:
        path: of the file; made if it is not there.
        keep: lines up to this step stay, later ones (of steps that a killed run did after its last checkpoint) go.

    Raises:
        StorageError: it cannot be written.
    """

    def __init__(self, path: Path, *, keep: int = 0) -> None:
        self._path = path
        kept = "".join(_line(record) for record in read_journal(path) if record["step"] <= keep)
        write_aside(path, kept.encode())
        try:
            self._file: TextIO = path.open("a", encoding="utf-8")
        except OSError as error:
            raise storage_error(self._path, error) from None

    def write(self, record: dict[str, Any]) -> None:
        """Append one record, which has a "step", and hand it to the system; what is not finite becomes null.

        Raises:
            StorageError: it cannot be written.
        """
        try:
            self._file.write(_line(record))
            self._file.flush()
        except OSError as error:
            raise storage_error(self._path, error) from None

    def close(self) -> None:
        """Close the file."""
        try:
            self._file.close()
        except OSError as error:
            raise storage_error(self._path, error) from None


def read_journal(path: Path) -> list[dict[str, Any]]:
    """All whole records of a log, in order; none where there is no file."""
    if not path.exists():
        return []
    records = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
        except ValueError:  # the line that was being written when the process was killed
            continue
        if isinstance(record, dict) and isinstance(record.get("step"), int):
            records.append(record)
    return records


def _line(record: dict[str, Any]) -> str:
    return json.dumps(_finite(record), ensure_ascii=False, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
