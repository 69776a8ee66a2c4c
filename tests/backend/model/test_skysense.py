"""The assembled model: both paths agree, modalities combine, sizes, crop and stride do what they say."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from skysense.model.config import GeoConfig, ModelConfig
from skysense.model.inputs import Inputs
from torch import Tensor

SUBSETS = [("hr", "s2", "s1"), ("s2", "s1"), ("hr", "s2"), ("hr", "s1"), ("hr",), ("s2",), ("s1",)]


def only(inputs: Inputs, modalities: tuple[str, ...]) -> Inputs:
    """Inputs with the other modalities taken away."""
    gone = {
        f.name: None for f in fields(inputs) if f.name.split("_")[0] in {"hr", "s2", "s1"} - set(modalities)
    }
    return replace(inputs, **gone)


@torch.inference_mode()
def run(model: Any, inputs: Inputs, **options: Any) -> tuple[Tensor, Tensor]:
    features = model(inputs, **options)
    return features.fused, features.fused_valid


@pytest.mark.parametrize("modalities", SUBSETS)
@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("with_holes", [False, True])
def test_fast_and_plain_agree(
    mini: ModelConfig,
    build: Any,
    scene: Any,
    holes: Any,
    modalities: tuple[str, ...],
    stride: int,
    with_holes: bool,
) -> None:
    model = build(replace(mini, geo=GeoConfig(7, (300,))), torch.float64)
    inputs = only(scene(2, dtype=torch.float64), modalities)
    inputs.region = torch.tensor([300, 60000])
    inputs = holes(inputs) if with_holes else inputs
    fast, fast_valid = run(model, inputs, crop=3, fusion_stride=stride)
    model.set_fast(False)
    plain, plain_valid = run(model, inputs, crop=3, fusion_stride=stride)
    assert fast.shape == (2, 48, 26, 26) and fast_valid.shape == (2, 26, 26)
    torch.testing.assert_close(fast, plain, rtol=0, atol=1e-10)
    assert torch.equal(fast_valid, plain_valid)
    assert bool(fast_valid.all()) != with_holes


def test_hr_alone_gives_its_maps(mini: ModelConfig, build: Any, scene: Any) -> None:
    model, inputs = build(mini), only(scene(), ("hr",))
    inputs.hr_per_base = None
    with torch.inference_mode():
        features = model(inputs)
        again = model.encode_hr(inputs.hr)
    assert features.fused is None and features.fused_valid is None
    assert [tuple(m.shape) for m in features.hr] == [
        (1, 12, 16, 16),
        (1, 24, 8, 8),
        (1, 48, 4, 4),
        (1, 96, 2, 2),
    ]
    assert all(torch.equal(a, b) for a, b in zip(features.hr, again, strict=True))


@pytest.mark.parametrize("factor", [1, 2, 16, 32, 64])
def test_hr_of_any_resolution(mini: ModelConfig, build: Any, scene: Any, factor: int) -> None:
    fused, valid = run(build(mini), scene(side=8, factor=factor))
    assert fused.shape == (1, 24, 8, 8) and valid.all() and fused.isfinite().all()


@pytest.mark.parametrize("side", [30, 33])
@pytest.mark.parametrize("stride", [1, 2, 4])
def test_sides_that_are_no_multiple_of_a_patch(
    mini: ModelConfig, build: Any, scene: Any, side: int, stride: int
) -> None:
    model = build(mini, torch.float64)
    inputs = scene(side=side, dtype=torch.float64)
    fused, valid = run(model, inputs, crop=2, fusion_stride=stride)
    assert fused.shape == (1, 24, side - 4, side - 4) and valid.shape == fused.shape[:1] + fused.shape[2:]
    model.set_fast(False)
    plain, _ = run(model, inputs, crop=2, fusion_stride=stride)
    torch.testing.assert_close(fused, plain, rtol=0, atol=1e-10)


@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("crop", [1, 4, 6])
def test_crop_is_a_cut_of_the_whole(
    mini: ModelConfig, build: Any, scene: Any, holes: Any, stride: int, crop: int
) -> None:
    model, inputs = build(mini, torch.float64), holes(scene(dtype=torch.float64))
    whole, whole_valid = run(model, inputs, fusion_stride=stride)
    core, core_valid = run(model, inputs, crop=crop, fusion_stride=stride)
    inner = slice(crop, 32 - crop)
    torch.testing.assert_close(core, whole[..., inner, inner], rtol=0, atol=1e-10)
    assert torch.equal(core_valid, whole_valid[..., inner, inner])


def test_tiles_of_a_batch_do_not_mix(mini: ModelConfig, build: Any, scene: Any, holes: Any) -> None:
    model, pair = build(mini, torch.float64), holes(scene(2, dtype=torch.float64))
    both, _ = run(model, pair)
    for b in range(2):
        one = Inputs(
            **{
                f.name: v[b : b + 1] if isinstance(v := getattr(pair, f.name), Tensor) else v
                for f in fields(pair)
            }
        )
        torch.testing.assert_close(run(model, one)[0], both[b : b + 1], rtol=0, atol=1e-12)


def test_order_of_dates_does_not_matter(mini: ModelConfig, build: Any, scene: Any) -> None:
    model, inputs = build(mini, torch.float64), scene(dtype=torch.float64)
    order = torch.tensor([3, 0, 4, 1, 2])
    shuffled = replace(inputs, s2=inputs.s2[:, order], s2_day=inputs.s2_day[:, order])
    torch.testing.assert_close(run(model, shuffled)[0], run(model, inputs)[0], rtol=0, atol=1e-12)


def test_date_policies(mini: ModelConfig, build: Any, scene: Any) -> None:
    def fused(policy: Any, **days: Tensor) -> Tensor:
        return run(build(replace(mini, date_encoding=policy)), replace(scene(), **days))[0]

    unknown = {
        "hr_day": torch.tensor([-1]),
        "s2_day": torch.full((1, 5), -1),
        "s1_day": torch.full((1, 3), -1),
    }
    torch.testing.assert_close(fused("all", **unknown), fused("none"))
    without_s2 = {k: v for k, v in unknown.items() if k != "s2_day"}
    torch.testing.assert_close(fused("all", **without_s2), fused("s2"))
    assert not torch.allclose(fused("all"), fused("s2"))
    leap, last = torch.tensor([[-1, 100, 365]]), torch.tensor([[-1, 100, 364]])
    assert torch.equal(fused("all", s1_day=leap), fused("all", s1_day=last))


def test_series_maps_on_request(mini: ModelConfig, build: Any, scene: Any) -> None:
    with torch.inference_mode():
        features = build(mini)(scene(side=30), series_maps=True)
    assert features.s2.shape == (1, 5, 96, 30, 30) and features.s1.shape == (1, 3, 96, 30, 30)


def test_gradients_reach_every_parameter(mini: ModelConfig, build: Any, scene: Any, holes: Any) -> None:
    model = build(replace(mini, geo=GeoConfig(7, (300,)))).train()
    inputs = holes(scene())
    inputs.region = torch.tensor([60000])
    features = model(inputs)
    (features.fused.sum() + sum(m.sum() for m in features.hr)).backward()
    missing = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    # The S2 and S1 encoders drop their cls token before the first layer.
    assert missing == ["backbone_s2.cls_token", "backbone_s1.cls_token"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hr_per_base": None}, "hr_per_base is needed"),
        ({"hr_per_base": 3}, "power of two"),
        ({"hr_per_base": 4}, "differ in size"),
        ({"hr": None, "s2": None, "s1": None}, "no modality"),
    ],
)
def test_inputs_that_do_not_fit(
    mini: ModelConfig, build: Any, scene: Callable[..., Inputs], change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        build(mini)(replace(scene(), **change))


def test_options_that_do_not_fit(mini: ModelConfig, build: Any, scene: Any) -> None:
    model = build(mini)
    with pytest.raises(ValueError, match="fusion_stride"):
        model(scene(), fusion_stride=3)
    with pytest.raises(ValueError, match="leaves nothing"):
        model(scene(), crop=16)
