"""Regional compilation: every transformer block by itself, which compiles in seconds where the whole takes minutes.

For CUDA: torch's compiler fuses what lies between the matrix products. It needs Triton and a C compiler, which most users'
machines lack; then the blocks stay as they are.
"""

import importlib.util
import logging
import os
import shutil
from collections.abc import Callable
from functools import lru_cache
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn

from skysense.model.device import has_bfloat16
from skysense.model.layers import EncoderLayer
from skysense.model.swin_v2 import ShiftedWindowAttention, SwinBlock

log = logging.getLogger(__name__)

#: Kinds of blocks and shapes of inputs that are compiled, at most; beyond them a call would fail.
_KINDS = 64
#: Maps after which what was compiled for them is forgotten: each may have pixels of another size, and so ten kinds of its own.
_MAPS = 6
_maps = count(1)


@lru_cache
def can_compile(device: torch.device) -> bool:
    """Whether this machine can compile for `device`: CUDA, with Triton and a C compiler that work. Tried once in a process.

    Not for GPUs without bfloat16, for which Triton has none either.
    """
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if device.type != "cuda" or not compiler or importlib.util.find_spec("triton") is None:
        return False
    try:
        if not has_bfloat16(device):
            return False
        _smallest(torch.ones(8, device=device))
    except Exception:
        log.info("torch cannot compile here", exc_info=True)
        return False
    return True


def compile_blocks(model: nn.Module, backend: str = "inductor") -> None:
    """Compile each Swin block and each encoder layer in place, when it is next called. Nothing happens to compiled ones.

    Swin blocks for the shape of each call, which tiles share; encoder layers for all shapes at once, for each tile has its own
    number of dates. The model is in evaluation mode and its weights must not change afterwards.
    """
    blocks = [module for module in model.modules() if isinstance(module, SwinBlock | EncoderLayer)]
    blocks = [module for module in blocks if module._compiled_call_impl is None]
    if blocks and next(_maps) % _MAPS == 0:
        torch._dynamo.reset()
    with torch.no_grad():  # tensors that depend on weights only are constants of the compiled blocks
        for module in model.modules():
            if isinstance(module, ShiftedWindowAttention) and module.fast:
                module.w_msa.kept(module.shift)
    for block in blocks:
        block.compile(backend=backend, dynamic=isinstance(block, EncoderLayer), fullgraph=True)
        assert block._compiled_call_impl is not None
        block._compiled_call_impl = _allowing(block._compiled_call_impl)


def uncompile_blocks(model: nn.Module) -> None:
    """Undo `compile_blocks`."""
    for module in model.modules():
        module._compiled_call_impl = None


def _allowing(call: Callable[..., Any]) -> Callable[..., Any]:
    """A compiled call that may compile `_KINDS`, in whatever thread it is made: each thread has settings of torch's compiler of its
    own, and a GPU works for another one than the job's."""

    def compiled(*args: Any, **kwargs: Any) -> Any:
        # Blocks of one class share a limit, and a Swin has a kind for every width, shift and extra norm: `huge` nine of them.
        if torch._dynamo.config.recompile_limit < _KINDS:
            torch._dynamo.config.recompile_limit = _KINDS
        return call(*args, **kwargs)

    return compiled


def _smallest(x: Tensor) -> Tensor:
    out: Tensor = torch.compile(lambda x: x.sin() + 1)(x)  # type: ignore[no-untyped-call]
    return out
