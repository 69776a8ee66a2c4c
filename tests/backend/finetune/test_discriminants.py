"""The equations of the discriminants, and what pixels around few polygons do to their class means."""

import numpy as np
import pytest
import torch
from skysense.finetune.discriminants import (
    SHRINKAGE,
    SHRINKAGE_OF_FEW,
    discriminants,
    discriminants_among,
)


@pytest.mark.parametrize(("pixels", "dims"), [(60, 20), (30, 50)])  # more equations than unknowns, and fewer
def test_discriminants_equal_their_equations(pixels, dims):
    random = np.random.default_rng(3)
    x, y = random.normal(size=(pixels, dims)), np.arange(pixels) % 3
    y[:5] = 0  # not equally many of each class
    weight, bias = discriminants(torch.from_numpy(x), torch.from_numpy(y), 3)
    means = np.stack([x[y == k].mean(0) for k in range(3)])
    within = sum(np.cov(x[y == k].T, bias=True) for k in range(3)) / 3
    shrunk = (1 - SHRINKAGE) * within + SHRINKAGE * np.trace(within) / dims * np.eye(dims)
    expected = np.linalg.solve(shrunk, means.T).T
    np.testing.assert_allclose(weight, expected, rtol=1e-9)
    np.testing.assert_allclose(bias, -(expected * means).sum(1) / 2, rtol=1e-9)


def test_a_class_without_a_pixel_is_never_given():
    x = torch.randn(40, 4, dtype=torch.float64)
    weight, bias = discriminants(x, torch.arange(40) % 2 * 2, 3)
    assert torch.isfinite(weight).all() and set((x @ weight.T + bias).argmax(1).tolist()) == {0, 2}


def _drawn(seed=0, classes=3, dims=4):
    """Pixels of a polygon a class, and 200 around them; float64."""
    random = np.random.default_rng(seed)
    target = np.repeat(np.arange(classes), 15)
    x = random.normal(size=(classes, dims))[target] * 2 + random.normal(size=(len(target), dims)) * 0.5
    return (
        torch.from_numpy(x),
        torch.from_numpy(target),
        torch.from_numpy(random.normal(size=(200, dims)) * 2),
    )


def test_means_follow_the_pixels_around_by_expectation_maximisation():
    x, target, around = _drawn()
    polygons, temperature = torch.tensor([1, 2, 4]), 5.0
    weight, bias = discriminants_among(x, target, polygons, around, temperature)
    labelled, y, pixels = x.numpy(), target.numpy(), around.numpy()
    within = sum(np.cov(labelled[y == k].T, bias=True) for k in range(3)) / 3
    shrunk = (1 - SHRINKAGE_OF_FEW) * within + SHRINKAGE_OF_FEW * np.trace(within) / 4 * np.eye(4)
    inverse = np.linalg.inv(shrunk)
    drawn = np.stack([labelled[y == k].mean(0) for k in range(3)])
    means = drawn.copy()
    for _ in range(10):
        away = pixels[:, None] - means
        likely = np.exp(-np.einsum("mkf,fg,mkg->mk", away, inverse, away) / 2 / temperature)
        given = likely / likely.sum(1, keepdims=True)
        for k, n in enumerate((1, 2, 4)):
            of_class = (given[:, k, None] * pixels).sum(0) / given[:, k].sum()
            means[k] = (drawn[k] + of_class / n**2) / (1 + 1 / n**2)
    np.testing.assert_allclose(weight, means @ inverse, rtol=1e-8)
    np.testing.assert_allclose(bias, -np.einsum("kf,fg,kg->k", means, inverse, means) / 2, rtol=1e-8)


def test_of_many_polygons_the_means_stay():
    x, target, around = _drawn()
    weight, bias = discriminants_among(x, target, torch.full((3,), 10_000), around, 5.0)
    away, _ = discriminants_among(x, target, torch.full((3,), 10_000), around + 100, 5.0)
    torch.testing.assert_close(weight, away, rtol=1e-5, atol=1e-5)
    middle = torch.stack([x[target == k].mean(0) for k in range(3)])
    torch.testing.assert_close(bias, -(weight * middle).sum(1) / 2, rtol=1e-6, atol=1e-6)


def test_a_class_that_no_pixel_around_is_like_stays_where_the_nearest_are():
    # The third class is so far off that in single precision nothing is given to it.
    x = torch.tensor([[0.0, 0.1], [0, -0.1], [4, 0.1], [4, -0.1], [1e3, 0.1], [1e3, -0.1]])
    around = torch.randn(100, 2, generator=torch.Generator().manual_seed(0)) * 0.3
    target = torch.tensor([0, 0, 1, 1, 2, 2])
    weight, bias = discriminants_among(x, target, torch.ones(3, dtype=torch.int64), around, 1.0)
    assert torch.isfinite(weight).all() and torch.isfinite(bias).all()
    assert (x @ weight.T + bias).argmax(1).tolist() == target.tolist()


def test_single_points_have_no_spread_and_are_told_apart_by_the_nearest():
    x, around = torch.tensor([[0.0, 0], [4, 0]]), torch.tensor([[0.0, 1], [4, 1]] * 50)
    weight, bias = discriminants_among(x, torch.tensor([0, 1]), torch.ones(2, dtype=torch.int64), around, 0.1)
    assert (torch.tensor([[1.5, 3.0], [2.5, -3]]) @ weight.T + bias).argmax(1).tolist() == [0, 1]
