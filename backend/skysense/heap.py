"""The heap of glibc, which takes large blocks from the system anew each time and keeps what is freed in pieces.

Taking anew means that the system clears the memory once more: a quarter of the time of a fusion on a CPU. Keeping means
that a long run grows. So blocks are kept while a job runs, and given back when they have become more than it needs.
"""

import ctypes
import os
import sys
import time
from typing import Any

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of malloc.h
_LARGEST = 2**30
_NEVER = 2**31 - 1

#: Between two looks: giving back takes a few milliseconds, and what is used again has to be fetched again.
_EVERY_S = 1.0
#: How much more than after the last time is kept at most, as a share.
_GROWTH = 1.05

_last = time.monotonic()
_needed: int | None = None


def keep_blocks() -> None:
    """To be called once before a process computes: tensors that are freed are used again as they are."""
    # An old glibc refuses the first. The second alone would end its own adapting, and take every block of 128 KB anew.
    if _libc is not None and _libc.mallopt(_MMAP_THRESHOLD, _LARGEST):
        _libc.mallopt(_TRIM_THRESHOLD, _NEVER)


def tidy() -> None:
    """To be called between two chunks: keeps the memory of a map of any size that of a small one."""
    global _last, _needed
    if _libc is None or time.monotonic() - _last < _EVERY_S:
        return
    _last = time.monotonic()
    held = _resident()
    if _needed is None:  # one chunk at least after the last time
        _needed = held
    elif held > _needed * _GROWTH:
        give_back()


def give_back() -> None:
    """To be called when a job has ended: what it has freed goes back to the system."""
    global _needed
    _needed = None
    if _libc is not None:
        _libc.malloc_trim(0)


def _resident() -> int:
    """Bytes of memory that belong to the process alone, and not to a file."""
    with open("/proc/self/statm") as file:
        _, resident, shared, *_ = map(int, file.read().split())
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE")


def _find() -> Any | None:
    if sys.platform != "linux":
        return None
    try:
        libc = ctypes.CDLL("libc.so.6")
        return libc if libc.malloc_trim and libc.mallopt else None
    except (OSError, AttributeError):  # another C library, which needs no such help
        return None


_libc = _find()
