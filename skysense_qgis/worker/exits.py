"""What to tell the user when the worker ended by itself."""

from __future__ import annotations

import os

from .messages import Failure

_KILLED = 9


def exit_failure(program: str, crashed: bool, code: int, last_line: str) -> Failure:
    """One sentence for an end in the middle.

    Args:
        program: the executable.
        crashed: it did not return from main (on Unix: ended by a signal, `code`).
        code: exit code or signal.
        last_line: the last line it wrote on stderr, "" = none.
    """
    if (crashed and code == _KILLED and os.name != "nt") or (not crashed and code == 128 + _KILLED):
        return Failure(
            "crashed",
            "The computation was ended by the system, most likely because memory ran out. Close other programs, or "
            "choose a smaller area or model, then try again.",
        )
    if "No module named" in last_line and "skysense" in last_line:
        return Failure(
            "environment",
            f"The Python {program} has no package skysense. Choose another one in Settings, Options, SkySense.",
        )
    detail = f" ({last_line})" if last_line else ""
    how = "crashed" if crashed else "stopped unexpectedly"
    number = f"signal {code}" if crashed and os.name != "nt" else f"code {code}"
    return Failure(
        "crashed",
        f"The computation {how}, {number}{detail}. Try again; the log panel SkySense has the details.",
    )


def start_failure(program: str) -> Failure:
    """One sentence for a program that cannot be started at all."""
    return Failure(
        "environment",
        f"The program {program} cannot be started. Choose the Python that has the package skysense in Settings, "
        "Options, SkySense.",
    )
