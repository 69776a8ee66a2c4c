"""Fusing a few locations gives what fusing all of them gives there, with gradients as well."""

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from skysense.model.config import GeoConfig, ModelConfig
from test_skysense import SUBSETS, only

ROWS, COLS = torch.tensor([0, 1, 5, 5, 31, 17, 5]), torch.tensor([0, 3, 9, 10, 31, 2, 9])


@pytest.mark.parametrize("modalities", SUBSETS)
@pytest.mark.parametrize("with_holes", [False, True])
@pytest.mark.parametrize("fast", [False, True])
def test_locations_equal_those_of_the_whole_tile(
    mini: ModelConfig, build: Any, scene: Any, holes: Any, modalities: tuple[str, ...], with_holes: bool, fast: bool
) -> None:  # fmt: skip
    model = build(replace(mini, geo=GeoConfig(7, (300,))))
    model.set_fast(fast)
    inputs = only(scene(), modalities)
    inputs.region = torch.tensor([300])
    inputs = holes(inputs) if with_holes else inputs
    with torch.no_grad():
        dense = model(inputs)
        fused, valid, hr = model.forward_at(inputs, ROWS, COLS)
    assert torch.equal(valid, dense.fused_valid[0, ROWS, COLS])
    torch.testing.assert_close(fused, dense.fused[0, :, ROWS, COLS].T, rtol=0, atol=1e-6)
    assert not with_holes or not bool(valid.all())
    assert (hr is None) == ("hr" not in modalities)
    for one, other in zip(hr or (), dense.hr or (), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("stride", [2, 4])
def test_with_a_stride_they_are_the_cells_that_the_whole_tile_is_interpolated_from(
    mini: ModelConfig, build: Any, scene: Any, stride: int
) -> None:
    model, inputs = build(mini), scene()
    rows, cols = (
        axis.flatten() for axis in torch.meshgrid(*2 * [torch.arange(1, 32, stride)], indexing="ij")
    )
    with torch.no_grad():
        fused, _, _ = model.forward_at(inputs, rows, cols, fusion_stride=stride)
        dense = model(inputs, fusion_stride=stride).fused
    cells = fused.T.unflatten(1, (32 // stride, -1))[None]
    pixels = F.interpolate(cells, scale_factor=float(stride), mode="bilinear", align_corners=False)
    torch.testing.assert_close(pixels, dense, rtol=0, atol=1e-6)


def test_gradients_equal_those_of_the_whole_tile(mini: ModelConfig, build: Any, scene: Any) -> None:
    model, inputs = build(mini, torch.float64), scene(dtype=torch.float64)
    names = [name for name, _ in model.named_parameters()]
    model(inputs).fused[0, :, ROWS, COLS].square().sum().backward()
    dense = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    model.forward_at(inputs, ROWS, COLS)[0].square().sum().backward()
    sparse = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert len(sparse) > len(names) // 2 and sparse.keys() == dense.keys()
    for name, gradient in sparse.items():
        torch.testing.assert_close(gradient, dense[name], rtol=1e-8, atol=1e-10)


def test_no_location_is_no_row(mini: ModelConfig, build: Any, scene: Any) -> None:
    nothing = torch.zeros(0, dtype=torch.int64)
    fused, valid, _ = build(mini).forward_at(scene(), nothing, nothing)
    assert fused.shape == (0, 24) and valid.shape == (0,)
