"""What a model costs: parameters, bytes, and floating point operations counted from its shape.

One multiply-add counts as two operations; norms, activations and softmax are left out, as in torch's own
counter. Counted is the fast path: UPHead and input projection as one map, the last fusion layer for one
token.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch

from skysense.model.config import FusionConfig, ModelConfig, SwinConfig, VitConfig
from skysense.model.memory import memory
from skysense.model.skysense import SkySense
from skysense.model.tokens import PATCH
from skysense.scene.sensors import SENSORS

#: Pixels of a tile's side and of what is kept of it (see `raster.tiles.plan_tiles`): 10 m pixels, and HR alone.
TILE, CORE, HR_TILE, HR_CORE = 64, 56, 1024, 896
#: A year of dates, as designs and presets are compared.
N_S2, N_S1 = 12, 6


@dataclass(frozen=True)
class Budget:
    """Costs of a model.

    Attributes:
        parameters: trained numbers, without region prototypes.
        float16_bytes: of the whole state as float16 (region ids stay int64).
        hr_flops_per_pixel: HR encoder, per HR pixel.
        base_flops_per_pixel: everything else, per 10 m pixel, overlap of the tiles included.
    """

    parameters: int
    float16_bytes: int
    hr_flops_per_pixel: float
    base_flops_per_pixel: float


def budget(
    config: ModelConfig,
    *,
    n_s2: int = N_S2,
    n_s1: int = N_S1,
    hr: bool = False,
    tile: int = TILE,
    core: int = CORE,
    fusion_stride: int = 1,
) -> Budget:
    """Costs for a number of dates; `hr`: with a token of HR at 32 HR pixels per 10 m pixel in the fusion."""
    with torch.device("meta"):
        model = SkySense(config)
    state = model.state_dict().values()
    return Budget(
        parameters=sum(p.numel() for p in model.parameters()),
        float16_bytes=sum(t.numel() * (2 if t.is_floating_point() else t.element_size()) for t in state),
        hr_flops_per_pixel=swin_flops(config.hr, 2048) / 2048**2,
        base_flops_per_pixel=tile_flops(
            config, n_s2=n_s2, n_s1=n_s1, hr=hr, tile=tile, core=core, fusion_stride=fusion_stride
        )
        / core**2,
    )


def summary(config: ModelConfig) -> dict[str, Any]:
    """Everything that a model costs, as plain JSON types; FLOPs and bytes are whole numbers.

    Tiles are those of the jobs, one at a time: HR alone, and 10 m pixels with a year of Sentinel-2 and Sentinel-1.
    "per_pixel" counts a tile's whole cost on the pixels that are kept of it; "hr_flops_per_pixel" leaves the overlap
    out.
    """
    cost = budget(config, n_s2=N_S2, n_s1=N_S1, tile=TILE, core=CORE)
    need = memory(config, hr_side=HR_TILE, tile=TILE, core=CORE, n_s2=N_S2, n_s1=N_S1)
    hr_flops = swin_flops(config.hr, HR_TILE)
    strides = {}
    for stride, work in need.fused_tile.items():
        flops = tile_flops(config, n_s2=N_S2, n_s1=N_S1, hr=False, tile=TILE, core=CORE, fusion_stride=stride)
        strides[str(stride)] = _tile(flops, CORE, work)
    float32 = cost.parameters * 4
    most = max(need.hr_tile, *need.fused_tile.values())
    return {
        **{key: round(value) for key, value in asdict(cost).items()},
        "float32_bytes": float32,
        "hr_tile": {"side": HR_TILE, "kept_side": HR_CORE, **_tile(hr_flops, HR_CORE, need.hr_tile)},
        "fused_tile": {
            "side": TILE,
            "kept_side": CORE,
            "s2_dates": N_S2,
            "s1_dates": N_S1,
            "fusion_stride": strides,
        },
        "cpu_memory": {
            "weights_bytes": float32,
            "derived_bytes": need.derived,
            "most_working_bytes": most,
            "total_bytes": float32 + need.derived + most,
            "method": "counted from the model's shape for one tile in float32 on the fast path (a CPU computes up to four "
            "side by side), without Python and the libraries themselves (about 0.4 GB); a test holds it to what torch allocates",
        },
    }


def _tile(flops: int, kept_side: int, working_bytes: int) -> dict[str, int]:
    return {
        "flops": flops,
        "flops_per_pixel": round(flops / kept_side**2),
        "working_bytes": working_bytes,
    }


def swin_flops(config: SwinConfig, side: int) -> int:
    """Operations of the HR encoder for an image of side x side pixels."""
    rows = math.ceil(side / 4)
    flops = 2 * rows**2 * 48 * config.dim
    for stage, depth in enumerate(config.depths):
        dim, heads = config.dim * 2**stage, config.heads[stage]
        if stage:
            rows = math.ceil(rows / 2)
            flops += 2 * rows**2 * (2 * dim) * dim
        padded = (math.ceil(rows / config.window) * config.window) ** 2
        padded_head = math.ceil(dim / heads / 8) * 8
        attention = 2 * padded * 4 * dim**2 + 4 * padded * config.window**2 * heads * padded_head
        flops += depth * (attention + 2 * rows**2 * 8 * dim**2)
    return flops


def vit_flops(config: VitConfig, bands: int, side: int) -> int:
    """Operations of the S2 or S1 encoder for one acquisition of side x side pixels."""
    patches, dim = math.ceil(side / PATCH) ** 2, config.dim
    tokens = patches + int(config.with_cls_token)
    return 2 * patches * PATCH**2 * bands * dim + config.layers * (24 * tokens * dim**2 + 4 * tokens**2 * dim)


def fusion_flops(config: FusionConfig, tokens: int) -> int:
    """Operations of the fusion for one location with `tokens` dates, after their projection."""
    dim, n = config.dim, tokens + 1
    full = 24 * n * dim**2 + 4 * n**2 * dim
    last = 4 * n * dim**2 + 4 * n * dim + 20 * dim**2  # keys and values of all; query, output and FFN of one
    return (config.layers - 1) * full + last


def tile_flops(
    config: ModelConfig, *, n_s2: int, n_s1: int, hr: bool, tile: int, core: int, fusion_stride: int
) -> int:
    """Operations for a tile of tile x tile 10 m pixels, core x core of them fused; no HR encoder."""
    ring = 1 if fusion_stride > 1 and core < tile else 0
    cells = math.ceil(core / fusion_stride) + 2 * ring
    per_patch = PATCH // fusion_stride
    patches = math.ceil(cells / per_patch) ** 2
    flops = cells**2 * fusion_flops(config.fusion, n_s2 + n_s1 + int(hr))
    if hr:
        flops += 2 * tile**2 * config.token_dim * config.fusion.dim
    for vit, bands, dates in (
        (config.s2, len(SENSORS["s2"].bands), n_s2),
        (config.s1, len(SENSORS["s1"].bands), n_s1),
    ):
        projection = 2 * patches * vit.dim * per_patch**2 * config.fusion.dim
        flops += dates * (vit_flops(vit, bands, tile) + projection)
    if config.geo is not None:
        flops += cells**2 * 4 * config.geo.prototypes * config.fusion.dim
    return flops
