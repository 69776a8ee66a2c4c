"""Invalid pixels: what lies under them never matters, and masks without holes change no bit."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from skysense.model.config import ModelConfig
from skysense.model.inputs import Features, Inputs, channel_statistics, normalize
from skysense.model.validity import block_valid, fill_invalid
from skysense.model.vit import VisionTransformer
from torch import Tensor


@torch.inference_mode()
def run(model: Any, inputs: Inputs, **options: Any) -> Features:
    features: Features = model(inputs, **options)
    return features


def same(a: Features, b: Features) -> None:
    assert torch.equal(a.fused, b.fused) and torch.equal(a.fused_valid, b.fused_valid)
    assert all(torch.equal(x, y) for x, y in zip(a.hr, b.hr, strict=True))


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_content_under_invalid_pixels_never_matters(
    mini: ModelConfig, build: Any, scene: Any, holes: Any, stride: int
) -> None:
    model, inputs = build(mini), holes(scene())
    other = replace(inputs)
    for name in ("hr", "s2", "s1"):
        x, valid = getattr(inputs, name), getattr(inputs, f"{name}_valid")
        setattr(other, name, torch.where(valid.unsqueeze(-3), x, torch.full_like(x, float("nan"))))
    first = run(model, inputs, fusion_stride=stride)
    same(first, run(model, other, fusion_stride=stride))
    assert first.fused.isfinite().all()


@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("side", [32, 30])
def test_masks_without_holes_change_no_bit(
    mini: ModelConfig, build: Any, scene: Any, stride: int, side: int
) -> None:
    model, inputs = build(mini), scene(side=side)
    whole = replace(
        inputs,
        hr_valid=torch.ones(1, 2 * side, 2 * side, dtype=torch.bool),
        s2_valid=torch.ones(1, 5, side, side, dtype=torch.bool),
        s1_valid=torch.ones(1, 3, side, side, dtype=torch.bool),
    )
    same(run(model, inputs, fusion_stride=stride), run(model, whole, fusion_stride=stride))


def test_nowhere_valid_is_zero_and_invalid(mini: ModelConfig, build: Any, scene: Any, holes: Any) -> None:
    features = run(build(mini), holes(scene()))
    corner = features.fused_valid[0, :8, :8]
    assert not corner.any() and features.fused_valid[0, 8:, 8:].any()
    assert torch.equal(features.fused.abs().sum(1) > 0, features.fused_valid)


def test_a_scene_without_any_valid_pixel(mini: ModelConfig, build: Any, scene: Any) -> None:
    inputs = scene(2)
    for name, shape in (("hr", (2, 64, 64)), ("s2", (2, 5, 32, 32)), ("s1", (2, 3, 32, 32))):
        setattr(inputs, f"{name}_valid", torch.zeros(shape, dtype=torch.bool))
    features = run(build(mini), inputs)
    assert features.fused.shape == (2, 24, 32, 32)
    assert not features.fused.any() and not features.fused_valid.any()


def test_an_invalid_date_is_as_if_it_were_not_there(mini: ModelConfig, build: Any, scene: Any) -> None:
    model, inputs = build(mini), scene()
    valid = torch.ones(1, 5, 32, 32, dtype=torch.bool)
    valid[:, 2] = False
    keep = [0, 1, 3, 4]
    without = replace(inputs, s2=inputs.s2[:, keep], s2_day=inputs.s2_day[:, keep])
    with_hole = run(model, replace(inputs, s2_valid=valid))
    torch.testing.assert_close(with_hole.fused, run(model, without).fused)


def test_hr_counts_from_half_of_a_base_pixel(mini: ModelConfig, build: Any, scene: Any) -> None:
    inputs = scene()
    inputs.s2 = inputs.s1 = None
    valid = torch.ones(1, 64, 64, dtype=torch.bool)
    valid[0, 0, 0] = valid[0, 0, 1] = False  # half of base pixel (0, 0)
    valid[0, 0, 2] = valid[0, 1, 2] = valid[0, 1, 3] = False  # three quarters of base pixel (0, 1)
    inputs.hr_valid = valid
    expected = torch.ones(32, 32, dtype=torch.bool)
    expected[0, 1] = False
    assert torch.equal(run(build(mini), inputs).fused_valid[0], expected)


def test_official_rule_masks_nothing(mini: ModelConfig, build: Any, scene: Any, holes: Any) -> None:
    model = build(replace(mini, official_validity=True))
    inputs = holes(scene())
    filled = replace(inputs, hr_valid=None, s2_valid=None, s1_valid=None)
    for name in ("hr", "s2", "s1"):
        x, valid = getattr(inputs, name), getattr(inputs, f"{name}_valid")
        black = normalize(torch.zeros_like(x), name)  # type: ignore[arg-type]
        setattr(filled, name, torch.where(valid.unsqueeze(-3), x, black))
    features = run(model, inputs)
    same(features, run(model, filled))
    assert features.fused_valid.all()


def test_normalize() -> None:
    x = torch.full((1, 2, 3, 3), -12.54847273)
    out = normalize(x, "s1")
    assert out[0, 0].abs().max() == 0 and out[0, 1, 0, 0] == pytest.approx(
        (-12.54847273 + 20.19237134) / 5.91150917
    )
    mean, std = channel_statistics("s2", x.double())
    assert mean.shape == std.shape == (10,) and mean.dtype == torch.float64


def test_block_valid_counts_pixels_inside_only() -> None:
    valid = torch.zeros(1, 5, 4, dtype=torch.bool)
    valid[0, :2] = True  # half of the block above
    valid[0, 4, :2] = True  # half of the one row that the block below has
    assert block_valid(valid, 4).tolist() == [[[True], [True]]]
    valid[0, 0, 0] = valid[0, 4, 0] = False
    assert block_valid(valid, 4).tolist() == [[[False], [False]]]


def test_fill_invalid() -> None:
    x = torch.tensor([[[1.0, float("nan")]], [[3.0, 4.0]]])
    valid = torch.tensor([[True, False]])
    assert fill_invalid(x, valid).tolist() == [[[1, 0]], [[3, 0]]]
    assert fill_invalid(x, valid, torch.tensor([7.0, 8.0])).tolist() == [[[1, 7]], [[3, 8]]]
    assert fill_invalid(x, torch.ones_like(valid)) is x


@pytest.mark.parametrize("with_cls", [False, True])
def test_vit_masks(with_cls: bool) -> None:
    torch.manual_seed(0)
    vit = VisionTransformer(32, 2, 2, 2, img_size=16, with_cls_token=with_cls).eval()
    x, valid = torch.randn(2, 2, 16, 16), torch.ones(2, 4, 4, dtype=torch.bool)

    def encode(images: Tensor, mask: Tensor | None) -> Tensor:
        with torch.inference_mode():
            out: Tensor = vit(images, mask)[-1]
        return out

    assert torch.equal(encode(x, None), encode(x, valid))
    valid[0, 0, 0], valid[1] = False, False
    masked = encode(x, valid)
    assert masked.isfinite().all()  # image 1 has no valid patch at all
    changed = x.clone()
    changed[0, :, :4, :4] = 9.0
    others = encode(changed, valid)[0].flatten(1)[:, 1:]
    assert torch.equal(others, masked[0].flatten(1)[:, 1:])
    assert not torch.equal(encode(x, None)[0], masked[0])
