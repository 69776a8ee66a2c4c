"""Regional compilation: every transformer block by itself, which compiles in seconds where the whole takes minutes.

For CUDA, and for fixed shapes: torch's compiler fuses what lies between the matrix products. It needs Triton and a C
compiler, which most users' machines lack; then the blocks stay as they are.
"""

import importlib.util
import os
import shutil

import torch
from torch import nn

from skysense.model.layers import EncoderLayer
from skysense.model.swin_v2 import SwinBlock

#: Kinds of blocks and shapes of inputs that are compiled, at most; beyond them a call would fail.
_KINDS = 64


def can_compile(device: torch.device) -> bool:
    """Whether this machine can compile for `device`: CUDA, with Triton and a C compiler."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    return device.type == "cuda" and bool(compiler) and importlib.util.find_spec("triton") is not None


def compile_blocks(model: nn.Module, backend: str = "inductor") -> None:
    """Compile each Swin block and each encoder layer in place, for the shapes of its next call.

    Run one forward without gradients first: tensors that depend on weights only are then kept, and are constants of
    the compiled blocks. Weights must not change afterwards.
    """
    # Blocks of one class share a limit, and a Swin has a kind for every width, shift and extra norm: `huge` nine of them.
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, _KINDS)
    for module in model.modules():
        if isinstance(module, SwinBlock | EncoderLayer):
            module.compile(backend=backend, dynamic=False, fullgraph=True)
