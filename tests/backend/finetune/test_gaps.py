import numpy as np
import pytest
import torch
from skysense.finetune.gaps import Gaps, learn_gaps


def planted(pixels, columns=30, factors=3, noise=0.3, seed=0):
    """Series that follow a few factors, (N, D)."""
    random = np.random.default_rng(seed)
    loadings = np.random.default_rng(99).normal(size=(columns, factors))
    z, e = random.normal(size=(pixels, factors)), random.normal(size=(pixels, columns))
    return (5 + z @ loadings.T + noise * e).astype(np.float32)


def holes(shape, share=0.3, seed=1):
    return np.random.default_rng(seed).random(shape) >= share


def test_what_is_filled_in_is_the_expectation_of_a_normal_distribution_given_what_was_seen():
    random = np.random.default_rng(0)
    mean, std, loadings, noise = (
        random.normal(size=6), random.uniform(0.5, 2, 6), random.normal(size=(6, 2)), random.uniform(0.1, 1, 6),
    )  # fmt: skip
    gaps = Gaps(*(torch.from_numpy(part).float() for part in (mean, std, loadings, noise)))
    x, seen = random.normal(size=(6, 40)), holes((6, 40))
    seen[:, :2] = [[True, False]] * 6
    filled = gaps.fill(x.astype(np.float32), seen)
    covariance = std[:, None] * (loadings @ loadings.T + np.diag(noise)) * std
    for pixel in range(40):
        o, u = seen[:, pixel], ~seen[:, pixel]
        slope = covariance[np.ix_(u, o)] @ np.linalg.inv(covariance[np.ix_(o, o)])
        expected = mean[u] + slope @ (x[o, pixel] - mean[o])
        np.testing.assert_allclose(filled[u, pixel], expected, atol=2e-4)
        assert np.array_equal(filled[o, pixel], x[o, pixel].astype(np.float32))


def test_what_is_learned_from_pixels_with_gaps_fills_those_of_others():
    learned, other = planted(2000), planted(500, seed=7)
    gaps = learn_gaps(learned, holes(learned.shape))
    seen = holes(other.shape, seed=3)
    error = (gaps.fill(other.T, seen.T).T - other)[~seen]
    assert np.sqrt((error**2).mean()) < 0.45  # the noise alone is 0.3, and a column's own spread about 1.7
    assert abs(error.mean()) < 0.03


def test_what_lies_in_a_gap_never_matters():
    x = planted(300)
    seen = holes(x.shape)
    other = np.where(seen, x, np.nan).astype(np.float32)
    one, two = learn_gaps(x, seen), learn_gaps(other, seen)
    assert one.digest == two.digest
    assert np.array_equal(one.fill(x.T, seen.T), two.fill(other.T, seen.T))


def test_a_column_that_was_never_seen_follows_nothing_and_disturbs_nothing():
    x = planted(300)
    seen = holes(x.shape)
    seen[:, 4] = False
    gaps = learn_gaps(x, seen)
    filled = gaps.fill(x.T, seen.T)
    assert (filled[4] == 0).all()
    assert all(torch.isfinite(part).all() for part in vars(gaps).values())


@pytest.mark.parametrize("pixels", [0, 1, 5])
def test_of_few_pixels_nothing_is_learned_and_nothing_breaks(pixels):
    x = planted(pixels)
    gaps = learn_gaps(x, np.ones(x.shape, bool))
    assert np.isfinite(gaps.fill(planted(3).T, holes((30, 3)))).all()


def test_pixels_do_not_depend_on_each_other():
    x, gaps = planted(200), learn_gaps(planted(500), holes((500, 30)))
    seen = holes(x.shape)
    whole = gaps.fill(x.T, seen.T)
    np.testing.assert_allclose(gaps.fill(x[50:60].T, seen[50:60].T), whole[:, 50:60], atol=1e-5)


def test_a_model_file_holds_it():
    gaps = learn_gaps(planted(100), holes((100, 30)))
    again = Gaps.load(gaps.tensors("series.s2."), "series.s2.")
    assert again is not None and again.digest == gaps.digest
    assert Gaps.load(gaps.tensors("series.s2."), "series.s1.") is None
