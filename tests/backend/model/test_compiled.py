"""Compiled blocks: traced whole, without a break, and with the uncompiled blocks' results."""

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from skysense.model.compiled import can_compile, compile_blocks, uncompile_blocks
from skysense.model.config import ModelConfig
from skysense.model.presets import PRESETS
from skysense.model.swin_v2 import SwinTransformerV2


@pytest.mark.parametrize("with_holes", [False, True])
def test_blocks_trace_whole_and_agree(
    mini: ModelConfig, build: Any, scene: Any, holes: Any, with_holes: bool
) -> None:
    model, inputs = build(mini, torch.float64), scene(dtype=torch.float64)
    inputs = holes(inputs) if with_holes else inputs
    with torch.no_grad():
        eager = model(inputs).fused
        compile_blocks(model, backend="eager")  # fullgraph: a break would raise
        compiled = model(inputs).fused
    torch.testing.assert_close(compiled, eager, rtol=0, atol=1e-10)


def test_no_compiling_without_its_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not can_compile(torch.device("cpu"))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", "")
    assert not can_compile(torch.device("cuda", 0))


def test_no_compiling_for_a_gpu_without_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    can_compile.cache_clear()
    monkeypatch.setenv("CC", "cc")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr("skysense.model.compiled._smallest", lambda x: x)
    monkeypatch.setattr(torch, "ones", lambda size, device: None)
    for major, able in ((7, False), (8, True)):
        monkeypatch.setattr(
            torch.cuda, "get_device_properties", lambda device, m=major: SimpleNamespace(major=m)
        )
        assert can_compile(torch.device("cuda", major)) == able
    can_compile.cache_clear()


@pytest.mark.parametrize("preset", ["tiny", "huge"])
def test_every_kind_of_block_of_a_deep_swin_is_compiled(preset: str) -> None:
    config = PRESETS[preset].hr
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = SwinTransformerV2(8, config.depths, (1, 2, 4, 8)).eval()
    picture = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        eager = model(picture)
        compile_blocks(model, backend="eager")
    # A GPU works for a thread of its own, and torch keeps its compiler's settings per thread.
    with ThreadPoolExecutor(1) as pool:
        compiled = pool.submit(torch.inference_mode()(model), picture).result()
    for one, other in zip(compiled, eager, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_a_process_compiles_for_one_map_after_another() -> None:
    """Every scene may have pixels of another size, and so pictures of another one."""
    torch._dynamo.reset()
    model = SwinTransformerV2(8, PRESETS["huge"].hr.depths, (1, 2, 4, 8)).eval()
    for side in range(64, 64 + 32 * 10, 32):
        uncompile_blocks(model)
        compile_blocks(model, backend="eager")
        with torch.inference_mode():
            assert model(torch.zeros(1, 3, side, side))[0].shape[-1] == side // 4
