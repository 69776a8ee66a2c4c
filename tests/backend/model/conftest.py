"""A small model and scene for every test; where the numerical fixtures are, and the runner that reads them."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from skysense.model.config import FusionConfig, ModelConfig, SwinConfig, VitConfig
from skysense.model.inputs import Inputs
from skysense.model.skysense import SkySense
from torch import Tensor

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tools"))  # for `parity`


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Keep tests light on a shared machine, and their sums in one order."""
    torch.set_num_threads(1)


@pytest.fixture
def mini() -> ModelConfig:
    """A model small enough for every test; head dim 12 of the Swin is no multiple of 8 on purpose."""
    return ModelConfig(
        SwinConfig(12, (2, 2, 2, 2), (1, 2, 4, 8), window=4, extra_norm_every=2),
        VitConfig(32, 2, 2, img_size=32),
        VitConfig(16, 2, 2, img_size=32),
        FusionConfig(24, 3, 2),
    )


@pytest.fixture
def build() -> Callable[..., SkySense]:
    """Builds a seeded model in evaluation mode whose date encodings are not the initial zeros."""

    def make(config: ModelConfig, dtype: torch.dtype = torch.float32) -> SkySense:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = SkySense(config)
            torch.nn.init.normal_(model.ctpe)
        return model.to(dtype).eval()

    return make


@pytest.fixture
def scene() -> Callable[..., Inputs]:
    """Builds random inputs: 32 x 32 pixels at 10 m, 5 S2 dates, 3 S1 dates, HR at 5 m."""

    def make(batch: int = 1, side: int = 32, dtype: torch.dtype = torch.float32, factor: int = 2) -> Inputs:
        rng = torch.Generator().manual_seed(1)

        def noise(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=rng, dtype=torch.float64).to(dtype)

        return Inputs(
            hr=noise(batch, 3, side * factor, side * factor),
            hr_day=torch.full((batch,), 200),
            s2=noise(batch, 5, 10, side, side),
            s2_day=torch.tensor([[0, 80, 170, 260, 364]]).expand(batch, -1),
            s1=noise(batch, 3, 2, side, side),
            s1_day=torch.tensor([[-1, 100, 365]]).expand(batch, -1),
            hr_per_base=factor,
        )

    return make


def make_holes(inputs: Inputs) -> Inputs:
    """Inputs with invalid pixels everywhere, a whole invalid date, and a corner that nothing has seen."""
    rng = torch.Generator().manual_seed(2)
    masked = replace(inputs)
    for name in ("hr", "s2", "s1"):
        x = getattr(inputs, name)
        if x is not None:
            shape = x.shape[:1] + x.shape[-2:] if name == "hr" else x.shape[:2] + x.shape[-2:]
            valid = torch.rand(shape, generator=rng) > 0.4
            valid[..., : shape[-1] // 4, : shape[-1] // 4] = False
            if name == "s2":
                valid[:, 1] = False
            setattr(masked, f"{name}_valid", valid)
    return masked


@pytest.fixture
def holes() -> Callable[[Inputs], Inputs]:
    """See `make_holes`."""
    return make_holes
