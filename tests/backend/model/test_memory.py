"""The memory that `skysense info` names, against what torch allocates."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from skysense.model.attention import WeightCache
from skysense.model.fuse import CellWindow
from skysense.model.inputs import Inputs
from skysense.model.memory import derived_bytes, fused_bytes, memory, swin_bytes
from skysense.model.presets import PRESETS, seeded_model
from torch.profiler import ProfilerActivity, profile

#: An estimate is at most this much too high; and too low by at most a fiftieth.
TOO_HIGH = 1.4


@torch.inference_mode()
def peak_bytes(run: Callable[[], Any]) -> int:
    """The most that torch holds at once of what a second run allocates, on the CPU."""
    run()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    assert peak > 0
    return peak


@pytest.mark.parametrize("name", ["tiny", "small"])
def test_work_of_an_hr_tile(name: str) -> None:
    model, image = seeded_model(name), torch.zeros(1, 3, 512, 512)
    real = image.nbytes + peak_bytes(lambda: model.encode_hr(image))
    assert 0.98 * real <= swin_bytes(model.config.hr, 512) <= TOO_HIGH * real


@pytest.mark.parametrize(
    ("name", "stride", "dates"),
    [("tiny", 1, (12, 6)), ("tiny", 2, (12, 6)), ("tiny", 4, (12, 6)), ("small", 1, (4, 2))],
)
def test_work_of_a_fused_tile(name: str, stride: int, dates: tuple[int, int]) -> None:
    model = seeded_model(name)
    s2, s1 = torch.zeros(1, dates[0], 10, 64, 64), torch.zeros(1, dates[1], 2, 64, 64)
    work = peak_bytes(lambda: model(Inputs(s2=s2, s1=s1), crop=4, fusion_stride=stride))
    estimate = fused_bytes(model.config, CellWindow(stride, 4, 64, 64), *dates)
    real = s2.nbytes + s1.nbytes + work
    assert 0.98 * real <= estimate <= TOO_HIGH * real


def kept_tensors(value: Any) -> list[torch.Tensor]:
    """All tensors that caches hold, in whatever they are packed."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, WeightCache):
        return kept_tensors(value._value)
    if isinstance(value, dict):
        value = list(value.values())
    return [t for item in value for t in kept_tensors(item)] if isinstance(value, (list, tuple)) else []


def test_what_is_derived_from_the_weights() -> None:
    model = seeded_model("tiny")
    inputs = Inputs(s2=torch.zeros(1, 1, 10, 16, 16), s1=torch.zeros(1, 1, 2, 16, 16))
    with torch.inference_mode():
        model.encode_hr(torch.zeros(1, 3, 256, 256))
        model(inputs)
    parameters = {id(parameter) for parameter in model.parameters()}
    caches = [
        v
        for module in model.modules()
        for k, v in vars(module).items()
        if k != "_modules" and k != "_parameters"
    ]
    kept = {id(t): t for t in kept_tensors(caches) if id(t) not in parameters}
    assert derived_bytes(model.config) == pytest.approx(sum(t.numel() * 4 for t in kept.values()), rel=0.03)


def test_work_grows_with_what_is_asked() -> None:
    window = CellWindow(1, 4, 64, 64)
    tiny = PRESETS["tiny"]
    assert fused_bytes(tiny, window, 24, 6) > fused_bytes(tiny, window, 12, 6)
    assert swin_bytes(tiny.hr, 1024) == pytest.approx(4 * swin_bytes(tiny.hr, 512), rel=0.01)
    few = memory(tiny, hr_side=64, tile=32, core=24, n_s2=1, n_s1=1)
    assert few.fused_tile[1] < memory(tiny, hr_side=64, tile=64, core=56, n_s2=1, n_s1=1).fused_tile[1]
    assert derived_bytes(replace(tiny, hr=PRESETS["small"].hr)) > derived_bytes(tiny)
