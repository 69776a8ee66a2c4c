"""The most memory that loading takes, as the kernel counts it: float32 is mapped, halves are widened one by one."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from skysense.model.checkpoint.backbonefile import RELEASED, BackboneHeader, save_backbone
from skysense.model.presets import PRESETS
from skysense.model.skysense import SkySense

_PROGRAM = """
import sys
from pathlib import Path
import torch
from skysense.model.checkpoint.backbonefile import load_weights
def resident(name):
    return int(Path("/proc/self/status").read_text().split(name + ":")[1].split()[0]) * 1024
Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
before = resident("VmRSS")
model = load_weights(Path(sys.argv[1]))
print(resident("VmHWM") - before, sum(p.dtype == torch.float32 for p in model.parameters()))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the kernel's count is Linux's")
@pytest.mark.parametrize(("dtype", "times"), [(torch.float32, 1), (torch.float16, 2), (torch.bfloat16, 2)])
def test_peak_of_loading(tmp_path: Path, dtype: torch.dtype, times: int) -> None:
    config = PRESETS["small"]
    with torch.device("meta"):
        shapes = {name: tuple(tensor.shape) for name, tensor in SkySense(config).state_dict().items()}
    path = tmp_path / "b.safetensors"
    save_backbone(
        path,
        BackboneHeader("small", config, "ones", RELEASED),
        {name: (dtype, shape) for name, shape in shapes.items()},
        ((name, torch.ones(shape, dtype=dtype)) for name, shape in shapes.items()),
    )
    done = subprocess.run([sys.executable, "-c", _PROGRAM, path], capture_output=True, text=True, check=True)
    peak, floats = map(int, done.stdout.split())
    size, largest = path.stat().st_size, max(torch.Size(shape).numel() for shape in shapes.values())
    print(f"{dtype}: {size / 1e6:.0f} MB, peak {peak / size:.2f} x")
    assert floats > 500
    modules = 20e6  # they, the file's header and what the allocator holds back: 9 MB, whatever the types
    assert peak <= times * size + (largest * dtype.itemsize if times > 1 else 0) + modules
