"""Parameters, gradients and optimiser state spread over the processes (FSDP2, `torch.distributed.fsdp.fully_shard`).

FSDP2 usually gathers a block's weights just before the block runs, on every process at the same moment. Here the
processes do not run the same blocks: one step holds windows with and without HR, dates and tiles without a valid pixel are
left out, and the model's fast paths read weights past any `forward`. So weights are whole for the length of a step, and
between steps each process holds its rows of parameters, gradients and moments alone: what is saved is the optimiser's share
of the memory and the float32 masters, not the step's own weights. Blocks are FSDP groups nevertheless, so that the buffers of
a gather and of a reduction are as large as one block. Nothing hangs on a module's `forward`, so that checkpointing and
calls of other methods work as without FSDP. Weights are gathered in their own type: bfloat16 is autocast's business, as in
one process (torch's layer norm on a CPU takes no bfloat16 weights for float32 input), and gradients are summed in float32.

A step:

    with whole(student, teacher):        # weights are plain tensors of their full shape
        for groups in micro_batches:
            losses(...).backward()       # no communication
        student.reduce_gradients()       # sum over processes, each keeps its rows
    clip, optimiser, teacher.update      # on the rows

One process does without any of it: every call is then the identity.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, Shard

from skysense.model.layers import EncoderLayer
from skysense.model.swin_v2 import SwinBlock
from skysense.model.uphead import UPHead
from skysense.pretrain.parallel import active, all_sum, world_size

#: What is gathered and reduced in one go; everything else goes together.
_BLOCKS = (SwinBlock, EncoderLayer, UPHead)


class Sharded:
    """Modules whose parameters are spread by their first axis; the first process's values count.

    Their parameters become DTensors, so optimisers are made afterwards, twins before (FSDP2 modules cannot be copied).
    Buffers stay whole, and are for their owner to keep equal.

    Args:
        modules: on their device, at most once in all `Sharded`; of one floating type.
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self._modules = tuple(modules)
        self._groups: list[FSDPModule] = []
        if not active():
            return
        for module in self._modules:
            for tensor in (*module.parameters(), *module.buffers()):
                dist.broadcast(tensor.detach(), 0)
        mesh = init_device_mesh(next(self._modules[0].parameters()).device.type, (world_size(),))
        blocks = [
            _Group([child])
            for module in self._modules
            for child in module.modules()
            if isinstance(child, _BLOCKS)
        ]
        self._root = _Group([*blocks, *self._modules])
        for group in (*blocks, self._root):
            done: set[nn.Parameter] = {p for p in group.parameters() if isinstance(p, DTensor)}
            fully_shard(group, mesh=mesh, reshard_after_forward=False, ignored_params=done)
            sharded = cast(FSDPModule, group)
            sharded.set_reshard_after_backward(False)
            sharded.set_reduce_scatter_unused_params(True)
            # A sum: whoever writes a loss divides by counts over all processes.
            sharded.set_gradient_divide_factor(1.0)
            sharded.set_force_sum_reduction_for_comms(True)  # gloo knows no other
            self._groups.append(sharded)
        self._rows = [p for module in self._modules for p in module.parameters()]

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Weights have their full shape inside; all processes enter and leave together.

        Neither `state_dict` nor an optimiser may be used inside.
        """
        for group in self._groups:
            group.unshard()
        if self._groups:
            for module in self._modules:
                # Forget what was computed from weights: a gather escapes the notice of `WeightCache`.
                module.train(module.training)
        try:
            yield
        finally:
            for group in self._groups:
                group.reshard()

    def reduce_gradients(self) -> None:
        """Sum the gradients since the last call over all processes, and add each row to its owner's `.grad`.

        Called inside `whole`, by all processes, after the last or after each micro-batch. A parameter that no process has
        used keeps no gradient, as it would in one process, and so the optimiser leaves it alone, weight decay included.
        """
        if not self._groups:
            return
        gathered = [p for module in self._modules for p in module.parameters()]
        device = gathered[0].device
        used = all_sum(torch.tensor([int(p.grad is not None) for p in gathered], device=device))
        unused = [p for p, uses in zip(self._rows, used.tolist(), strict=True) if not uses and p.grad is None]
        # FSDP2 reduces at the end of a backward pass through its root: this is one through the root alone.
        tick = torch.zeros((), device=device, requires_grad=True)
        self._root(tick).backward()
        for parameter in unused:
            parameter.grad = None


@contextmanager
def whole(*parts: Sharded) -> Iterator[None]:
    """All of `parts` `whole`."""
    with ExitStack() as stack:
        for part in parts:
            stack.enter_context(part.whole())
        yield


def full(tensor: Tensor) -> Tensor:
    """The whole of a tensor, without gradient; for a sharded one a call of all processes."""
    return cast(DTensor, tensor.detach()).full_tensor() if isinstance(tensor, DTensor) else tensor.detach()


def rows(tensor: Tensor) -> tuple[Tensor, int]:
    """This process's rows of a tensor, without a copy, and the number of the first one; all rows of a plain tensor."""
    if not isinstance(tensor, DTensor):
        return tensor.detach(), 0
    assert tensor.placements == (Shard(0),)
    mesh = tensor.device_mesh
    each = -(-tensor.shape[0] // mesh.size())
    return cast(DTensor, tensor.detach()).to_local(), min(mesh.get_local_rank() * each, tensor.shape[0])


class _Group(nn.Module):
    """Holds modules for FSDP2 and is never called for their sake: its hooks hang on this `forward` and on no other."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        super().__init__()
        self.held = nn.ModuleList(modules)

    def forward(self, tick: Tensor) -> Tensor:
        """A copy."""
        return tick.clone()
