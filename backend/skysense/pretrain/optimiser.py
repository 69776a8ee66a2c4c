"""AdamW over the weights that decay and those that do not, and the clipping of gradients.

Source: DINO (Caron et al. 2021): no weight decay for biases and norms; ours beside them: position and date
encodings, class tokens and attention scales, which are values and not maps.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from skysense.pretrain.schedule import Rates

#: Last parts of names whose parameters never decay, whatever their shape.
_VALUES = {"pos_embed", "cls_token", "ctpe", "logit_scale"}


def decays(name: str, parameter: Tensor) -> bool:
    """Whether weight decay pulls a parameter towards 0: matrices and kernels only."""
    return parameter.ndim > 1 and name.rpartition(".")[2] not in _VALUES


def make_optimiser(
    modules: Iterable[nn.Module], lr_scale: Callable[[str], float] = lambda name: 1.0
) -> torch.optim.AdamW:
    """AdamW for every parameter with a gradient; first group decays, second does not. `set_rates` before use.

    Args:
        lr_scale: share of the learning rate by a parameter's name; each share has two groups of its own, ascending.
    """
    named = [(name, p) for module in modules for name, p in module.named_parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = []
    for scale in sorted({lr_scale(name) for name, _ in named} or {1.0}):
        own = [(name, p) for name, p in named if lr_scale(name) == scale]
        groups += [
            {"params": [p for name, p in own if decays(name, p)], "decays": True, "lr_scale": scale},
            {
                "params": [p for name, p in own if not decays(name, p)],
                "decays": False,
                "lr_scale": scale,
                "weight_decay": 0.0,
            },
        ]
    return torch.optim.AdamW(groups, lr=0.0)


def set_rates(optimiser: torch.optim.Optimizer, rates: Rates) -> None:
    """Give the optimiser the step's learning rate, times each group's share, and weight decay."""
    for group in optimiser.param_groups:
        group["lr"] = rates.lr * group["lr_scale"]
        group["weight_decay"] = rates.weight_decay if group["decays"] else 0.0


def clip(modules: Iterable[nn.Module], limit: float) -> float:
    """Scale all gradients so that their common norm is at most `limit`; the norm before, over all processes' shards."""
    parameters = [p for module in modules for p in module.parameters() if p.grad is not None]
    norm = nn.utils.clip_grad_norm_(parameters, limit)
    whole = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
    return float(whole)
