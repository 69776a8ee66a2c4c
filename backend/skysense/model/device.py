"""Which device computes, and with how many threads."""

import os

import torch

from skysense.errors import InputError
from skysense.heap import keep_blocks

#: Tiles that a CPU computes side by side at most: each takes the memory of one. Of these numbers the one that leaves fewest cores idle.
_LANES = (5, 4, 3)


def cpu_threads() -> int:
    """CPU threads that may compute: all cores that the process may use on a small machine, one less otherwise, for QGIS."""
    # What a cluster or `taskset` leaves to the process, where the system can tell.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores if cores <= 2 else cores - 1


def lane_threads(device: torch.device) -> int:
    """CPU threads that compute one tile; sums are split by thread, so another number of them rounds otherwise."""
    cores = cpu_threads()
    if device.type != "cpu" or cores <= max(_LANES):
        return 1
    return cores // min(_LANES, key=lambda lanes: cores % lanes)


def computed_by(device: torch.device) -> list[str]:
    """What the last bits of a result depend on beside its input: the kind of device and the version of what computes."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    return [device.type, name, torch.__version__]


def usual_precision(device: torch.device) -> str:
    """The precision that a job computes in where none is asked for.

    A GPU of today computes in bfloat16 ten times as fast as in float32. On a CPU some gain and some lose, and float32 is what
    results are compared in.
    """
    return "bfloat16" if device.type == "cuda" and has_bfloat16(device) else "float32"


def has_bfloat16(device: torch.device) -> bool:
    """Whether a processor, or a CUDA device, which need not be the current one, computes in bfloat16 itself."""
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return torch.version.hip is not None or torch.cuda.get_device_properties(device).major >= 8


def pick_device(name: str, memory_gb: float | None = None) -> torch.device:
    """Turn "auto", "cpu", "cuda" or "cuda:n" into a device; "auto" takes the GPU with the most free memory.

    Also sets the number of CPU threads, once and for every way a job can start, because sums are split by thread
    and the same recipe must give the same bytes, and how memory is kept.

    Args:
        memory_gb: of a GPU's memory that may be used; None: all that is free.

    Raises:
        InputError: the name is unknown or there is no such GPU.
    """
    torch.set_num_threads(cpu_threads())
    keep_blocks()
    device = _device(name)
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        # Set for every job: a worker lives on, and another job's limit is not this one's.
        share = 1.0 if memory_gb is None else min(1.0, memory_gb * 1e9 / total)
        torch.cuda.set_per_process_memory_fraction(share, device)
    return device


def _device(name: str) -> torch.device:
    if name == "cpu":
        return torch.device("cpu")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        if not count:
            return torch.device("cpu")
        return torch.device("cuda", max(range(count), key=lambda index: torch.cuda.mem_get_info(index)[0]))
    kind, _, number = name.partition(":")
    if kind != "cuda" or (number and not number.isdigit()):
        raise InputError(f"unknown device {name!r}", "device", "Use auto, cpu, cuda or cuda:0")
    index = int(number or 0)
    if index >= count:
        raise InputError(f"there is no GPU {index} ({count} found)", "device", "Use auto or cpu")
    return torch.device("cuda", index)
