"""Attention runs in a fused kernel: with torch's spelled-out path forbidden, the model must still run."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from skysense.model.config import FusionConfig, ModelConfig
from torch.nn.attention import SDPBackend, sdpa_kernel

FUSED = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION]


@pytest.mark.parametrize("with_holes", [False, True])
@pytest.mark.parametrize(
    ("device", "dtype"), [("cpu", torch.float32), ("cpu", torch.bfloat16), ("cuda", torch.bfloat16)]
)
def test_never_the_math_path(
    mini: ModelConfig, build: Any, scene: Any, holes: Any, device: str, dtype: torch.dtype, with_holes: bool
) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    # Heads of 16 channels, as the presets have: a mask leaves CUDA's kernels none for heads of 12.
    config = replace(mini, fusion=FusionConfig(32, 3, 2))
    model, inputs = build(config, dtype).to(device), scene(dtype=dtype)
    inputs = holes(inputs) if with_holes else inputs
    for name, value in vars(inputs).items():
        if isinstance(value, torch.Tensor):
            setattr(inputs, name, value.to(device))
    with torch.inference_mode(), sdpa_kernel(FUSED):
        assert model(inputs).fused.isfinite().all()
