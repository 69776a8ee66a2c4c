"""A model of numbers as a painter of tiles, and the rasters that a map of it consists of.

Shape legend: K values of a pixel (the number, and its spread where the head tells it), S the side of a tile's core.
"""

from pathlib import Path

import torch
from torch import Tensor

from skysense.finetune.features import TileFeatures
from skysense.finetune.value_head import ValueHead
from skysense.inference.layers import Layer, NumberLayers
from skysense.inference.scores import LinearPainter, TreesPainter


class ValuePainter:
    """Applies a head for numbers to tiles.

    Args:
        head: the head; moved to `device`.
    """

    def __init__(self, head: ValueHead, device: torch.device) -> None:
        self._head, self._linear = head, LinearPainter(head.blocks, head.weight, head.bias, device)
        self._trees = None if head.trees is None else TreesPainter(head.trees, head.seen_by_trees, device)
        self._factor = head.factor or 1.0

    @torch.inference_mode()
    def __call__(self, features: TileFeatures, side: int) -> Tensor:
        """The number and, with trees, the half width of its interval, (K, S, S)."""
        linear = self._linear(features, side)[0]
        moments = None if self._trees is None else self._trees.means(features, side)
        found = self._head.combine(linear.reshape(-1), moments)
        found[:, 1:] *= self._factor
        return found.T.reshape(-1, side, side)


def value_layers(output: Path, head: ValueHead, field: str) -> NumberLayers:
    """The map of a field and, where the head tells it, of its uncertainty."""
    named = {"SKYSENSE_FIELD": field}
    layers = [Layer("value", output, "value", (field,), metadata=named)]
    if head.factor is not None:
        told = f"half width of an interval of 90 % of {field}"
        beside = output.with_name(f"{output.stem}_uncertainty{output.suffix}")
        layers.append(Layer("spread", beside, "value", (told,), metadata=named))
    return NumberLayers(tuple(layers))
