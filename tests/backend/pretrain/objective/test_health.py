import math

import pytest
import torch
from skysense.pretrain.objective.health import sharpness, spread, usage


def test_spread_of_features():
    alike = torch.ones(20, 8) * torch.arange(1, 21)[:, None]
    assert spread(alike) == pytest.approx(0, abs=1e-3)
    torch.manual_seed(0)
    assert spread(torch.randn(5000, 8)) == pytest.approx(1, abs=0.01)
    x = torch.randn(30, 8, dtype=torch.float64)
    unit = x / x.norm(dim=1, keepdim=True)
    assert spread(x) == pytest.approx(float((unit.var(0, correction=0).mean() * 8).sqrt()))


def test_sharpness_of_targets():
    assert sharpness(torch.full((3, 4), 0.25)) == pytest.approx(0, abs=1e-6)
    assert sharpness(torch.eye(4)) == 1
    half = torch.tensor([[0.5, 0.5, 0, 0], [1, 0, 0, 0]])
    assert sharpness(half) == pytest.approx(1 - math.log(2) / 2 / math.log(4))


def test_usage_of_outputs():
    assert usage(torch.eye(4)) == pytest.approx(1)
    assert usage(torch.eye(4)[[0, 0, 0, 0]]) == pytest.approx(0)
    assert usage(torch.eye(100)[[3, 7, 3, 7]]) == pytest.approx((2 - 1) / (4 - 1))
