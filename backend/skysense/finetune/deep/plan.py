"""How long and how fast each mode learns, with the reasons.

Rates of a step are those of the pretraining (`pretrain.schedule`): a linear warm-up, then a cosine.
"""

from collections.abc import Callable
from dataclasses import dataclass

from skysense.model.config import ModelConfig
from skysense.pretrain.config import PretrainConfig

#: Share of the top layer's learning rate at the lowest layer: what the first layers see is the same everywhere, and few labels
#: would only spoil it (layer-wise decay: Clark et al. 2020, ELECTRA; Bao et al. 2022, BEiT).
_BOTTOM = 0.1


@dataclass(frozen=True)
class Plan:
    """Settings of one mode.

    Attributes:
        rates: steps, learning rate, warm-up, weight decay and clipping, for `pretrain.schedule.rates`.
        untold: steps where no polygon can be held out to tell when to stop: few, since nobody would see it go wrong.
        every: steps between looks at held-out polygons, and between states written for `--resume`.
        patience: looks without a gain after which the training stops.
    """

    rates: PretrainConfig
    untold: int
    every: int
    patience: int = 3


#: Low-rank updates begin at zero and need a rate tens of times that of full fine-tuning (Hu et al. 2021 take 2e-4 for GPT).
#: No weight decay: the rank bounds them already.
_LORA = Plan(
    PretrainConfig(
        steps=90, lr=2e-3, lr_end=2e-5, warmup=0.1, weight_decay=0.0, weight_decay_end=0.0, clip=1.0
    ),
    untold=45,
    every=15,
)
_FULL = Plan(
    PretrainConfig(
        steps=90, lr=2e-4, lr_end=2e-6, warmup=0.1, weight_decay=0.05, weight_decay_end=0.05, clip=1.0
    ),
    untold=45,
    every=15,
)
#: A small network that begins at random, on features that stay: rates of its size, and steps enough to see every polygon often.
_DECODER = Plan(
    PretrainConfig(
        steps=300, lr=2e-3, lr_end=2e-5, warmup=0.1, weight_decay=0.05, weight_decay_end=0.05, clip=1.0
    ),
    untold=50,
    every=25,
)
PLANS = {"lora": _LORA, "full": _FULL, "decoder": _DECODER}


def layer_scale(config: ModelConfig) -> Callable[[str], float]:
    """The share of the learning rate of each parameter, by its name: 1 at the top of the fusion, falling layer by layer."""
    depth = {
        "backbone_gep": sum(config.hr.depths),
        "backbone_s2": config.s2.layers,
        "backbone_s1": config.s1.layers,
    }
    above, stages = config.fusion.layers, config.hr.depths

    def scale(name: str) -> float:
        words = name.split(".")
        if words[0] in depth:
            below = 0  # of patch embedding and positions
            if words[1] == "layers":
                below = int(words[2]) + 1
            elif words[1] == "stages":
                below = sum(stages[: int(words[2])]) + (int(words[4]) + 1 if words[3] == "blocks" else 0)
            elif words[1].startswith(("norm", "ln")):
                below = depth[words[0]]
            return float(_BOTTOM ** ((depth[words[0]] - below + above) / (depth[words[0]] + above)))
        if name.startswith("fusion.layers."):
            whole = max(depth.values()) + above
            return float(_BOTTOM ** ((above - int(words[2]) - 1) / whole))
        if words[0] in ("fusion", "ctpe", "head_s2", "head_s1"):
            return float(_BOTTOM ** (above / (max(depth.values()) + above)))
        return 1.0

    return scale
