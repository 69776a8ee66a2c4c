"""Packed linear maps: the plain map's values, also after the weights have changed, and gradients as ever."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from skysense.model.attention import WeightCache
from skysense.model.layers import FeedForward
from skysense.model.packed import packed_linear


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("activation", ["none", "gelu"])
def test_values_are_those_of_the_plain_map(dtype: torch.dtype, activation: Any) -> None:
    torch.manual_seed(0)
    x, weight, bias = (
        torch.randn(3, 5, 24).to(dtype),
        torch.randn(40, 24).to(dtype),
        torch.randn(40).to(dtype),
    )
    cache = WeightCache(keep=True)

    def expected() -> torch.Tensor:
        out = F.linear(x.double(), weight.double(), bias.double())
        return F.gelu(out) if activation == "gelu" else out

    atol = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 0.1}[dtype]
    with torch.no_grad():
        for factor in (1, 2):  # the second time the packed copy must follow the weight
            weight.mul_(factor)
            out = packed_linear(x, weight, bias, cache, activation)
            assert out.dtype == dtype
            torch.testing.assert_close(out.double(), expected(), rtol=0, atol=atol * factor)


@pytest.mark.parametrize("packed", [False, True])
def test_blocks_of_rows_change_nothing(packed: bool) -> None:
    torch.manual_seed(0)
    layer, x = FeedForward(8, 32, packed=packed).double().eval(), torch.randn(2, 1100, 8, dtype=torch.float64)
    with torch.no_grad():
        blocks = layer(x)
        layer.fast = False
        torch.testing.assert_close(blocks, layer(x), rtol=0, atol=1e-12)
    layer.fast = True
    layer(x).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in layer.parameters())
