"""Memory that a model takes on a CPU in float32, counted from its shape: weights, derived weights, one tile's work.

A tile's work is counted as live copies of a map of tokens at the worst moment of a layer. The copies were counted on
the fast path (a test holds them against what torch allocates). A CPU computes up to four tiles at a time (`finetune.lanes`).
"""

import math
from dataclasses import dataclass

from skysense.model.attention import SHORT
from skysense.model.config import ModelConfig, SwinConfig
from skysense.model.fuse import CPU_LOCATIONS, CellWindow
from skysense.model.fusion import BLOCK_TOKENS
from skysense.model.tokens import PATCH
from skysense.scene.sensors import SENSORS

_FLOAT = 4
#: Live copies of a token map: a window block of the Swin (tokens in window order, q, k, v, normalised q and k, what
#: attention reads and gives, the residual) and a layer of ViT or fusion (residual, norm, q, k, v, attention, output).
_SWIN_COPIES, _LAYER_COPIES = 12, 8
#: The feed-forward part is added in place by blocks of rows, each with its norm and two copies of its four times wider
#: hidden layer.
_FFN_COPIES, _FFN_ROWS, _HIDDEN = 2, 1024, 9


@dataclass(frozen=True)
class Memory:
    """Bytes, on a CPU in float32.

    Attributes:
        derived: what is computed from the weights once and kept: weights in the matrix kernel's layout, Swin's attention
            biases, and UPHead with the input projection as one map.
        hr_tile: work of one HR tile that stands alone.
        fused_tile: work of one tile of 10 m pixels, by fusion stride.
    """

    derived: int
    hr_tile: int
    fused_tile: dict[int, int]


def memory(config: ModelConfig, *, hr_side: int, tile: int, core: int, n_s2: int, n_s1: int) -> Memory:
    """Memory for tiles of hr_side x hr_side HR pixels, and of tile x tile 10 m pixels with so many dates."""
    window = [CellWindow(stride, (tile - core) // 2, tile, tile) for stride in (1, 2, 4)]
    return Memory(
        derived=derived_bytes(config),
        hr_tile=swin_bytes(config.hr, hr_side),
        fused_tile={w.stride: fused_bytes(config, w, n_s2, n_s1) for w in window},
    )


def derived_bytes(config: ModelConfig) -> int:
    """What is kept beside the weights, at fusion stride 1."""
    floats = sum(PATCH**2 * config.fusion.dim * vit.dim for vit in (config.s2, config.s1))
    floats += sum(layers.layers * 12 * layers.dim**2 for layers in (config.s2, config.s1, config.fusion))
    for stage, depth in enumerate(config.hr.depths):
        dim, biases = config.hr.dim * 2**stage, config.hr.heads[stage] * config.hr.window**4
        floats += depth * 12 * dim**2 + (depth - depth // 2) * biases + depth // 2 * 4 * biases
    return floats * _FLOAT


def swin_bytes(config: SwinConfig, side: int) -> int:
    """Work of the HR encoder on side x side pixels, the image included."""
    held, worst = 3 * side**2, 0
    for stage in range(len(config.depths)):
        rows, dim = math.ceil(side / (4 * 2**stage)), config.dim * 2**stage
        padded = math.ceil(rows / config.window) * config.window
        worst = max(worst, held + _SWIN_COPIES * padded**2 * dim)
        held += rows**2 * dim * int(stage in config.out_indices)
    return worst * _FLOAT


def fused_bytes(config: ModelConfig, window: CellWindow, n_s2: int, n_s1: int) -> int:
    """Work of a tile with S2 and S1: the encoders one after the other, then the fusion, band by band."""
    pixels, patches = (
        window.height * window.width,
        math.ceil(window.height / PATCH) * math.ceil(window.width / PATCH),
    )
    held, worst = pixels * (n_s2 * len(SENSORS["s2"].bands) + n_s1 * len(SENSORS["s1"].bands)), 0
    for vit, dates in ((config.s2, n_s2), (config.s1, n_s1)):
        tokens = dates * (patches + int(vit.with_cls_token))
        worst = max(worst, held + _layer_floats(tokens, vit.dim))
        held += tokens * vit.dim
    locations, cells = _band(window)
    tokens = locations * (n_s2 + n_s1 + 1)
    held += cells * config.fusion.dim  # the fused map
    # The tokens of each modality become those of all, which alone go through the layers.
    joined = tokens * config.fusion.dim
    # Short series go through the layers by blocks of locations, each brought sequence-first and back, with the scores
    # of its heads.
    block = min(tokens, BLOCK_TOKENS) if n_s2 + n_s1 < SHORT else tokens
    scores = config.fusion.heads * block * (n_s2 + n_s1 + 1) if n_s2 + n_s1 < SHORT else 0
    layer = _layer_floats(block, config.fusion.dim) + 3 * block * config.fusion.dim + scores
    return max(worst, held + joined + max(joined, layer)) * _FLOAT


def _layer_floats(tokens: int, dim: int) -> int:
    """A layer of ViT or fusion over so many tokens."""
    feed_forward = _FFN_COPIES * tokens + _HIDDEN * min(tokens, _FFN_ROWS)
    return max(_LAYER_COPIES * tokens, feed_forward) * dim


def _band(window: CellWindow) -> tuple[int, int]:
    """Locations that are fused at a time, and all cells of the tile's window."""
    (row0, row1), (col0, col1) = window.cells(window.height), window.cells(window.width)
    r = window.per_patch
    per_row = (math.ceil(col1 / r) - col0 // r) * r * r
    rows = min(max(1, CPU_LOCATIONS // per_row), math.ceil(row1 / r) - row0 // r)
    return rows * per_row, (row1 - row0) * (col1 - col0)
