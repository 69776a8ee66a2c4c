"""The four sizes, and models with reproducible random weights.

`tiny` is the default that ships (at most 15 MB as float16, 20 MFLOP per 10 m pixel, 25 kFLOP per HR pixel);
`small` costs at most eight times that; `huge` is the paper's, in the layout of the released checkpoints.
"""

import torch
from torch import nn

from skysense.errors import InputError
from skysense.model.config import FusionConfig, ModelConfig, SwinConfig, VitConfig
from skysense.model.digest import tensors_sha256
from skysense.model.skysense import SkySense

PRESETS: dict[str, ModelConfig] = {
    "tiny": ModelConfig(
        hr=SwinConfig(32, (2, 2, 6, 2), (2, 4, 8, 16)),
        s2=VitConfig(160, 6, 5),
        s1=VitConfig(96, 4, 3),
        fusion=FusionConfig(96, 2, 6),
    ),
    "small": ModelConfig(
        hr=SwinConfig(64, (2, 2, 18, 2), (2, 4, 8, 16)),
        s2=VitConfig(320, 10, 10),
        s1=VitConfig(192, 8, 6),
        fusion=FusionConfig(256, 4, 8),
    ),
    "base": ModelConfig(
        hr=SwinConfig(128, (2, 2, 18, 2), (4, 8, 16, 32)),
        s2=VitConfig(768, 12, 12),
        s1=VitConfig(384, 12, 6),
        fusion=FusionConfig(512, 8, 8),
    ),
    "huge": ModelConfig(
        hr=SwinConfig(352, (2, 2, 18, 2), (8, 16, 32, 64), drop_path=0.2),
        s2=VitConfig(1024, 24, 16, drop_path=0.3),
        s1=VitConfig(1024, 24, 16, drop_path=0.3),
        fusion=FusionConfig(1024, 24, 16, drop_path=0.3),
    ),
}


def preset(name: str) -> ModelConfig:
    """A preset by name; raises InputError for an unknown one."""
    try:
        return PRESETS[name]
    except KeyError:
        raise InputError("unknown model size", name, f"Use one of: {', '.join(PRESETS)}") from None


def seeded_model(name: str, seed: int = 0) -> SkySense:
    """A preset with random weights from a seed, in evaluation mode; leaves the global generator as it was."""
    config = preset(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SkySense(config).eval()


def state_sha256(module: nn.Module) -> str:
    """Hex digest over a module's state: names in order, and of each tensor its dtype, shape and bytes."""
    return tensors_sha256(module.state_dict())
