"""Memory that the process has freed goes back to the system: glibc keeps it, in pieces that grow with a long run."""

import ctypes
import sys
from collections.abc import Callable


def _find() -> Callable[[], None]:
    if sys.platform != "linux":
        return lambda: None
    try:
        trim = ctypes.CDLL("libc.so.6").malloc_trim
    except (OSError, AttributeError):  # another C library, which needs no such help
        return lambda: None
    return lambda: trim(0)


#: Between two chunks it takes a few milliseconds, and keeps the memory of a map of any size that of a small one.
give_back = _find()
