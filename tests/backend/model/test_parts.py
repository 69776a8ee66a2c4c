"""Small parts: drop path, dates, cached weights, position resizing, folding, the Swin's limits."""

import copy
from typing import Any

import pytest
import torch
from skysense.model.attention import WeightCache
from skysense.model.config import ModelConfig
from skysense.model.dates import date_encoding, is_dated
from skysense.model.layers import DropPath, corner_pad, drop_path_rates
from skysense.model.swin_attention import relative_position
from skysense.model.swin_v2 import SwinTransformerV2
from skysense.model.uphead import UPHead
from skysense.model.vit import VisionTransformer, resize_positions


def test_drop_path_drops_whole_samples() -> None:
    torch.manual_seed(0)
    layer, x = DropPath(0.25), torch.ones(4000, 2, 3)
    out = layer.train()(x)
    per_sample = out.flatten(1)
    assert torch.equal(per_sample.amin(1), per_sample.amax(1))
    assert out.unique().tolist() == pytest.approx([0, 4 / 3])
    assert out.mean().item() == pytest.approx(1.0, abs=0.03)
    assert layer.eval()(x) is x


def test_drop_path_rates() -> None:
    assert drop_path_rates(0.2, 3) == [0.0, 0.1, 0.2]
    assert drop_path_rates(0.2, 1) == [0.0]
    swin = SwinTransformerV2(8, (2, 2, 1, 1), (1, 1, 1, 1), drop_path_rate=0.5)
    rates = [module.rate for module in swin.modules() if isinstance(module, DropPath)]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])


def test_date_encoding() -> None:
    ctpe = torch.arange(365.0)[None, :, None].expand(1, 365, 2) + 1
    assert date_encoding(ctpe, torch.tensor([[0, 364], [365, -1]]))[..., 0].tolist() == [[1, 365], [365, 0]]
    assert [is_dated("s2", p) for p in ("all", "s2", "none")] == [True, True, False]
    assert [is_dated("hr", p) for p in ("all", "s2", "none")] == [True, False, False]


def test_weight_cache_follows_its_weights() -> None:
    weight, cache, calls = torch.nn.Parameter(torch.ones(2)), WeightCache(keep=True), []

    def compute() -> torch.Tensor:
        calls.append(1)
        return weight * 2

    with torch.no_grad():
        cache.get([weight], compute)
        cache.get([weight], compute)
        assert len(calls) == 1
        weight.mul_(3)
        assert cache.get([weight], compute).tolist() == [6, 6]
        cache.get([weight], compute, extra=2)
        assert len(calls) == 3
    cache.get([weight], compute)  # with gradients on: always fresh
    assert len(calls) == 4


def test_caches_see_new_weights_and_copies(mini: ModelConfig, build: Any, scene: Any) -> None:
    model, inputs = build(mini), scene()
    with torch.inference_mode():
        before = model(inputs).fused
        twin = copy.deepcopy(model)
        assert torch.equal(twin(inputs).fused, before)
        frozen = copy.deepcopy(model).requires_grad_(False)
        assert torch.equal(frozen(inputs).fused, before)
    twin = copy.deepcopy(model)
    for name, parameter in twin.named_parameters():
        if "cpb_mlp" in name or "decoder" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    with torch.inference_mode():
        changed = twin(inputs).fused
        model.load_state_dict(twin.state_dict())
        assert not torch.equal(changed, before) and torch.equal(model(inputs).fused, changed)
    model.double()
    with torch.inference_mode():
        assert model(scene(dtype=torch.float64)).fused.dtype == torch.float64
    model.train()
    model(
        scene(dtype=torch.float64)
    ).fused.sum().backward()  # after inference: no cached tensor enters the graph


def test_fold_is_exact_at_every_stride() -> None:
    torch.manual_seed(0)
    head, linear = UPHead(6, 5).double(), torch.nn.Linear(5, 3).double()
    x = torch.randn(2, 6, 3, 4, dtype=torch.float64)
    for stride in (1, 2, 4):
        r = 4 // stride
        plain = linear(torch.nn.functional.avg_pool2d(head(x), stride).permute(0, 2, 3, 1))
        weight, bias = head.fold(linear.weight, linear.bias, stride)
        fast = torch.nn.functional.linear(x.permute(0, 2, 3, 1), weight, bias).unflatten(-1, (r, r, 3))
        fast = fast.transpose(2, 3).flatten(3, 4).flatten(1, 2).reshape(plain.shape)
        torch.testing.assert_close(fast, plain)
    with pytest.raises(ValueError, match="stride 3"):
        head.fold(linear.weight, linear.bias, 3)


def test_positions_keep_their_cls_and_constants() -> None:
    table = torch.cat((torch.full((1, 1, 2), 5.0), torch.full((1, 16, 2), 3.0)), 1)
    out = resize_positions(table, (4, 4), (2, 6))
    assert out.shape == (1, 13, 2) and (out[:, 0] == 5).all()
    torch.testing.assert_close(out[:, 1:], torch.full((1, 12, 2), 3.0))


def test_positions_of_a_rectangle() -> None:
    vit = VisionTransformer(8, 1, 2, 3, img_size=(16, 8)).eval()
    assert vit.pos_embed.shape == (1, 1 + 4 * 2, 8) and vit.positions(4, 2) is vit.pos_embed
    grid = vit.pos_embed[0, 1:].T.reshape(1, 8, 4, 2)
    grown = torch.nn.functional.interpolate(grid, (3, 5), mode="bicubic", align_corners=False)
    assert torch.equal(vit.positions(3, 5)[0, 1:], grown.reshape(8, 15).T)


@pytest.mark.parametrize("window", [4, 6, 8])
def test_the_table_of_positions_is_rounded_as_the_official_one(window: int) -> None:
    """r / (w - 1) * 8 in float32, one after the other (reference specification 1.2)."""
    span = torch.arange(1 - window, window).float()
    table = torch.stack(torch.meshgrid(span, span, indexing="ij"), -1)
    table /= window - 1
    table *= 8
    expected = (table.sign() * (table.abs() + 1).log2() / 3).flatten(0, 1)
    assert torch.equal(relative_position(window, torch.device("cpu"))[0], expected)


def test_a_swin_with_a_window_of_its_own_in_each_stage() -> None:
    torch.manual_seed(0)
    swin = SwinTransformerV2(8, (2, 2, 1, 1), (1, 1, 1, 1), window_size=(8, 4, 4, 2)).eval()
    assert [stage.blocks[-1].attn.window for stage in swin.stages] == [8, 4, 4, 2]
    assert [stage.blocks[-1].attn.shift for stage in swin.stages] == [4, 2, 0, 0]
    with pytest.raises(ValueError, match="3 windows for 4 stages"):
        SwinTransformerV2(8, (2, 2, 1, 1), (1, 1, 1, 1), window_size=(8, 4, 4))


def test_swin_refuses_maps_smaller_than_the_window() -> None:
    swin = SwinTransformerV2(8, (1, 1, 1, 1), (1, 1, 1, 1), window_size=4, pad_small_map=False)
    with pytest.raises(ValueError, match="smaller than the window"):
        swin(torch.zeros(1, 3, 64, 64))
    assert swin(torch.zeros(1, 3, 128, 128))[-1].shape == (1, 64, 4, 4)


def test_corner_pad() -> None:
    x = torch.ones(1, 1, 5, 4)
    assert corner_pad(x, 4).shape == (1, 1, 8, 4) and corner_pad(x, 4).sum() == 20
    assert corner_pad(x[..., :4, :], 4).shape == (1, 1, 4, 4)


def test_weight_cache_keeps_nothing_in_training() -> None:
    weight, cache, calls = torch.nn.Parameter(torch.ones(2)), WeightCache(), []

    def compute() -> int:
        calls.append(1)
        return len(calls)

    with torch.no_grad():
        assert [cache.get([weight], compute) for _ in range(2)] == [1, 2]  # not reset yet: as in training
        cache.reset(keep=True)
        assert [cache.get([weight], compute) for _ in range(2)] == [3, 3]
        assert copy.deepcopy(cache).get([weight], compute) == 4
        with torch.autocast("cpu"):
            assert cache.get([weight], compute) == 5
        cache.reset(keep=False)
        assert [cache.get([weight], compute) for _ in range(2)] == [6, 7]


@pytest.mark.parametrize("training", [False, True])
def test_a_fused_step_is_seen(mini: ModelConfig, build: Any, scene: Any, training: bool) -> None:
    model, inputs = build(mini), scene()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    model.train()
    with torch.no_grad():
        model(inputs)
    model(inputs).fused.sum().backward()
    optimizer.step()
    model.train(training)
    with torch.no_grad():
        after = model(inputs).fused
        fresh = build(mini)
        fresh.load_state_dict(model.state_dict())
        torch.testing.assert_close(after, fresh(inputs).fused, rtol=0, atol=1e-4)


def test_autocast_runs_without_gradients(mini: ModelConfig, build: Any, scene: Any) -> None:
    model, inputs = build(mini), scene()
    with torch.no_grad():
        exact = model(inputs).fused
        with torch.autocast("cpu", dtype=torch.bfloat16):
            coarse = model(inputs).fused
        assert torch.equal(model(inputs).fused, exact)
    assert (coarse - exact).norm() < 0.05 * exact.norm()
