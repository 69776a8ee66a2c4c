"""Activation checkpointing: what lies inside a layer is computed again in the backward pass instead of being kept.

Chen et al. 2016, "Training deep nets with sublinear memory cost". The unit is a transformer layer or Swin block: kept is
what goes in, for about a third more operations.
"""

from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from skysense.model.layers import EncoderLayer
from skysense.model.swin_v2 import SwinBlock


def recompute_layers(model: nn.Module) -> None:
    """From now on every layer of the encoders and the fusion keeps its input only; values and gradients stay the same.

    A copy of the model made afterwards would share the layers' weights: make twins before.
    """
    for module in model.modules():
        if isinstance(module, EncoderLayer | SwinBlock):
            module.forward = _Recomputed(module.forward)  # type: ignore[method-assign]


class _Recomputed:
    def __init__(self, forward: Any) -> None:
        self._forward = forward

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return self._forward(*args, **kwargs)
        return checkpoint(self._forward, *args, use_reentrant=False, **kwargs)
