import numpy as np
import pytest
import torch
from skysense.finetune.gaps import Gaps, learn_gaps, patterns
from skysense.finetune.series import interpolate


def planted(pixels, columns=30, factors=3, noise=0.3, seed=0):
    """Series that follow a few factors, (N, D)."""
    random = np.random.default_rng(seed)
    loadings = np.random.default_rng(99).normal(size=(columns, factors))
    z, e = random.normal(size=(pixels, factors)), random.normal(size=(pixels, columns))
    return (5 + z @ loadings.T + noise * e).astype(np.float32)


def holes(shape, share=0.3, seed=1):
    return np.random.default_rng(seed).random(shape) >= share


def test_what_is_filled_in_is_the_expectation_of_a_normal_distribution_as_far_as_it_is_known():
    random = np.random.default_rng(0)
    mean, std, loadings, noise = (
        random.normal(size=6), random.uniform(0.5, 2, 6), random.normal(size=(6, 2)), random.uniform(0.05, 0.5, 6),
    )  # fmt: skip
    gaps = Gaps(*(torch.from_numpy(part).float() for part in (mean, std, loadings, noise)))
    x, seen = random.normal(size=(6, 60)), holes((6, 60), 0.5)
    seen[:, :2], seen[0] = [[True, False]] * 6, True
    filled = gaps.fill(x.astype(np.float32), seen)
    covariance = std[:, None] * (loadings @ loadings.T + np.diag(noise)) * std
    shares = []
    for pixel in range(60):
        o, u = seen[:, pixel], ~seen[:, pixel]
        slope = covariance[np.ix_(u, o)] @ np.linalg.inv(covariance[np.ix_(o, o)])
        expected = mean[u] + slope @ (x[o, pixel] - mean[o])
        rest = covariance[np.ix_(u, u)] - slope @ covariance[np.ix_(o, u)]
        left = np.diag(rest) / np.diag(covariance)[u]
        share = np.clip((0.9 - left) / 0.3, 0, 1)
        np.testing.assert_allclose(filled[u, pixel], share * expected + (1 - share) * x[u, pixel], atol=5e-4)
        assert np.array_equal(filled[o, pixel], x[o, pixel].astype(np.float32))
        shares += share.tolist()
    assert min(shares) == 0 and max(shares) == 1 and any(0 < share < 1 for share in shares)


def test_what_is_learned_from_pixels_with_gaps_fills_those_of_others():
    learned, other = planted(2000), planted(500, seed=7)
    gaps = learn_gaps(learned, holes(learned.shape))
    seen = holes(other.shape, seed=3)
    error = (gaps.fill(other.T, seen.T).T - other)[~seen]
    assert np.sqrt((error**2).mean()) < 0.45  # the noise alone is 0.3, and a column's own spread about 1.7
    assert abs(error.mean()) < 0.03


def curves(pixels, days, seed=0):
    """Seasons of pixels, (N, D)."""
    random = np.random.default_rng(seed)
    level, once, twice = random.normal(size=(3, pixels, 1))
    turn = 2 * np.pi * days / 365
    x = level + once * np.sin(turn) + twice * np.cos(2 * turn) + 0.1 * random.normal(size=(pixels, len(days)))
    return x.astype(np.float32)


@pytest.mark.parametrize("overlap", [0, 0.05, 0.3])
def test_the_dates_of_two_orbits_are_filled_better_than_by_lines(overlap):
    days = np.arange(0, 180, 5)
    x, random = curves(3000, days), np.random.default_rng(1)
    west, both = (random.random((3000, 1)) < share for share in (0.5, overlap))
    even = np.arange(len(days)) % 2 == 0
    seen = (np.where(even, west, ~west) | both) & (random.random(x.shape) > 0.2)
    line = interpolate(x.T[:, None, None], seen.T[:, None], days, days)[:, 0, 0].T
    found = learn_gaps(line, seen).fill(line.T, seen.T).T
    errors = [np.sqrt(((made - x)[~seen] ** 2).mean()) for made in (found, line)]
    assert errors[0] < errors[1]


def test_a_column_of_which_nothing_was_learned_keeps_its_line_and_disturbs_nothing():
    x = planted(300)
    seen = holes(x.shape)
    without = learn_gaps(np.delete(x, 4, axis=1), np.delete(seen, 4, axis=1))
    seen[:, 4] = False
    gaps = learn_gaps(x, seen)
    found = gaps.fill(x.T, seen.T)
    assert np.array_equal(found[4], x[:, 4])
    others = without.fill(np.delete(x, 4, axis=1).T, np.delete(seen, 4, axis=1).T)
    np.testing.assert_allclose(np.delete(found, 4, axis=0), others, atol=0.05)


def test_columns_that_no_pixel_has_shown_together_keep_their_lines():
    """Two orbits, each of which sees its half of a scene on its own days."""
    x = planted(2000, noise=0.05)
    seen = np.zeros(x.shape, bool)
    seen[::2, ::2], seen[1::2, 1::2] = True, True
    gaps = learn_gaps(x, seen)
    line = x + 0.1
    found = gaps.fill(line.T, seen.T).T
    spread = x.std(axis=0)
    assert np.abs(found - line)[~seen].mean() < 0.2 * spread.mean()


def test_a_few_absurd_values_do_not_matter_to_the_others():
    x = planted(2000, columns=30) - 5
    seen = holes(x.shape)
    odd = x.copy()
    odd[:2] = -2000
    one, two = (learn_gaps(values, seen).fill(x.T, seen.T)[~seen.T] for values in (x, odd))
    assert np.sqrt(((one - two) ** 2).mean()) < 0.1


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


def test_a_part_is_of_some_columns():
    gaps = learn_gaps(planted(300), holes((300, 30)))
    kept = np.arange(30) % 3 > 0
    part = gaps.part(kept)
    assert torch.equal(part.loadings, gaps.loadings[torch.from_numpy(kept)]) and part.told.all()


@pytest.mark.parametrize("columns", [1, 12, 32, 33, 100])
def test_pixels_with_the_same_gaps_are_found_whatever_the_number_of_columns(columns):
    some = np.random.default_rng(columns).random((columns, 40)) < 0.5
    seen = np.repeat(some[:, np.random.default_rng(0).integers(0, 40, 500)], 3, axis=0)

    first, number = patterns(seen)

    assert (seen[:, first[number]] == seen).all()
    assert len(first) == len(np.unique(seen, axis=1).T)
