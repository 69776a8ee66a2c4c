import numpy as np
import torch
from skysense.raster.neighbourhood import local_mean


def test_means_are_over_the_valid_pixels_of_the_window():
    random = np.random.default_rng(0)
    values, valid = random.normal(size=(2, 9, 7)), random.random((9, 7)) > 0.4
    valid[:3, :3] = False
    got = local_mean(torch.from_numpy(values), torch.from_numpy(valid), 3).numpy()
    for row in range(9):
        for col in range(7):
            window = slice(max(row - 1, 0), row + 2), slice(max(col - 1, 0), col + 2)
            chosen = valid[window]
            expected = values[:, *window][:, chosen].mean(1) if chosen.any() else np.zeros(2)
            np.testing.assert_allclose(got[:, row, col], expected, atol=1e-12)


def test_what_stands_under_an_invalid_pixel_never_matters():
    values, valid = torch.ones(1, 5, 5), torch.ones(5, 5, dtype=torch.bool)
    valid[2, 2] = False
    one = local_mean(values, valid, 5)
    values[0, 2, 2] = float("nan")
    assert torch.equal(local_mean(values, valid, 5), one) and torch.equal(one, torch.ones(1, 5, 5))
