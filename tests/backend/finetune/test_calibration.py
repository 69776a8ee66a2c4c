"""Temperatures of held-out scores: found exactly, and shown on pixels that have not told them."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skysense.finetune.calibration import apart, cross_fitted, fit_temperature
from skysense.finetune.features import Block
from skysense.finetune.head import fit_head, held_out_votes
from skysense.finetune.judging import held_out_folds, reliability


def fold(*test):
    return np.setdiff1d(np.arange(6), test), np.array(test)


@pytest.mark.parametrize("scale", [0.01, 1.0, 7.0, 300.0, 1e5])
def test_the_temperature_is_the_best_of_all(scale):
    random = torch.Generator().manual_seed(1)
    target = torch.arange(300) % 3
    scores = scale * (F.one_hot(target, 3) + torch.randn(300, 3, generator=random))
    all_ = torch.logspace(0, 3, 121)
    losses = torch.stack([F.cross_entropy(scores / t, target, label_smoothing=0.02) for t in all_])
    assert fit_temperature(scores, target) == float(all_[losses.argmin()])


def test_each_fold_is_calibrated_by_the_others():
    folds = [fold(0, 1), fold(2), fold(4, 3)]
    assert [(test.tolist(), others.tolist()) for test, others in apart(folds)] == [
        ([0, 1], [2, 3, 4]),
        ([2], [0, 1, 3, 4]),
        ([4, 3], [0, 1, 2]),
    ]
    scores = 9 * torch.eye(2)[[0, 1, 1, 0, 0, 1]]
    target = torch.tensor([0, 1, 1, 1, 1, 0])  # the last fold's are wrong
    given = cross_fitted(scores, target, folds)
    assert np.isnan(given[5]).all()
    sure = fit_temperature(scores[:3], target[:3])
    np.testing.assert_allclose(given[3, 0], torch.sigmoid(torch.tensor(9 / sure)), rtol=1e-6)
    assert given[3, 0] > 0.98  # it is off, and no temperature of its own hides that
    assert given[0, 0] < 0.8


def test_a_single_fold_has_nothing_else_to_go_by():
    ((test, others),) = apart([fold(1, 2)])
    assert test.tolist() == others.tolist() == [1, 2]


def samples():
    random = np.random.default_rng(3)
    groups = np.repeat(np.arange(12), 10)
    ids = groups % 2 + 1
    x = (
        1.5 * ids[:, None] + random.normal(size=(12, 6))[groups] + 0.5 * random.normal(size=(120, 6))
    ).astype(np.float32)
    return x, ids, groups, [held_out_folds(ids, groups), held_out_folds(ids, groups, drawing=1)]


def test_what_is_held_out_has_the_temperature_of_the_other_folds_and_the_head_that_of_all():
    x, ids, _, repeats = samples()
    blocks, target = (Block("fused", 6),), torch.from_numpy(ids - 1)
    head, held_out = fit_head(x, ids, repeats, blocks)
    # A fold alone has its own temperature, by which its scores are known but for a constant.
    scores = torch.full((2, 120, 2), torch.nan)
    for number, folds in enumerate(repeats):
        for one in folds:
            own, (given,) = fit_head(x, ids, [[one]], blocks)
            scores[number, one[1]] = torch.from_numpy(given)[one[1]].log() * own.temperature
    assert head.temperature == fit_temperature(scores.flatten(0, 1), target.repeat(2))
    temperatures = set()
    for number, folds in enumerate(repeats):
        for test, others in apart(folds):
            temperature = fit_temperature(scores[:, others].flatten(0, 1), target[others].repeat(2))
            expected = torch.softmax(scores[number, test] / temperature, 1)
            np.testing.assert_allclose(held_out[number][test], expected, rtol=1e-3, atol=1e-6)
            temperatures.add(temperature)
    assert len(temperatures) > 1


def test_a_fold_has_no_say_in_the_gain_of_its_trees():
    x, ids, _, repeats = samples()
    blocks = (Block("s2.series", 6),)
    votes = held_out_votes(x, ids, repeats, blocks)
    test = repeats[0][0][1]

    def lead(factor):
        own = [item.clone() for item in votes]
        for item in own:
            item[test] *= factor
        given = fit_head(x, ids, repeats, blocks, votes=own)[1][0][test].astype(np.float64)
        return np.log(given[:, 0] / given[:, 1])

    # Else it would not be linear in the votes.
    np.testing.assert_allclose(lead(2) - lead(1), lead(1) - lead(0), rtol=1e-2, atol=1e-3)


def test_reliability_is_not_flattered_where_places_differ():
    """Two folds, one right and one wrong: their own temperature would make both as sure as they are right."""
    target = np.repeat([0, 1], 40)
    scores = 4 * torch.eye(2)[torch.from_numpy(np.where(np.arange(80) % 40 < 20, target, 1 - target))]
    folds = [
        (np.flatnonzero(half), np.flatnonzero(~half))
        for half in (np.arange(80) % 40 < 20, np.arange(80) % 40 >= 20)
    ]
    flattering = torch.softmax(scores / fit_temperature(scores, torch.from_numpy(target)), 1).numpy()
    honest = cross_fitted(scores, torch.from_numpy(target), folds)
    places = np.arange(80) // 10
    assert reliability(target, places, [flattering])["error"] < 0.01
    assert reliability(target, places, [honest])["error"] > 0.4
