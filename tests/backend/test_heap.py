"""The heap's settings are of the whole process, so each test has one of its own."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only glibc's heap is set up")

_HELPERS = """
import resource
import numpy as np
from skysense import heap

MB = 2**20

def block(megabytes):
    return np.ones(megabytes * MB, np.uint8)

def faults(work):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    work()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
"""


def _in_a_process(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", _HELPERS + code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_blocks_that_are_kept_are_not_fetched_anew():
    _in_a_process("""
def work():
    for _ in range(20):
        block(64)
work()
anew = faults(work)
heap.keep_blocks()
work()
kept = faults(work)
assert kept < anew / 10, (kept, anew)
""")


def test_what_a_job_has_freed_goes_back():
    _in_a_process("""
heap.keep_blocks()
empty = heap._resident()
block(200)
assert heap._resident() > empty + 190 * MB
heap.give_back()
assert heap._resident() < empty + 10 * MB
""")


def test_between_chunks_only_growth_goes_back():
    _in_a_process("""
heap._EVERY_S = 0.0
heap.keep_blocks()
block(200)
heap.tidy()  # learns what a chunk needs
block(200)
heap.tidy()
needed = heap._resident()
assert needed > 190 * MB
block(300)
heap.tidy()
assert heap._resident() < needed - 150 * MB
block(300)
heap.tidy()  # learns anew
block(300)
heap.tidy()
assert heap._resident() > 290 * MB
""")


def test_looks_at_most_once_a_second():
    _in_a_process("""
heap.tidy()
block(200)
heap._last = heap.time.monotonic()
heap._needed = 1
held = []
real, heap._resident = heap._resident, lambda: held.append(1) or real()
heap.tidy()
assert not held
heap._last -= 1.1
heap.tidy()
assert held and heap._needed is None
""")


def test_another_c_library_needs_no_help():
    _in_a_process("""
heap._libc = None
heap.keep_blocks()
heap._last = 0.0
heap.tidy()
heap.give_back()
""")


def test_a_heap_that_cannot_keep_large_blocks_stays_as_it_is():
    _in_a_process("""
class OldLibc:
    asked = []
    def mallopt(self, parameter, value):
        self.asked.append(parameter)
        return 0
heap._libc = OldLibc()
heap.keep_blocks()
assert OldLibc.asked == [heap._MMAP_THRESHOLD]
""")
