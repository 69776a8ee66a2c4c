"""LoRA: a linear map W learns a low-rank update beside its frozen weights, W + alpha / r · B A.

Hu et al. 2021, LoRA: Low-Rank Adaptation of Large Language Models. B begins with zeros, so that training begins with the
very base model; merged into W, the update costs nothing in mapping.

Shape legend: O outputs and I inputs of a linear map, r rank.
"""

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from skysense.model.layers import SelfAttention
from skysense.model.skysense import SkySense

#: r. Hu et al. find 4 to 8 enough for models a thousand times as wide; of the built-in one it trains about a tenth of the weights.
RANK = 8
#: The update is scaled by ALPHA / RANK, so that the learning rate need not change with the rank (Hu et al., 4.1: a constant).
ALPHA = 16.0


class LowRank(nn.Module):
    """The update of one weight (O, I), as a parametrization of it.

    Attributes:
        down: (r, I), A.
        up: (O, r), B.
    """

    def __init__(self, down: Tensor, up: Tensor) -> None:
        super().__init__()
        self.down, self.up = nn.Parameter(down), nn.Parameter(up)

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.update()

    def update(self) -> Tensor:
        """(O, I)."""
        return ALPHA / RANK * (self.up @ self.down)


def linear_weights(model: SkySense, parts: frozenset[str]) -> Iterator[tuple[str, nn.Module, str]]:
    """Name, module and attribute of every linear map's weight in some of the model's parts, in a fixed order.

    Left out are the Swin's position bias, which maps coordinates and no features, and maps of fewer than two `RANK` inputs or
    outputs, whose update would be no smaller than they are.
    """
    for name, module in model.named_modules():
        if name.partition(".")[0] not in parts or "cpb_mlp" in name:
            continue
        attribute = (
            "in_proj_weight" if isinstance(module, SelfAttention)
            else "weight" if isinstance(module, nn.Linear)
            else None
        )  # fmt: skip
        if attribute and min(getattr(module, attribute).shape) >= 2 * RANK:
            yield f"{name}.{attribute}", module, attribute


def attach(model: SkySense, parts: frozenset[str], seed: int) -> dict[str, LowRank]:
    """Give the linear maps of some parts an update each, A drawn from a seed; by the weights' names."""
    random = torch.Generator().manual_seed(seed)
    updates = {}
    for name, module, attribute in list(linear_weights(model, parts)):
        weight = getattr(module, attribute)
        outputs, inputs = weight.shape
        # As `nn.Linear` begins: uniform with a spread of 1 / sqrt(3 I).
        bound = 1 / math.sqrt(inputs)
        down = torch.empty(RANK, inputs).uniform_(-bound, bound, generator=random)
        updates[name] = LowRank(down.to(weight), weight.new_zeros(outputs, RANK))
        parametrize.register_parametrization(module, attribute, updates[name])
    return updates


def merged(state: Mapping[str, Tensor], updates: Mapping[str, LowRank]) -> dict[str, Tensor]:
    """A base model's state with the updates added to its weights; other tensors are the very same."""
    with torch.no_grad():
        return {**state, **{name: update(state[name]) for name, update in updates.items()}}
