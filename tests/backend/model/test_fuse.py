"""Tiles fused together give what each gives by itself."""

from typing import Any

import pytest
import torch
from skysense.model import fuse, skysense
from skysense.model.config import ModelConfig


@pytest.mark.parametrize("with_holes", [False, True])
@pytest.mark.parametrize("locations", [100_000, 1_500])
def test_a_batch_in_one_go_equals_tile_by_tile(
    mini: ModelConfig, build: Any, scene: Any, holes: Any, monkeypatch: Any, with_holes: bool, locations: int
) -> None:
    model, inputs = build(mini, torch.float64), scene(batch=4, dtype=torch.float64)
    inputs.s2_valid = torch.ones(inputs.s2.shape[:2] + inputs.s2.shape[3:], dtype=torch.bool)
    inputs.s1_valid = torch.ones(inputs.s1.shape[:2] + inputs.s1.shape[3:], dtype=torch.bool)
    inputs.hr_valid = torch.ones(4, *inputs.hr.shape[2:], dtype=torch.bool)
    inputs = holes(inputs) if with_holes else inputs
    inputs.s2_valid[1, 0] = False  # a date less than in the others
    for valid in (inputs.s2_valid, inputs.s1_valid, inputs.hr_valid):
        valid[2] = False  # nothing at all
    given, alone = [], []

    def record(fusion: Any, sources: Any, window: Any, like: Any, _: Any) -> Any:
        given.append((fusion, sources, window, like))
        alone.append(fuse.fuse_tile(fusion, sources, window, like))
        return alone[-1]

    monkeypatch.setattr(skysense, "fuse_tile", record)
    monkeypatch.setattr(fuse, "CPU_LOCATIONS", locations)
    with torch.no_grad():
        model(inputs)
        (fusion, _, window, like), tiles = given[0], [sources for _, sources, _, _ in given]
        together = fuse.fuse_tiles(fusion, tiles, window, like)
    assert [len(tile) for tile in tiles] == [3, 3, 0, 3]
    for (one, one_valid), (other, other_valid) in zip(together, alone, strict=True):
        assert torch.equal(one_valid, other_valid)
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
    assert not alone[2][1].any() and together[0][0].shape == (32, 32, 24)
