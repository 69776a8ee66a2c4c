"""Agreement with the official classes' numbers: both precisions, fast and plain path.

Tolerances are those of the fixtures' README.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from skysense.model.attention import set_fast
from skysense.model.config import FusionConfig, ModelConfig, SwinConfig, VitConfig
from skysense.model.fusion import TransformerEncoder
from skysense.model.inputs import Inputs
from skysense.model.prototypes import (
    assigned_features,
    cosine_scores,
    geo_attention,
    geo_context,
    sinkhorn,
    updated_prototypes,
)
from skysense.model.skysense import SkySense
from skysense.model.swin_v2 import SwinTransformerV2
from skysense.model.uphead import UPHead
from skysense.model.vit import VisionTransformer
from torch import Tensor, nn

PRECISIONS = [torch.float64, torch.float32]
PATHS = [pytest.param(True, id="fast"), pytest.param(False, id="plain")]
Open = Callable[[str], Any]


def ready(module: nn.Module, weights: dict[str, Tensor], dtype: torch.dtype, fast: bool) -> Any:
    module.load_state_dict(weights)
    set_fast(module, fast)
    return module.to(dtype).eval()


def close(actual: Tensor, expected: Tensor, atol: float) -> None:
    torch.testing.assert_close(actual.double(), expected.double(), rtol=0, atol=atol)


@pytest.mark.parametrize("fast", PATHS)
@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("case", ["swin_w8", "swin_w4"])
def test_swin(golden: Open, case: str, dtype: torch.dtype, fast: bool) -> None:
    g = golden(case)
    config = dict(g.info["config"])
    arch = config["arch"]
    for pad in g.info["pad_small_map"]:
        model = SwinTransformerV2(
            arch["embed_dims"],
            arch["depths"],
            arch["num_heads"],
            extra_norm_every_n_blocks=arch["extra_norm_every_n_blocks"],
            window_size=config["window_size"],
            out_indices=config["out_indices"],
            in_channels=config["in_channels"],
            pad_small_map=pad,
        )
        model = ready(model, g.weights, dtype, fast)
        for height, width in g.info["shapes"]:
            with torch.inference_mode():
                maps = model(g.io[f"in_{height}x{width}"].to(dtype))
            for stage, actual in enumerate(maps):
                expected = g.io[f"out_{height}x{width}_pad{int(pad)}_s{stage}"]
                close(actual, expected, 3e-5 if dtype == torch.float64 else 5e-3)


@pytest.mark.parametrize("fast", PATHS)
@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("case", ["vit", "vit_s1"])
def test_vit(golden: Open, case: str, dtype: torch.dtype, fast: bool) -> None:
    g = golden(case)
    for name, variant in g.info["variants"].items():
        arguments = g.info["config"] | variant
        arguments["eps"] = arguments.pop("norm_cfg", {"eps": 1e-5})["eps"]
        model = VisionTransformer(**arguments)
        weights = {k: v for k, v in g.weights.items() if model.ln1 is not None or not k.startswith("ln1.")}
        model = ready(model, weights, dtype, fast)
        for height, width in g.info["shapes"]:
            with torch.inference_mode():
                outputs = model(g.io[f"in_{height}x{width}"].to(dtype))
            for i, output in enumerate(outputs):
                patch_map, cls = output if isinstance(output, tuple) else (output, None)
                atol = 3e-6 if dtype == torch.float64 else 5e-5
                close(patch_map, g.io[f"out_{height}x{width}_{name}_l{i}"], atol)
                if cls is not None:
                    close(cls, g.io[f"cls_{height}x{width}_{name}_l{i}"], atol)


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_uphead(golden: Open, dtype: torch.dtype) -> None:
    g = golden("uphead")
    model = ready(UPHead(**g.info["config"]), g.weights, dtype, True)
    with torch.inference_mode():
        close(model(g.io["in"].to(dtype)), g.io["out"], 2e-6 if dtype == torch.float64 else 1e-5)


@pytest.mark.parametrize("fast", PATHS)
@pytest.mark.parametrize("dtype", PRECISIONS)
def test_fusion(golden: Open, dtype: torch.dtype, fast: bool) -> None:
    g = golden("fusion")
    atol = 3e-6 if dtype == torch.float64 else 5e-5
    x = g.io["in"].to(dtype)
    for name, variant in g.info["variants"].items():
        model = TransformerEncoder(**g.info["config"], **variant)
        weights = {k: v for k, v in g.weights.items() if k != "cls_token" or model.cls_token is not None}
        model = ready(model, weights, dtype, fast)
        with torch.inference_mode():
            close(model(x), g.io[f"out_{name}"], atol)
            if name == "cls":
                layers = model.all_layers(model.with_cls(model.porj_linear(x)))
                close(layers[-1][:, :2], g.io["out_cls_require_two"], atol)
                for i, layer in enumerate(layers):
                    close(layer, g.io[f"block_{i}"], atol)


@pytest.mark.parametrize("fast", PATHS)
@pytest.mark.parametrize("dtype", PRECISIONS)
def test_full(golden: Open, dtype: torch.dtype, fast: bool) -> None:
    g = golden("full")
    c = g.info["config"]
    vit = VitConfig(c["vit_dim"], c["vit_layers"], c["vit_heads"], c["vit_img"], with_cls_token=c["vit_cls"])
    config = ModelConfig(
        SwinConfig(
            c["arch"]["embed_dims"],
            c["arch"]["depths"],
            c["arch"]["num_heads"],
            c["window"],
            c["arch"]["extra_norm_every_n_blocks"],
            out_indices=(3,),
        ),
        vit,
        vit,
        FusionConfig(c["f_dim"], c["f_layers"], c["f_heads"]),
    )
    atol = 1e-4 if dtype == torch.float64 else 1e-2
    hr = {"hr": g.io["hr"].to(dtype), "hr_day": g.io["dates_hr"][:, 0], "hr_per_base": 32}
    s2 = {"s2": g.io["s2"].transpose(1, 2).to(dtype), "s2_day": g.io["dates_s2"]}
    s1 = {"s1": g.io["s1"].transpose(1, 2).to(dtype), "s1_day": g.io["dates_s1"]}

    def fused(policy: Any, **inputs: Any) -> Tensor:
        model = ready(SkySense(replace(config, date_encoding=policy)), g.weights, dtype, fast)
        with torch.inference_mode():
            features = model(Inputs(**inputs), series_maps=True)
        if "hr" in inputs:
            close(features.hr[-1], g.io["F_hr"], atol)
        if "s2" in inputs:
            close(features.s2.flatten(0, 1), g.io["F_s2_up"], atol)
        if "s1" in inputs:
            close(features.s1.flatten(0, 1), g.io["F_s1_up"], atol)
        assert features.fused_valid.all()
        out: Tensor = features.fused
        return out

    close(fused("s2", **hr, **s2, **s1), g.io["fused_dtpe_s2only"], atol)
    close(fused("all", **hr, **s2, **s1), g.io["fused_dtpe_all"], atol)
    close(fused("none", **hr, **s2, **s1), g.io["fused_dtpe_none"], atol)
    close(fused("s2", **s2, **s1), g.io["fused_s2s1_dtpe_s2only"], atol)
    close(fused("s2", **s2), g.io["fused_s2_dtpe_s2only"], atol)
    close(fused("s2", **hr), g.io["fused_hr_only"], atol)


def test_geo_equations(golden: Open) -> None:
    g = golden("geo_equations")
    features, prototypes, config = g.io["F"], g.io["P"], g.info["config"]
    flat = features.flatten(0, 1)
    close(geo_attention(features, prototypes), g.io["attn"], 1e-9)
    close(geo_context(features, prototypes), g.io["F_fus"], 1e-9)
    scores = cosine_scores(flat, prototypes)
    close(scores, g.io["M"], 1e-9)
    assignment = sinkhorn(scores, epsilon=config["sinkhorn_eps"], iterations=config["sinkhorn_iters"])
    close(assignment, g.io["S_row_sum1"], 1e-9)
    assigned = assigned_features(assignment, flat)
    close(assigned, g.io["P_bar"], 1e-9)
    close(updated_prototypes(prototypes, assigned, config["momentum"]), g.io["P_new"], 1e-9)
