"""The worker's line protocol: one JSON object a line, UTF-8. Standard library only.

Request  {"id", "method", "params"}; reply {"id", "result"} or {"id", "error"}; event {"id", "event", ...}.
"""

import json
import threading
from typing import Any, BinaryIO

from skysense.errors import SkySenseError

VERSION = 1


class Channel:
    """Writes messages whole, from any thread.

    Args:
        stream: the pipe to the plugin; nothing else may write to it.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def send(self, message: dict[str, Any]) -> None:
        """Write one message as one line and flush it."""
        line = json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        with self._lock:
            self._stream.write(line)
            self._stream.flush()

    def result(self, request: Any, result: dict[str, Any]) -> None:
        self.send({"id": request, "result": result})

    def error(self, request: Any, error: dict[str, Any]) -> None:
        self.send({"id": request, "error": error})


def error_json(error: BaseException) -> dict[str, Any]:
    """What the other side is told of an error; a defect of ours becomes a sentence that points to the log."""
    if isinstance(error, SkySenseError):
        known = error
    else:
        known = SkySenseError(
            f"an unexpected problem stopped the job ({type(error).__name__}: {error})",
            None,
            "Please report it with the log",
        )
    return {
        "kind": known.kind,
        "what": known.what,
        "where": known.where,
        "fix": known.fix,
        "sentence": known.sentence,
    }
