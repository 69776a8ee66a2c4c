import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skysense.finetune.features import FeatureMap, at_pixels, over_core


@pytest.mark.parametrize(
    ("stride", "origin", "core"), [(1, 4, 8), (2, 2, 12), (4, 8, 24), (8, 8, 24), (32, 32, 64), (32, 4, 16)]
)
def test_scores_over_the_core_equal_scores_of_interpolated_features(stride, origin, core):
    random = torch.Generator().manual_seed(0)
    side = -(-(core + 2 * origin) // stride)
    values = torch.randn(5, side, side, generator=random, dtype=torch.float64)
    weight = torch.randn(3, 5, generator=random, dtype=torch.float64)
    rows, cols = (a.ravel() for a in np.meshgrid(np.arange(core), np.arange(core), indexing="ij"))
    features = at_pixels(FeatureMap(values, stride, origin), rows, cols)
    scored = torch.einsum("kc,chw->khw", weight, values)
    full = over_core(FeatureMap(scored, stride, origin), core)
    assert full.shape == (3, core, core)
    torch.testing.assert_close(full.flatten(1).T, features.double() @ weight.T, rtol=1e-5, atol=1e-5)


def test_interpolation_is_bilinear_between_pixel_centres():
    values = torch.arange(16.0).reshape(1, 4, 4)
    whole = F.interpolate(values[None], scale_factor=2, mode="bilinear", align_corners=False)[0]
    rows, cols = np.array([0, 3, 5]), np.array([1, 4, 2])
    got = at_pixels(FeatureMap(values, 2, 1), rows, cols)
    assert torch.allclose(got[:, 0], whole[0, rows + 1, cols + 1])
