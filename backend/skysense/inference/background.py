"""Threads that write take the cores that the model leaves."""

import contextlib
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import torch

_NICE = 10


def background_pool(threads: int, name: str) -> ThreadPoolExecutor:
    """Threads of lower priority, each of which computes by itself.

    The model's threads may wait for each other many times a tile: if one of them has to share its core, all lose that time; and
    where another thread splits its own small sums too, more threads than cores spin.
    """
    usual, ready = torch.get_num_threads(), threading.Barrier(threads + 1)

    def begin() -> None:
        if sys.platform == "linux":  # elsewhere threads have no priority of their own
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        torch.get_num_threads()  # torch counts for each thread, from its first question on
        torch.set_num_threads(1)
        ready.wait()

    pool = ThreadPoolExecutor(threads, thread_name_prefix=name, initializer=begin)
    for _ in range(threads):
        pool.submit(lambda: None)
    ready.wait()
    torch.set_num_threads(usual)  # of this thread; and of the matrix products, which have one number for all
    return pool
