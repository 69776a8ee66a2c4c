"""`skysense doctor`: is this installation whole? What to look at first when something does not work."""

import importlib.metadata
import os
import platform
import shutil
from typing import Any

import skysense
from skysense.errors import InputError

_PACKAGES = (
    "torch", "numpy", "rasterio", "pyproj", "shapely", "pyogrio",
    "safetensors", "einops", "huggingface-hub", "scikit-learn",
)  # fmt: skip


def examine() -> dict[str, Any]:
    """Versions, devices (tried with a real computation), the built-in model (read and checked) and free space.

    "problems" is empty when all is well.
    """
    versions: dict[str, str | None] = {}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    problems = [
        f"{name} is not installed: run `make env`" for name, version in versions.items() if version is None
    ]
    devices: list[str] = []
    if versions["torch"]:
        devices, faults = _devices()
        problems += faults
    model: str | None = None
    if all(versions.values()):
        model, faults = _built_in_model()
        problems += faults
    return {
        "skysense": skysense.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu_cores": os.cpu_count(),
        "packages": versions,
        "devices": devices,
        "built_in_model": model,
        "free_gb": round(shutil.disk_usage(os.getcwd()).free / 1e9, 1),
        "problems": problems,
    }


def _devices() -> tuple[list[str], list[str]]:
    import torch

    devices, faults = ["cpu"], []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        name = torch.cuda.get_device_name(index)
        try:
            float((torch.ones(8, device=f"cuda:{index}") @ torch.ones(8, device=f"cuda:{index}")).item())
            free, total = torch.cuda.mem_get_info(index)
            devices.append(f"cuda:{index} {name}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free")
        except RuntimeError as error:
            faults.append(
                f"cuda:{index} {name} does not compute ({error}): update the driver or use --device cpu"
            )
    return devices, faults


def _built_in_model() -> tuple[str | None, list[str]]:
    import torch

    from skysense.model.backbone import default_backbone

    try:
        return default_backbone(torch.device("cpu")).weights, []
    except InputError as error:
        return None, [error.sentence]
