"""What one process must know of the others; everything is the identity where there is only one."""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

Item = TypeVar("Item")

#: A process that waits this long for another gives up: one may be making landscapes, or probing many scenes. `torchrun` ends
#: all of them when one has died.
_PATIENCE = timedelta(hours=12)


@contextmanager
def start_processes(device: torch.device) -> Iterator[torch.device]:
    """Join the other processes of a `torchrun`, by gloo for CPU tensors and NCCL for CUDA ones.

    Args:
        device: what one process would compute on.

    Yields:
        The device of this process: on CUDA the one of its number on its machine.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield device
        return
    backend = "gloo"
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, timeout=_PATIENCE)
    yield device
    # Not after an error: the others are in the middle of something, and torchrun ends them when this process ends.
    # Sharded modules refer to themselves and to the group: what still holds it when the interpreter ends has its threads
    # running, and the process would be aborted for them.
    gc.collect()
    dist.destroy_process_group()


def active() -> bool:
    """Whether this is one of several processes."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if active() else 0


def world_size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if active() else 1


def all_sum(values: Tensor) -> Tensor:
    """Sum over all processes; a new tensor without gradient."""
    total = values.detach().clone()
    if active():
        dist.all_reduce(total)
    return total


def any_process(flag: bool) -> bool:
    """Whether `flag` is True in any process: what stops one must stop all, or they would wait for it."""
    return bool(all_sum(torch.tensor(int(flag))))


def gather_items(items: list[Item]) -> list[Item]:
    """The items of all processes, in the order of their ranks; they are pickled."""
    if not active():
        return items
    parts: list[list[Item]] = [[] for _ in range(world_size())]
    dist.all_gather_object(parts, items)
    return [item for part in parts for item in part]


def gather_rows(rows: Tensor) -> Tensor:
    """Rows (N_i, ...) of all processes in the order of their ranks; N_i may differ, gradient flows to the local ones."""
    if not active():
        return rows
    counts = [torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(world_size())]
    dist.all_gather(counts, torch.tensor([len(rows)], device=rows.device))
    most = int(max(counts))
    padded = torch.cat((rows.detach(), rows.new_zeros(most - len(rows), *rows.shape[1:])))
    parts = [torch.empty_like(padded) for _ in range(world_size())]
    dist.all_gather(parts, padded)
    pieces = [part[: int(count)] for part, count in zip(parts, counts, strict=True)]
    pieces[rank()] = rows
    return torch.cat(pieces)
