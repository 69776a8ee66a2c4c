"""Class scores of a tile: the head applied to each block at the block's own resolution, then brought to the core.

Bilinear interpolation and a linear head commute, so this equals the head on interpolated features (test), at a
fraction of the cost. Trees do not, so they are asked at every pixel; of a picture at every second one of every second row, and what
lies between is interpolated, for a map shows means over 5 x 5 pixels in any case. Beside empty pixels that leans on them by a pixel.

Shape legend: K classes, h x w a block's map, S the side of the core in compute pixels.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skysense.finetune.collect import gather_on
from skysense.finetune.deep.decoder import Decoder, Entry, decoder_of, spread
from skysense.finetune.features import Block, FeatureMap, TileFeatures, over_core
from skysense.finetune.head import Head, of_picture
from skysense.finetune.trees import Trees

#: Features of pixels that trees are asked about at a time, at most: 256 MB.
_MOST_NUMBERS = 2**26


class LinearPainter:
    """Applies weights to features, block by block.

    Args:
        blocks: of the weights' columns; weight: (K, F); bias: (K,).
    """

    def __init__(self, blocks: tuple[Block, ...], weight: Tensor, bias: Tensor, device: torch.device) -> None:
        self.device, self._bias = device, bias.to(device)
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


class TreesPainter:
    """Asks trees about the pixels of a tile's core.

    Args:
        trees: moved to `device`.
        blocks: that they see.
    """

    def __init__(self, trees: Trees, blocks: tuple[Block, ...], device: torch.device) -> None:
        self._trees, self._blocks, self._device = trees.to(device), blocks, device

    def means(self, features: TileFeatures, side: int) -> Tensor:
        """What leaves hold, on the mean over the trees, (S * S, K), row by row."""
        return self._asked(self._trees.means, features, np.arange(side))

    def scores(self, features: TileFeatures, side: int) -> Tensor:
        """Scores of the classes, (K, S, S)."""
        picture = of_picture(self._blocks)
        # Of a picture one place beyond the core: what lies between two is then the same whichever tile it belongs to.
        places = 2 * np.arange(side // 2 + 1) if picture else np.arange(side)
        asked = self._asked(self._trees.scores, features, places).T.reshape(-1, len(places), len(places))
        return _between(_between(asked, 1), 2)[:, :side, :side] if picture else asked

    def _asked(
        self, ask: Callable[[Tensor], Tensor], features: TileFeatures, places: NDArray[np.int64]
    ) -> Tensor:
        """Answers (n * n, K) for features at these rows, in each at these columns; so many rows at a time that their features
        take a bounded memory."""
        most = max(1, _MOST_NUMBERS // (len(places) * sum(block.dim for block in self._blocks)))
        answers = []
        for start in range(0, len(places), most):
            part = places[start : start + most]
            rows, cols = np.repeat(part, len(places)), np.tile(places, len(part))
            answers.append(ask(gather_on(features, self._blocks, rows, cols, self._device)))
        return torch.cat(answers)


def _between(values: Tensor, axis: int) -> Tensor:
    """Values (.., n, ..) and the means of each two neighbours between them, (.., 2n, ..); the last one twice."""
    ahead = torch.cat((values.narrow(axis, 1, values.shape[axis] - 1), values.narrow(axis, -1, 1)), axis)
    return torch.stack((values, (values + ahead) / 2), axis + 1).flatten(axis, axis + 1)


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
        self._trees = None if head.trees is None else TreesPainter(head.trees, head.seen_by_trees, device)
        self._gain = head.gain

    @torch.inference_mode()
    def __call__(self, features: TileFeatures, side: int) -> Tensor:
        """Scores before the temperature, (K, S, S)."""
        total = self._linear(features, side)
        if self._trees is not None:
            total += self._gain * self._trees.scores(features, side)
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
