import numpy as np
import pytest
import torch
from skysense.finetune.discriminants import discriminants, discriminants_among
from skysense.finetune.features import Block
from skysense.finetune.head import (
    DEFAULT_TEMPERATURE,
    MODEL_VARIANCE,
    Head,
    fit_head,
    held_out_votes,
)
from skysense.finetune.judging import held_out_folds
from skysense.finetune.trees import OF_PICTURES


def _samples(seed=0, polygons=8, per=12, classes=3, dims=20):
    random = np.random.default_rng(seed)
    centres = random.normal(size=(classes, dims)) * 1.5
    ids = np.repeat(np.arange(polygons * classes) % classes, per)
    groups = np.repeat(np.arange(polygons * classes), per)
    x = centres[ids] + random.normal(size=(len(ids), dims)) + 5
    return x.astype(np.float32), ids * 10 + 1, groups


def _blocks(dims):
    return (Block("a", 12), Block("b", dims - 12))


def _fit(x, ids, groups, blocks=None):
    head, held_out = fit_head(x, ids, [held_out_folds(ids, groups)], blocks or _blocks(20))
    return head, held_out[0]


def _predict(head: Head, x):
    scores = torch.from_numpy(x) @ head.weight.T + head.bias
    return np.array(head.ids)[scores.argmax(1).numpy()]


def _given(head: Head, held_out):
    return np.array(head.ids)[held_out.argmax(1)]


def test_separable_classes_are_learnt_and_generalise():
    x, ids, groups = _samples()
    head, held_out = _fit(x, ids, groups)
    assert head.ids == (1, 11, 21)
    assert (_predict(head, x) == ids).mean() > 0.98
    np.testing.assert_allclose(held_out.sum(1), 1, rtol=1e-5)
    assert (_given(head, held_out) == ids).mean() > 0.95


def test_the_fit_needs_no_luck():
    x, ids, groups = _samples()
    one, two = _fit(x, ids, groups)[0], _fit(x, ids, groups)[0]
    assert torch.equal(one.weight, two.weight) and one.temperature == two.temperature


def test_scaling_or_shifting_a_feature_changes_nothing():
    x, ids, groups = _samples()
    moved = x * np.linspace(0.1, 30, 20, dtype=np.float32) + 100
    one, two = _fit(x, ids, groups)[0], _fit(moved, ids, groups)[0]
    assert (_predict(one, x) == _predict(two, moved)).mean() > 0.995


def test_a_constant_feature_has_no_weight():
    x, ids, groups = _samples()
    x[:, 3] = 7
    head, _ = _fit(x, ids, groups)
    assert head.weight[:, 3].abs().max() == 0 and torch.isfinite(head.weight).all()


def test_rare_classes_are_not_drowned():
    x, ids, groups = _samples(classes=2)
    keep = (ids == 1) | (np.arange(len(ids)) % 12 == 0)
    head, _ = _fit(x[keep], ids[keep], groups[keep])
    assert (_predict(head, x)[ids == 11] == 11).mean() > 0.9


def test_pixels_are_held_out_by_polygons():
    # Features that identify the polygon but say nothing of the class: memorised perfectly, worthless elsewhere.
    random = np.random.default_rng(1)
    groups = np.repeat(np.arange(16), 20)
    ids = groups % 2 + 1
    x = np.eye(16, dtype=np.float32)[groups] * 5 + random.normal(size=(320, 16)).astype(np.float32) * 0.1
    head, held_out = _fit(x, ids, groups, (Block("a", 16),))
    assert (_predict(head, x) == ids).mean() == 1
    assert (_given(head, held_out) == ids).mean() < 0.7
    # Confidence follows the held-out truth, not the training fit.
    assert head.temperature > 1


def test_one_polygon_a_class_is_trained_but_nothing_is_held_out():
    x, ids, groups = _samples(polygons=1)
    head, held_out = _fit(x, ids, groups)
    assert np.isnan(held_out).all() and head.temperature == pytest.approx(DEFAULT_TEMPERATURE * 20**0.5)
    assert (_predict(head, x) == ids).mean() > 0.98


def test_header_and_tensors_give_the_head_back():
    x, ids, groups = _samples()
    head, _ = _fit(x, ids, groups)
    again = Head.load(head.header(), head.tensors())
    assert again.blocks == head.blocks and again.ids == head.ids and again.temperature == head.temperature
    assert torch.equal(again.weight, head.weight) and torch.equal(again.bias, head.bias)


def test_single_points_are_told_apart_by_the_nearest():
    x, ids = np.array([[0.0, 0], [4, 0], [0, 4]], np.float32), np.array([1, 2, 3])
    head, _ = fit_head(x, ids, [[]], (Block("s2.series", 2),))
    near = np.array([[0.5, 0.4], [3, 0.2], [0.1, 2.9]], np.float32)
    assert _predict(head, near).tolist() == [1, 2, 3]


def test_the_models_features_together_weigh_less_than_the_values_of_the_imagery():
    # Two groups that contradict each other equally strongly: the spectral one wins.
    ids = np.repeat([1, 2], 30)
    random = np.random.default_rng(0)
    side = (ids * 2 - 3)[:, None]
    spectral, model = (side + random.normal(size=(60, n)) * 0.1 for n in (32, 32))
    x = np.concatenate([model, spectral], 1).astype(np.float32)
    blocks = (Block("fused", 32), Block("s2.series", 32))
    contradiction = np.concatenate([np.full((1, 32), -1.0), np.full((1, 32), 1.0)], 1).astype(np.float32)
    head, _ = fit_head(x, ids, [held_out_folds(ids, np.arange(60) // 10)], blocks, trees=False)
    assert MODEL_VARIANCE < 1 and _predict(head, contradiction).tolist() == [2]


def test_with_too_few_polygons_to_hold_some_out_the_models_features_weigh_as_much():
    x = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
    blocks, ids = (Block("fused", 5), Block("s2.series", 3)), np.repeat([1, 2], 20)
    head, _ = fit_head(x, ids, [[]], blocks)
    scaled = torch.from_numpy((x - x.mean(0)) / x.std(0, ddof=1)).double()
    shares = torch.tensor([1 / 5] * 5 + [1 / 3] * 3).double().sqrt()
    weight, _ = discriminants(scaled * shares, torch.from_numpy(ids - 1), 2)
    expected = weight * shares / torch.from_numpy(x.std(0, ddof=1))
    np.testing.assert_allclose(head.weight, expected, rtol=1e-3)


def _few(polygons, random):
    """Two clouds, around (0, 0) and (6, 6), and 150 pixels of each; polygons of 10 pixels at one side of either."""
    groups = np.repeat(np.arange(2 * polygons), 10)
    ids = groups % 2 + 1
    x = np.where(ids == 1, 2.8, 8.8)[:, None] + random.normal(size=(len(ids), 2)) * 0.3
    around = 6 * (np.arange(300) % 2)[:, None] + random.normal(size=(300, 2))
    return x.astype(np.float32), ids, groups, around.astype(np.float32)


def test_of_few_polygons_the_pixels_around_take_part():
    x, ids, groups, around = _few(1, np.random.default_rng(0))
    blocks, true = (Block("s2.series", 2),), np.arange(300) % 2 + 1
    alone, _ = fit_head(x, ids, [[]], blocks)
    beside, held_out = fit_head(x, ids, [[]], blocks, polygons=groups, around=around)
    assert (_predict(alone, around) == true).mean() < 0.85 < 0.97 < (_predict(beside, around) == true).mean()
    assert np.isnan(held_out).all()
    # By the equations, on what is standardised by the pixels around.
    mean, scale = around.mean(0), around.std(0, ddof=1) * 2**0.5
    z, u = (torch.from_numpy((part - mean) / scale) for part in (x, around))
    target, each = torch.from_numpy(ids - 1), torch.ones(2, dtype=torch.int64)
    weight, bias = discriminants_among(z, target, each, u, alone.temperature)
    expected = weight.numpy() / scale
    np.testing.assert_allclose(beside.weight, expected, rtol=1e-3)
    np.testing.assert_allclose(beside.bias, bias.numpy() - expected @ mean, rtol=1e-3)
    lead = (u @ (weight[0] - weight[1]) + bias[0] - bias[1]).abs().median()
    assert beside.temperature == pytest.approx(float(lead), rel=1e-3)


def test_more_polygons_make_the_head_surer():
    x, ids, groups, around = _few(2, np.random.default_rng(0))
    blocks = (Block("s2.series", 2),)
    two, _ = fit_head(x, ids, [[]], blocks, polygons=groups, around=around)
    scores = torch.from_numpy(around) @ two.weight.T + two.bias
    lead = (scores[:, 0] - scores[:, 1]).abs().median()
    assert two.temperature == pytest.approx(float(lead) / 2**0.5, rel=1e-3)


# Some can be held out; hardly anything is around.
@pytest.mark.parametrize(("polygons", "pixels"), [(3, 300), (1, 99)])
def test_else_the_pixels_around_change_nothing(polygons, pixels):
    x, ids, groups, around = _few(polygons, np.random.default_rng(0))
    repeats, blocks = [held_out_folds(ids, groups)], (Block("fused", 2),)
    assert bool(repeats[0]) == (polygons > 1)
    alone, _ = fit_head(x, ids, repeats, blocks)
    beside, _ = fit_head(x, ids, repeats, blocks, polygons=groups, around=around[:pixels])
    assert torch.equal(alone.weight, beside.weight) and torch.equal(alone.bias, beside.bias)


def test_trees_take_part_where_classes_are_no_single_clouds():
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 10)
    corner = groups % 4
    ids = np.where((corner == 0) | (corner == 3), 1, 2)  # opposite corners of a square: no plane parts them
    centre = np.stack([corner % 2, corner // 2], 1) * 6.0
    x = (centre + random.normal(size=(400, 2))).astype(np.float32)
    head, held_out = _fit(x, ids, groups, (Block("s2.series", 2),))
    assert head.trees is not None and head.gain > 0
    assert (_given(head, held_out) == ids).mean() > 0.95
    again = Head.load(head.header(), head.tensors())
    assert again.gain == head.gain and torch.equal(again.trees.probability, head.trees.probability)


def test_a_picture_has_fewer_trees():
    x, ids, groups = _samples()
    head, _ = _fit(x, ids, groups, (Block("hr.bands", 20),))
    assert len(head.trees.roots) == OF_PICTURES.trees and int(head.trees.depth) <= OF_PICTURES.depth


def test_trees_stay_out_of_single_polygons_of_hr_beside_series_and_of_the_models_features():
    x, ids, groups = _samples(polygons=1)
    assert _fit(x, ids, groups, (Block("s2.series", 20),))[0].trees is None
    x, ids, groups = _samples()
    assert _fit(x, ids, groups, (Block("s2.series", 20),))[0].trees is not None
    assert _fit(x, ids, groups, (Block("hr.bands", 10), Block("s2.series", 10)))[0].trees is None
    assert _fit(x, ids, groups, (Block("fused", 20),))[0].trees is None


def test_votes_that_are_known_are_not_counted_again():
    x, ids, groups = _samples()
    blocks = (Block("fused", 12), Block("s2.series", 8))
    repeats = [held_out_folds(ids, groups), held_out_folds(ids, groups, drawing=1)]
    votes = held_out_votes(x, ids, repeats, blocks)
    assert [v.shape for v in votes] == [(len(ids), 3)] * 2
    counted, held_out = fit_head(x, ids, repeats, blocks)
    known, given = fit_head(x, ids, repeats, blocks, votes=votes)
    assert (counted.gain, counted.temperature) == (known.gain, known.temperature)
    assert all((one == two).all() for one, two in zip(held_out, given))
