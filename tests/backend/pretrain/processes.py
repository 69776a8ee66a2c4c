"""Runs a function in several processes that know each other, as torchrun would."""

import multiprocessing
import os
import socket
from collections.abc import Callable
from typing import Any

import torch
from skysense.pretrain.parallel import start_processes


def in_processes(count: int, work: Callable[..., None], *args: Any, joined: bool = True) -> None:
    """`work(*args)` in `count` processes; fails if one of them fails or takes a minute. `work` is a module's function.

    Not `joined`: they know of each other by their environment only, as torchrun leaves it.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    started = [
        context.Process(target=_enter, args=(rank, count, port, work, args, joined), daemon=True)
        for rank in range(count)
    ]
    for process in started:
        process.start()
    try:
        for process in started:
            process.join(60)
        assert [process.exitcode for process in started] == [0] * count
    finally:
        for process in started:
            process.kill()


def _enter(
    rank: int, count: int, port: int, work: Callable[..., None], args: tuple[Any, ...], joined: bool
) -> None:
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(count),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )
    torch.set_num_threads(1)
    if not joined:
        work(*args)
        return
    with start_processes(torch.device("cpu")):
        work(*args)
