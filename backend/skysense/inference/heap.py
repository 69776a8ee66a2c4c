"""Memory that the process has freed goes back to the system: glibc keeps it, in pieces that grow with a long run."""

import ctypes
import sys
import time
from collections.abc import Callable

#: Giving back takes a few milliseconds, and what is used again has to be fetched again: at every chunk of a small map that is 5 %.
_EVERY_S = 1.0
_last = time.monotonic()


def give_back() -> None:
    """To be called between two chunks: keeps the memory of a map of any size that of a small one."""
    global _last
    if time.monotonic() - _last >= _EVERY_S:
        _trim()
        _last = time.monotonic()


def _find() -> Callable[[], object]:
    if sys.platform != "linux":
        return lambda: None
    try:
        trim = ctypes.CDLL("libc.so.6").malloc_trim
    except (OSError, AttributeError):  # another C library, which needs no such help
        return lambda: None
    return lambda: trim(0)


_trim = _find()
