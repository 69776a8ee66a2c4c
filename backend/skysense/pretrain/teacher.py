"""The teacher: a twin of the student's model and heads that follows them as a moving average, without gradient.

Source: reference specification 2.1; DINO (Caron et al. 2021).
"""

import copy
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from skysense.model.skysense import SkySense

M = TypeVar("M", bound=nn.Module)


class Teacher(nn.Module):
    """Twin of `model` and `heads` in evaluation mode.

    Its buffers are the student's own: both read the same geo-context prototypes (specification 2.2). So it is made after
    the student has come to its device.

    Args:
        model, heads: the student's, with the values to begin with; they must not be moved afterwards.
    """

    def __init__(self, model: SkySense, heads: nn.Module) -> None:
        super().__init__()
        self.model: SkySense = _twin(model)
        self.heads: nn.Module = _twin(heads)
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "Teacher":
        """Stays in evaluation mode."""
        super().train(False)
        return self

    @torch.no_grad()
    def update(self, model: SkySense, heads: nn.Module, momentum: float) -> None:
        """theta' <- m theta' + (1 - m) theta, in place; of sharded parameters each process does its own shard."""
        for twin, student in ((self.model, model), (self.heads, heads)):
            old = [_local(p) for p in twin.parameters()]
            new = [_local(p) for p in student.parameters()]
            torch._foreach_lerp_(old, new, 1.0 - momentum)
        self.eval()  # what the model keeps of its weights is out of date


def _twin(module: M) -> M:
    return copy.deepcopy(module, {id(buffer): buffer for buffer in module.buffers()})


def _local(parameter: Tensor) -> Tensor:
    return cast(Tensor, parameter.to_local()) if isinstance(parameter, DTensor) else parameter
