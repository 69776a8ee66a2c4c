"""Packed linear maps: the plain map's values, also after the weights have changed, and gradients as ever."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from skysense.model.attention import WeightCache
from skysense.model.layers import EncoderLayer, FeedForward
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


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_part_of_a_weight_with_the_residual_added(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x, residual = torch.randn(5, 24).to(dtype), torch.randn(5, 16).to(dtype)
    weight, bias = torch.randn(48, 24).to(dtype), torch.randn(48).to(dtype)
    caches = [WeightCache(keep=True) for _ in range(3)]
    atol = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 0.1}[dtype]
    with torch.no_grad():
        for _ in range(2):
            for i, cache in enumerate(caches):
                part = slice(16 * i, 16 * (i + 1))
                out = packed_linear(x, weight, bias, cache, residual=residual, part=part)
                expected = residual.double() + F.linear(
                    x.double(), weight[part].double(), bias[part].double()
                )
                assert out.dtype == dtype
                torch.testing.assert_close(out.double(), expected, rtol=0, atol=atol)


@pytest.mark.parametrize(("queries", "length"), [(None, 40), (None, 7), (1, 40), (1, 7)])
def test_attention_follows_its_weights(queries: int | None, length: int) -> None:
    """Packed queries, keys and values are made anew when the weights change, and none is kept while training."""
    torch.manual_seed(0)
    layer, x = EncoderLayer(16, 2).eval(), torch.randn(3, length, 16)
    with torch.no_grad():
        for _ in range(2):
            layer.attn["attn"].in_proj_weight.add_(torch.randn(48, 16) * 0.3)
            layer.attn["attn"].out_proj.weight.mul_(1.5)
            layer.ffn.layers[1].weight.mul_(1.5)
            out = layer(x.clone(), queries=queries)
            layer.train()
            torch.testing.assert_close(out, layer(x.clone(), queries=queries), rtol=0, atol=1e-5)
            layer.eval()
            if queries is None:
                rows = x.transpose(0, 1).contiguous()
                layer.apply_short(rows, None)
                torch.testing.assert_close(rows.transpose(0, 1), out, rtol=0, atol=1e-5)


def test_blocks_of_rows_change_nothing() -> None:
    torch.manual_seed(0)
    layer, x = FeedForward(8, 32).double().eval(), torch.randn(2, 1100, 8, dtype=torch.float64)
    with torch.no_grad():
        blocks = layer(x)
        layer.fast = False
        torch.testing.assert_close(blocks, layer(x), rtol=0, atol=1e-12)
    layer.fast = True
    layer(x).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in layer.parameters())
