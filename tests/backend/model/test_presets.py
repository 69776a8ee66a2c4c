"""Presets: released key layout, size and cost limits, reproducible random weights."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from skysense.errors import InputError
from skysense.model.budget import budget, summary, swin_flops, tile_flops, vit_flops
from skysense.model.config import GeoConfig, ModelConfig
from skysense.model.inputs import Inputs
from skysense.model.presets import PRESETS, preset, seeded_model, state_sha256
from skysense.model.skysense import SkySense
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

SHARED = Path(__file__).resolve().parents[4] / "shared"
PREFIXES = {
    "backbone_hr": "backbone_gep.",
    "backbone_s2": "backbone_s2.",
    "backbone_s1": "backbone_s1.",
    "head_s2": "head_s2.",
    "head_s1": "head_s1.",
    "fusion": "fusion.",
    "ctpe": "",
}


def test_huge_has_the_released_keys() -> None:
    path = SHARED / "reference" / "released_keys.json"
    if not path.is_file():
        pytest.skip(f"no reference key list at {path}")
    released = json.loads(path.read_text())
    expected = {
        prefix + key: shape
        for part, prefix in PREFIXES.items()
        for key, shape in released[part].items()
        if key
        not in released.get(f"{part}#buffers", [])  # left out of the released files, rebuilt on loading
    }
    with torch.device("meta"):
        state = SkySense(PRESETS["huge"]).state_dict()
    assert {key: list(tensor.shape) for key, tensor in state.items()} == expected


def test_parameters_of_huge_are_the_papers() -> None:
    assert budget(PRESETS["huge"]).parameters == 1_659_013_072


def test_tiny_keeps_its_limits() -> None:
    tiny = budget(replace(PRESETS["tiny"], geo=GeoConfig(100, tuple(range(8)))), hr=True)
    assert tiny.float16_bytes <= 15_000_000
    assert tiny.hr_flops_per_pixel <= 25e3
    assert tiny.base_flops_per_pixel <= 20e6


def test_sizes_rise_and_small_keeps_its_limits() -> None:
    costs = [budget(PRESETS[name]) for name in ("tiny", "small", "base", "huge")]
    for a, b in pairwise(costs):
        assert a.parameters < b.parameters
        assert a.hr_flops_per_pixel < b.hr_flops_per_pixel
        assert a.base_flops_per_pixel < b.base_flops_per_pixel
    small = costs[1]
    assert small.float16_bytes <= 8 * 15_000_000
    assert small.hr_flops_per_pixel <= 8 * 25e3 and small.base_flops_per_pixel <= 8 * 20e6


def counted(run: Callable[[], Any]) -> int:
    """Operations that torch counts, attention as plain products (the CPU's fused one it does not know)."""
    in_place = {torch.ops.aten.addmm_: lambda _, a, b, **__: 2 * a[0] * a[1] * b[1]}
    counting = FlopCounterMode(display=False, custom_mapping=in_place)
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), counting as counter:
        run()
    return counter.get_total_flops()


def test_budget_agrees_with_torch() -> None:
    config = PRESETS["tiny"]
    model = seeded_model("tiny").double()  # float32 has kernels that the counter does not know
    zeros = partial(torch.zeros, dtype=torch.float64)
    assert swin_flops(config.hr, 256) == pytest.approx(
        counted(lambda: model.encode_hr(zeros(1, 3, 256, 256))), rel=0.03
    )
    assert vit_flops(config.s2, 10, 64) == pytest.approx(
        counted(lambda: model.backbone_s2(zeros(1, 10, 64, 64))), rel=0.01
    )
    inputs = Inputs(s2=zeros(1, 4, 10, 64, 64), s1=zeros(1, 2, 2, 64, 64))
    for stride in (1, 2, 4):
        run = partial(model, inputs, crop=4, fusion_stride=stride)
        counted(run)  # folds the projections, once per weights
        torch_flops = counted(run)
        flops = tile_flops(config, n_s2=4, n_s1=2, hr=False, tile=64, core=56, fusion_stride=stride)
        assert flops == pytest.approx(torch_flops, rel=0.03)


def test_summary_is_plain_json() -> None:
    assert json.loads(json.dumps(summary(PRESETS["tiny"])))["parameters"] == 6_931_132


def test_seeded_models_are_reproducible() -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, again, other = (state_sha256(seeded_model("tiny", seed)) for seed in (0, 0, 1))
    assert first == again != other
    assert torch.equal(torch.get_rng_state(), state)
    assert not seeded_model("tiny").training


def test_digest_sees_names_types_shapes_and_values() -> None:
    def digest(**tensors: torch.Tensor) -> str:
        module = torch.nn.Module()
        for name, tensor in tensors.items():
            module.register_buffer(name, tensor)
        return state_sha256(module)

    x = torch.arange(4.0)
    variants = [
        digest(a=x),
        digest(b=x),
        digest(a=x.reshape(2, 2)),
        digest(a=x.view(torch.int32)),
        digest(a=x + 1),
        digest(a=x, b=torch.empty(0)),
        digest(a=torch.tensor(1.0)),
    ]
    assert len(set(variants)) == len(variants)
    assert digest(a=x, b=x + 1) == digest(b=x + 1, a=x)


def test_unknown_preset() -> None:
    with pytest.raises(InputError, match="gigantic"):
        preset("gigantic")


@pytest.mark.parametrize("name", PRESETS)
def test_config_survives_json(name: str) -> None:
    config = replace(PRESETS[name], geo=GeoConfig(10, (4, 5)) if name == "tiny" else None)
    assert ModelConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
