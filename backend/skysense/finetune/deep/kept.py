"""What a finished training has learned, kept beside the model file until that one is written."""

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from skysense.model.tensorfile import KEY, write_tensors


def keep(path: Path, tensors: dict[str, Tensor], steps: int) -> None:
    """Write the tensors and the number of steps that led to them aside and rename the file.

    Raises:
        StorageError: it cannot be written.
    """
    held = {name: t.cpu() for name, t in tensors.items()}
    specs = {name: (t.dtype, tuple(t.shape)) for name, t in held.items()}
    write_tensors(path, specs, lambda _: {"steps": steps}, held.items())


def kept(path: Path) -> tuple[dict[str, Tensor], int] | None:
    """What `keep` wrote; None where there is no such file, or a damaged one."""
    try:
        with safe_open(path, framework="pt") as file:
            steps = int(json.loads(file.metadata()[KEY])["steps"])
            return {name: file.get_tensor(name) for name in file.keys()}, steps  # noqa: SIM118 - not a dict
    except (FileNotFoundError, SafetensorError, OSError, KeyError, ValueError, TypeError):
        return None
