"""Names the machine in result files, and writes them."""

import json
import os
import platform
import re
import sys
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def hardware(gpu: bool | None = None) -> str:
    """For example "amd-epyc-2core", and "amd-epyc-16core-nvidia-h100" of what was measured on a GPU.

    Args:
        gpu: whether it was; None: where torch has one, which jobs then use by themselves.
    """
    model = platform.processor() or "cpu"
    info = Path("/proc/cpuinfo")
    if info.is_file():
        found = re.search(r"model name\s*:\s*(.+)", info.read_text())
        model = found[1] if found else model
    torch = sys.modules.get("torch")  # what does without it uses no GPU
    if gpu is None:
        gpu = bool(torch and torch.cuda.is_available())
    name = torch.cuda.get_device_name() if torch and gpu else ""
    return re.sub(r"[^a-z0-9]+", "-", f"{model} {os.cpu_count()}core {name}".lower()).strip("-")


def write_result(name: str, result: dict[str, Any], gpu: bool | None = None) -> Path:
    """Write `results/<name>-<hardware>.json`."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}-{hardware(gpu)}.json"
    path.write_text(json.dumps({"hardware": hardware(gpu), **result}, indent=1) + "\n")
    print(path)
    return path
