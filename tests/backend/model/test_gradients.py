"""Training reaches everything: each parameter of every preset gets a finite gradient that is not zero.

What gets none is named in `NO_GRADIENT` and in `IDLE_ROWS`, with the reason.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from skysense.model.config import GeoConfig, ModelConfig
from skysense.model.inputs import Features, Inputs
from skysense.model.presets import PRESETS
from skysense.model.skysense import SkySense
from torch import Tensor, nn

#: Parameters without any gradient.
NO_GRADIENT = {
    r"backbone_s[21]\.cls_token": "the S2 and S1 encoders drop their cls token before the first layer",
}
#: Rows (by name, which, why) that get none, or rounding errors of one, in a parameter that gets one otherwise.
IDLE_ROWS: tuple[tuple[str, Callable[[int], slice], str], ...] = (
    (
        r".*\.attn\.attn\.in_proj_bias",
        lambda rows: slice(rows // 3, 2 * rows // 3),
        "a bias of the keys adds the same to all scores of a query, which softmax does not see",
    ),
    (
        r"backbone_s[21]\.pos_embed",
        lambda rows: slice(0, 1),
        "the place of the cls token, which is dropped",
    ),
)
#: Rows that idle somewhere, depending on the input or the initial values.
MAY_IDLE = {
    r"ctpe": "only the days of the input are looked up (test_only_the_days_of_the_input)",
    r".*\.cpb_mlp\.0\..*": "a unit of the ReLU may be off at every offset",
    r"backbone_gep\..*\.ffn\.layers\.0\.0\..*": "a unit of the GELU may be so far down that its slope rounds to zero",
    r".*\.pos_embed": "resized to few patches, most places are not read",
}
#: Rounding leaves this much of an exact zero, against the largest gradient of the same parameter.
ROUNDING = 1e-4

_HUGE = PRESETS["huge"]
CONFIGS = {
    "tiny": PRESETS["tiny"],
    "small": PRESETS["small"],
    "base": PRESETS["base"],
    # All widths as in the paper; a second extra norm would need six blocks, so it comes every two.
    "huge, depths cut": replace(
        _HUGE,
        hr=replace(_HUGE.hr, depths=(1, 1, 2, 1), extra_norm_every=2),
        s2=replace(_HUGE.s2, layers=1),
        s1=replace(_HUGE.s1, layers=1),
        fusion=replace(_HUGE.fusion, layers=2),
    ),
}
DAYS = {"hr_day": torch.tensor([200]), "s2_day": torch.tensor([[0, 80]]), "s1_day": torch.tensor([[364]])}


def a_scene(side: int = 8, hr_per_base: int = 8, dates: tuple[int, int] = (2, 1)) -> Inputs:
    """Random images of side x side pixels at 10 m, with HR, all dated."""
    rng = torch.Generator().manual_seed(1)
    noise = partial(torch.randn, generator=rng)
    return Inputs(
        hr=noise(1, 3, side * hr_per_base, side * hr_per_base),
        s2=noise(1, dates[0], 10, side, side),
        s1=noise(1, dates[1], 2, side, side),
        hr_per_base=hr_per_base,
        **DAYS,
    )


def trained(
    config: ModelConfig, inputs: Inputs, outputs: Callable[[Features], list[Tensor]], fast: bool
) -> SkySense:
    """A model fresh from its initial values after one backward pass from random weights on the outputs.

    Drop path is off: at random it takes a layer's gradients away.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = SkySense(config).eval()
        model.set_fast(fast)
        loss = sum((out * torch.randn_like(out)).sum() for out in outputs(model(inputs)))
    assert isinstance(loss, Tensor)
    loss.backward()
    return model


def everything(features: Features) -> list[Tensor]:
    assert features.fused is not None and features.hr is not None
    return [features.fused, *features.hr]


def without_gradient(model: nn.Module) -> set[str]:
    return {n for n, p in model.named_parameters() if p.grad is None or not float(largest(p.grad))}


def largest(grad: Tensor) -> Tensor:
    """Largest gradient; infinite or NaN where one of them is."""
    return torch.linalg.vector_norm(grad, float("inf"))


def rows(name: str, grad: Tensor) -> Tensor:
    """Largest gradient of each row (day, place, output channel) of a parameter."""
    by_row = grad[0] if name == "ctpe" or name.endswith("pos_embed") else grad
    return torch.linalg.vector_norm(by_row.reshape(len(by_row), -1), float("inf"), 1)


def idle_rows(model: nn.Module) -> Iterator[str]:
    """Names of parameters that have rows without gradient where every row should have one."""
    for name, parameter in model.named_parameters():
        if parameter.grad is None or any(re.fullmatch(pattern, name) for pattern in MAY_IDLE):
            continue
        busy = torch.ones(len(parameter.grad), dtype=torch.bool)
        for pattern, which, _ in IDLE_ROWS:
            if re.fullmatch(pattern, name):
                busy[which(len(busy))] = False
        if not bool(rows(name, parameter.grad)[busy].all()):
            yield name


@pytest.mark.parametrize("name", CONFIGS)
def test_every_parameter_gets_a_gradient(name: str) -> None:
    # With gradients on, huge folds its projections in each forward: 190 GFLOP, to no use on four patches.
    fast = name in PRESETS
    model = trained(replace(CONFIGS[name], geo=GeoConfig()), a_scene(), everything, fast)
    missing = without_gradient(model)
    assert all(any(re.fullmatch(p, n) for p in NO_GRADIENT) for n in missing), missing
    assert all(any(re.fullmatch(p, n) for n in missing) for p in NO_GRADIENT), "the list names too much"
    infinite = [
        n for n, p in model.named_parameters() if p.grad is not None and not largest(p.grad).isfinite()
    ]
    assert not infinite
    assert list(idle_rows(model)) == []


def test_the_plain_path_trains_the_same_parameters() -> None:
    fast, plain = (
        trained(replace(PRESETS["tiny"], geo=GeoConfig()), a_scene(), everything, fast=f)
        for f in (True, False)
    )
    assert without_gradient(fast) == without_gradient(plain)
    for (name, a), b in zip(fast.named_parameters(), plain.parameters(), strict=True):
        if a.grad is not None:
            assert b.grad is not None
            torch.testing.assert_close(
                a.grad, b.grad, rtol=0, atol=1e-3 * float(b.grad.abs().max()) + 1e-6, msg=name
            )


def test_idle_rows_are_idle() -> None:
    """The lists above excuse nothing that does get a gradient."""
    model = trained(PRESETS["tiny"], a_scene(64, 1), everything, fast=True)
    for pattern, which, _ in IDLE_ROWS:
        found = 0
        for name, parameter in model.named_parameters():
            if re.fullmatch(pattern, name):
                assert parameter.grad is not None
                size = rows(name, parameter.grad)
                assert float(size[which(len(size))].max()) <= ROUNDING * float(size.max()), name
                found += 1
        assert found
    for modality in ("s2", "s1"):  # every place is read when there are as many patches as places
        grad = model.get_parameter(f"backbone_{modality}.pos_embed").grad
        assert grad is not None and bool(rows("pos_embed", grad)[1:].all())


@pytest.mark.parametrize(("rule", "days"), [("all", [0, 80, 200, 364]), ("s2", [0, 80]), ("none", [])])
def test_only_the_days_of_the_input(mini: ModelConfig, rule: Any, days: list[int]) -> None:
    model = trained(replace(mini, date_encoding=rule), a_scene(), everything, fast=True)
    used = [] if model.ctpe.grad is None else rows("ctpe", model.ctpe.grad).nonzero()[:, 0].tolist()
    assert used == days


def test_fused_maps_alone_leave_the_upper_output_norms_out(mini: ModelConfig) -> None:
    model = trained(mini, a_scene(), lambda features: everything(features)[:1], fast=True)
    norms = {f"backbone_gep.norm{i}.{part}" for i in (0, 1, 2) for part in ("weight", "bias")}
    assert without_gradient(model) == norms | {"backbone_s2.cls_token", "backbone_s1.cls_token"}


def test_hr_alone_trains_its_encoder(mini: ModelConfig) -> None:
    inputs = Inputs(hr=a_scene().hr)
    model = trained(mini, inputs, lambda features: list(features.hr or ()), fast=True)
    assert {name.split(".")[0] for name in without_gradient(model)} == {
        *("backbone_s2", "backbone_s1", "head_s2", "head_s1", "fusion", "ctpe")
    }


def test_a_scale_beyond_its_clamp_gets_none(mini: ModelConfig) -> None:
    model = SkySense(mini)
    scale = model.get_parameter("backbone_gep.stages.0.blocks.0.attn.w_msa.logit_scale")
    nn.init.constant_(scale, 5.0)  # ln 100 is 4.6
    torch.stack([out.square().mean() for out in model.encode_hr(a_scene().hr)]).sum().backward()
    assert scale.grad is not None and not bool(scale.grad.any())
