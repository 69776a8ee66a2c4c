"""Labels with a number, and the head and the judgement for numbers."""

import numpy as np
import pytest
import shapely
import torch
from label_files import spot, square, write
from skysense.errors import InputError
from skysense.finetune.features import Block
from skysense.finetune.labels import PixelLabels
from skysense.finetune.train_values import _PIXELS, _drawn
from skysense.finetune.trees import fit_value_trees
from skysense.finetune.value_head import (
    ValueHead,
    _factor,
    fit_value_head,
    polygon_means,
    polygon_weights,
    ridge,
)
from skysense.finetune.value_judging import forest_values, judge_values, value_blocks, value_folds
from skysense.finetune.values import read_values
from skysense.jobs.control import JobControl
from skysense.raster.grid import Lattice, Window
from skysense.scene.acquisition import Labels

CRS = "EPSG:32632"


def read(path, field="height"):
    return read_values(Labels(path, field), CRS)


def test_polygons_and_points_with_numbers(tmp_path):
    shapes = [square(0, 0, 2, 2), square(4, 0, 2, 2), spot(8.5, 0.5), square(12, 0, 2, 2)]
    path = write(tmp_path / "l.gpkg", shapes, height=[7.5, np.nan, -2.0, 7.5])
    polygons, numbers = read(path)
    assert numbers.tolist() == [-2.0, 7.5] and polygons.ids.tolist() == [2, 1, 2]
    assert any("1 without a number" in note for note in polygons.notes) and not polygons.names


def test_whole_numbers_are_numbers(tmp_path):
    polygons, numbers = read(
        write(tmp_path / "l.gpkg", [square(0, 0, 1, 1), square(4, 0, 1, 1)], height=[3, 400])
    )
    assert numbers.tolist() == [3, 400] and polygons.ids.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["12.5", "tall"], r"the field 'height' holds no number but '12.5' in row 1"),
        ([np.inf, 2.0], r"the field 'height' holds inf in row 1"),
        ([np.nan, np.nan], r"is empty in every feature"),
        ([4.0, 4.0], r"holds only one number \(4\)"),
    ],
)
def test_what_is_no_number_is_refused(tmp_path, values, message):
    path = write(tmp_path / "l.gpkg", [square(0, 0, 2, 2), square(4, 0, 2, 2)], height=values)
    with pytest.raises(InputError, match=message):
        read(path)


def test_dates_are_no_numbers_and_the_row_is_named(tmp_path):
    when = np.array(["NaT", "2020-05-01"], "datetime64[D]")
    path = write(tmp_path / "l.gpkg", [square(0, 0, 2, 2), square(4, 0, 2, 2)], height=when)
    with pytest.raises(InputError, match=r"holds no number but .* in row 2"):
        read(path)


def test_the_field_must_be_there(tmp_path):
    path = write(tmp_path / "l.gpkg", [square(0, 0, 2, 2)], height=[1.0])
    with pytest.raises(InputError, match=r"has no field 'yield'.*Choose the field that holds the number"):
        read(path, "yield")


def test_pixels_of_two_numbers_are_in_dispute_and_more_than_255_numbers_are_told_apart(tmp_path):
    shapes = [square(0, 0, 4, 1), square(3, 0, 4, 1), *(square(0, 2 + n, 1, 1) for n in range(300))]
    polygons, numbers = read(write(tmp_path / "l.gpkg", shapes, height=[0.25, 0.5, *range(1, 301)]))
    pixels, disputes = PixelLabels(polygons).within(
        Lattice(CRS, 10.0).grid(Window(-540_000, 50_000, 310, 10))
    )
    assert disputes.total() == 1 and len(pixels.rows) == 6 + 300
    assert sorted(numbers[pixels.ids - 1]) == [0.25] * 3 + [0.5] * 3 + list(range(1, 301))


def test_ridge_solves_its_equation_both_ways():
    random = np.random.default_rng(0)
    for n, f in ((30, 5), (6, 12)):
        x, y, w = (torch.from_numpy(random.random(shape)) for shape in ((n, f), n, n))
        for penalty, (slope, offset) in zip((1e-3, 0.5), ridge(x, y, w, (1e-3, 0.5))):
            p = w / w.sum()
            error = x @ slope + offset - y
            # where the derivatives of the penalised sum are 0
            assert abs(float(p @ error)) < 1e-10
            assert (x.T @ (p * error) + penalty * slope).abs().max() < 1e-10


def test_polygons_weigh_alike():
    polygons = np.array([5, 5, 5, 2])
    assert polygon_weights(polygons).tolist() == [2 / 3, 2 / 3, 2 / 3, 2.0]
    assert polygon_means(np.array([1.0, 2.0, 6.0, 9.0]), polygons).tolist() == [9.0, 3.0]


def test_trees_of_numbers_are_those_of_scikit_learn_and_tell_the_spread():
    random = np.random.default_rng(0)
    x = random.random((300, 3)).astype(np.float32)
    y = (x[:, 0] > 0.5) * 2.0 - 1 + random.normal(0, 0.1, 300)
    means = fit_value_trees(x, y, np.ones(300)).means(torch.from_numpy(x))
    assert np.abs(means[:, 0].numpy() - y).mean() < 0.2
    variance = means[:, 1] - means[:, 0] ** 2
    # Near the step trees disagree.
    near = np.abs(x[:, 0] - 0.5) < 0.03
    assert variance.min() > -1e-5 and variance[near].mean() > 2 * variance[~near].mean()


def plots(noise, seed=0, number=40, pixels=9):
    """Features (N, F), numbers, polygons (a square each, apart) and blocks: the first spectral feature is the number."""
    random = np.random.default_rng(seed)
    value = random.uniform(10, 30, number)
    polygons = np.repeat(np.arange(number), pixels)
    x = random.normal(0, 1, (number * pixels, 6)).astype(np.float32)
    x[:, 2] = value[polygons] / 10 + noise * random.normal(0, 1, len(polygons))
    shapes = np.array([square(10 * n, 0, 3, 3) for n in range(number)])
    return x, value[polygons], polygons, shapes, (Block("fused", 2), Block("s2.series", 4))


def test_a_number_that_shows_is_learned_and_judged():
    x, values, polygons, shapes, blocks = plots(0.05)
    repeats = value_folds(values, polygons, shapes, 10.0)
    assert len(repeats) == 3
    for folds in repeats:
        assert sorted(np.concatenate([test for _, test in folds]).tolist()) == list(range(len(x)))
        for train, test in folds:
            assert not set(polygons[train]) & set(polygons[test])
            assert values[test].min() < 17 and values[test].max() > 23  # small and large ones in each
    head, held_out = fit_value_head(x, values, polygons, repeats, blocks)
    report = judge_values(values, polygons, held_out, forest_values(x[:, 2:], values, polygons, repeats[0]))
    assert report["r2"] > 0.95 and report["rmse"] < 1.5 and abs(report["bias"]) < 0.5
    for name in ("rmse", "mae", "r2", "bias"):
        low, high = report["intervals"][name]
        assert low <= report[name] <= high
    assert report["mae"] <= report["rmse"] and report["forest"]["rmse"] > 0
    errors = np.stack([polygon_means(item - values, polygons) for item in held_out])
    assert errors.shape == (3, 40)
    assert report["rmse"] == pytest.approx(np.sqrt((errors**2).mean()))
    assert report["bias"] == pytest.approx(errors.mean())
    assert report["r2"] == pytest.approx(1 - (errors**2).mean() / values[::9].var())
    shown = np.array([item["given"] - item["true"] for item in report["polygons"]])
    assert shown == pytest.approx(errors[0])
    # What is written and read back gives the same.
    again = ValueHead.load(head.header(), head.tensors())
    lines = torch.from_numpy(x) @ head.weight[0] + head.bias
    votes = head.trees.means(torch.from_numpy(x[:, 2:]))
    assert torch.equal(again.combine(lines, votes), head.combine(lines, votes))
    # Nine in ten held-out polygons lie within the half width: that is what it is fitted to.
    given = polygon_means(head.combine(lines, votes).numpy().astype(float), polygons)
    assert (
        head.factor is not None
        and (np.abs(given[:, 0] - values[::9]) <= head.factor * given[:, 1]).mean() >= 0.9
    )


def test_noise_is_not_believed():
    x, values, polygons, shapes, blocks = plots(0.0)
    x[:, 2] = np.random.default_rng(3).normal(0, 1, len(x))
    repeats = value_folds(values, polygons, shapes, 10.0)
    _, held_out = fit_value_head(x, values, polygons, repeats, blocks)
    report = judge_values(values, polygons, held_out, held_out[0])
    assert report["r2"] < 0.1 and report["forest"]["difference"]["interval"][0] <= 0


def test_numbers_stay_within_those_of_the_labels():
    x, values, polygons, shapes, blocks = plots(0.05)
    head, _ = fit_value_head(x, values, polygons, value_folds(values, polygons, shapes, 10.0), blocks)
    found = head.combine(torch.tensor([-1e6, 1e6]), head.trees.means(torch.from_numpy(x[:2, 2:])))
    assert found[0, 0] == pytest.approx(values.min()) and found[1, 0] == pytest.approx(values.max())


def test_few_polygons_are_learned_from_and_not_judged():
    x, values, polygons, shapes, blocks = plots(0.05, number=4)
    repeats = value_folds(values, polygons, shapes, 10.0)
    assert repeats == [[]]
    head, held_out = fit_value_head(x, values, polygons, repeats, blocks)
    assert head.trees is None and head.factor is None
    report = judge_values(values, polygons, held_out, held_out[0])
    assert report["rmse"] is None and "fewer than 5 polygons" in report["scored_on"]


def test_neighbours_are_held_out_together():
    _, values, polygons, shapes, _ = plots(0.05, number=12)
    shapes[1] = shapely.affinity.translate(shapes[0], 40, 0)  # a pixel between them
    for folds in value_folds(values, polygons, shapes, 10.0):
        for _, test in folds:
            assert len({0, 1} & set(polygons[test].tolist())) in (0, 2)


def test_where_blocks_are_too_few_polygons_that_overlap_are_still_held_out_together():
    _, values, polygons, _, _ = plots(0.05, number=12)
    shapes = np.array([square(n, 0, 1, 1) for n in range(12)])  # edge to edge
    shapes[5] = shapes[2]
    for folds in value_folds(values, polygons, shapes, 10.0):
        for _, test in folds:
            assert len({2, 5} & set(polygons[test].tolist())) in (0, 2)
    assert value_blocks(polygons, shapes, 10.0).tolist() == [0, 1, 2, 3, 4, 2, *range(6, 12)]
    # Four places, however often each is drawn.
    shapes = shapes[np.arange(12) % 4]
    assert value_folds(values, polygons, shapes, 10.0) == [[]]


def test_polygons_without_pixels_join_nothing():
    shapes = np.array([square(3 * n, 0, 1, 1) for n in range(12)])
    assert value_blocks(np.arange(0, 12, 2), shapes, 10.0).tolist() == list(range(12))


def test_the_figures_are_of_one_head_and_not_of_the_mean_of_several():
    """Three dealings that err by 1, 1 and -2: their mean is right everywhere, and is never mapped."""
    polygons = np.repeat(np.arange(12), 2)
    values = polygons * 1.0
    held_out = [values + error for error in (1, 1, -2)]
    report = judge_values(values, polygons, held_out, values)
    assert report["rmse"] == pytest.approx(np.sqrt(2)) and report["mae"] == pytest.approx(4 / 3)
    assert report["bias"] == pytest.approx(0) and report["intervals"]["rmse"][0] > 1
    # Nor is the interval of 90 % that of their mean.
    found = [np.column_stack((item, np.full(len(item), 0.5))) for item in held_out]
    assert _factor(found, values, polygons) == pytest.approx(2 * 4 / 3)
    assert _factor([item[:10] for item in found], values[:10], polygons[:10]) is None


def test_intervals_of_numbers_are_of_blocks():
    random = np.random.default_rng(4)
    random.dirichlet([2, 1], 9)
    values, polygons = np.repeat(random.uniform(1, 9, 8), 3), np.repeat(np.arange(8), 3)
    head, forest = (values + random.normal(size=24) for _ in range(2))
    report = judge_values(values, polygons, [head], forest, np.arange(8))
    # As they were before there were blocks, to the bit.
    assert report["intervals"]["rmse"] == [0.2361185346649871, 0.4387466784921688]
    assert report["forest"]["difference"]["interval"] == [-0.503952211266762, 0.058838694030900196]
    # Neighbours that fare alike: of six places, not of sixty.
    place = np.repeat(np.arange(6), 10)
    true, error = np.arange(60.0), np.array([0.1, 0.2, 3, 0.3, 0.1, 4])[place]
    alone, told = (
        judge_values(true, np.arange(60), [true + error], true + error, blocks) for blocks in (None, place)
    )
    assert alone["rmse"] == told["rmse"]
    assert np.ptp(told["intervals"]["rmse"]) > 2 * np.ptp(alone["intervals"]["rmse"])


def test_of_more_polygons_than_pixels_may_be_some_are_drawn_and_that_is_told():
    told = []
    control = JobControl(lambda event: told.append(event["text"]))
    assert _drawn(_PIXELS, 0, control).all() and told == []
    chosen = _drawn(_PIXELS + 500, 3, control)
    assert chosen.shape == (_PIXELS + 500,) and chosen.sum() == _PIXELS
    assert told == ["Of 10500 polygons 10000 are learned from, drawn at random."]
    assert np.array_equal(chosen, _drawn(_PIXELS + 500, 3, control))
    assert not np.array_equal(chosen, _drawn(_PIXELS + 500, 4, control))
