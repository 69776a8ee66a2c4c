"""Class scores of a tile: the head applied to each block at the block's own resolution, then brought to the core.

Bilinear interpolation and a linear head commute, so this equals the head on interpolated features (test), at a
fraction of the cost. Trees do not, so they are asked at every pixel.

Shape legend: K classes, h x w a block's map, S the side of the core in compute pixels.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from skysense.finetune.collect import gather
from skysense.finetune.deep.decoder import Decoder, Entry, decoder_of, spread
from skysense.finetune.features import Block, FeatureMap, TileFeatures, over_core
from skysense.finetune.head import Head


class LinearPainter:
    """Applies weights to features, block by block.

    Args:
        blocks: of the weights' columns; weight: (K, F); bias: (K,).
    """

    def __init__(self, blocks: tuple[Block, ...], weight: Tensor, bias: Tensor, device: torch.device) -> None:
        self._bias = bias.to(device)
        parts = torch.split(weight.to(device), [block.dim for block in blocks], dim=1)
        self._weights = {block.name: part for block, part in zip(blocks, parts, strict=True)}

    def __call__(self, features: TileFeatures, side: int) -> Tensor:
        """weight @ features + bias, (K, S, S)."""
        total = self._bias[:, None, None].expand(-1, side, side).clone()
        for name, weight in self._weights.items():
            feature = features.maps.get(name)
            if feature is None:
                continue
            flat = feature.values.flatten(1)
            scored = (weight @ flat).unflatten(1, feature.values.shape[1:])
            total += over_core(FeatureMap(scored, feature.stride, feature.origin), side)
        return total


def at_every_pixel(features: TileFeatures, blocks: tuple[Block, ...], side: int) -> Tensor:
    """Features (S * S, F) of a tile's core, row by row, on the CPU."""
    rows, cols = np.divmod(np.arange(side * side), side)
    return torch.from_numpy(gather(features, blocks, rows, cols))


class TileScorer:
    """Applies a head to tiles.

    Args:
        head: the head; moved to `device`.

    Attributes:
        blocks: of the features that it is applied to; ids: (K,) class ids of its scores.
        temperature: softens the scores, see `finetune.head.Head`.
    """

    def __init__(self, head: Head, device: torch.device) -> None:
        self.blocks, self.ids, self.temperature = head.blocks, head.ids, head.temperature
        self._linear = LinearPainter(head.blocks, head.weight, head.bias, device)
        self._trees, self._gain, self._seen = (
            head.trees and head.trees.to(device),
            head.gain,
            head.seen_by_trees,
        )

    @torch.inference_mode()
    def __call__(self, features: TileFeatures, side: int) -> Tensor:
        """Scores before the temperature, (K, S, S)."""
        total = self._linear(features, side)
        if self._trees is not None:
            x = at_every_pixel(features, self._seen, side).to(total.device)
            total += self._gain * self._trees.scores(x).T.reshape(-1, side, side)
        return total


class DecodedScorer(TileScorer):
    """Applies a head and a decoder to tiles.

    Args:
        head, decoder: they are moved to `device`.
        gain: of the decoder's logits, beside the head's scores.
    """

    def __init__(self, head: Head, decoder: Decoder, gain: float, device: torch.device) -> None:
        super().__init__(head, device)
        self.blocks = tuple(entry.block for entry in decoder.entries)
        self._decoder, self._scale = decoder.to(device), gain

    @torch.inference_mode()
    def __call__(self, features: TileFeatures, side: int) -> Tensor:
        """Scores before the temperature, (K, S, S)."""
        total = super().__call__(features, side)
        if features.maps:
            maps, margin = spread(features, side, self._decoder.strides)
            logits = self._decoder({name: x[None] for name, x in maps.items()}, side + 2 * margin)[0]
            total += self._scale * logits[:, margin : margin + side, margin : margin + side]
        return total


def open_scorer(header: dict[str, Any], tensors: dict[str, Tensor], device: torch.device) -> TileScorer:
    """What turns a tile's features into class scores, out of a trained model's header and tensors."""
    head, entry = Head.load(header["head"], tensors), header.get("decoder", {})
    if not entry.get("steps"):
        return TileScorer(head, device)
    decoder = decoder_of([Entry(**item) for item in entry["entries"]], tensors, len(head.ids))
    return DecodedScorer(head, decoder, entry["gain"], device)
