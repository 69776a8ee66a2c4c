"""The worker's line protocol: one JSON object a line, UTF-8. Standard library only.

Request  {"id", "method", "params"}; reply {"id", "result"} or {"id", "error"}; event {"id", "event", ...}.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

PROTOCOL = 1


@dataclass(frozen=True)
class Failure:
    """Why a request failed.

    Attributes:
        kind: "input", "storage", "cancelled", "internal" (from the worker); "environment" (it cannot be started)
            or "crashed" (it ended in the middle).
        sentence: one line for the user.
    """

    kind: str
    sentence: str

    @property
    def cancelled(self) -> bool:
        return self.kind == "cancelled"


class WorkerError(Exception):
    """A failure, raised where there is no callback to take it."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.sentence)
        self.failure = failure


def encode(request: int, method: str, params: dict[str, Any]) -> bytes:
    """A request as a line."""
    message = {"id": request, "method": method, "params": params}
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode("utf-8") + b"\n"


def failure_of(error: Any) -> Failure:
    """The failure that an error reply tells of."""
    if not isinstance(error, dict):
        return Failure("internal", "The worker failed without saying why.")
    sentence = error.get("sentence") or error.get("what") or "The worker failed without saying why."
    return Failure(str(error.get("kind") or "internal"), str(sentence))


def check_hello(hello: dict[str, Any]) -> Failure | None:
    """Nothing if plugin and worker speak the same protocol."""
    theirs = hello.get("protocol")
    if theirs == PROTOCOL:
        return None
    older = (
        "the SkySense environment"
        if not isinstance(theirs, int) or theirs < PROTOCOL
        else "the SkySense plugin"
    )
    return Failure(
        "environment",
        f"The plugin and its environment do not fit together (protocol {PROTOCOL} and {theirs}). Update {older}.",
    )


class LineBuffer:
    """Cuts a stream of bytes into messages; lines that are no JSON object are counted, not raised."""

    def __init__(self) -> None:
        self._rest = b""
        self.strange = 0

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """The messages that `data` completes, in order."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        messages = []
        for line in lines:
            if not line.strip():
                continue
            try:
                message = json.loads(line.decode("utf-8"))
            except ValueError:
                message = None
            if isinstance(message, dict):
                messages.append(message)
            else:
                self.strange += 1
        return messages
