import json

import numpy as np
import pytest
import shapely
from skysense.finetune.judging import (
    blocks_of,
    forest_probabilities,
    held_out_folds,
    judge,
    overlapping,
    reliability,
    repeated_folds,
    spatial_blocks,
)


def polygons_of(*counts, per=4):
    """Class ids and polygon numbers of so many polygons of classes 1, 2, ..."""
    classes = np.repeat(np.arange(1, len(counts) + 1), counts)
    return np.repeat(classes, per), np.repeat(np.arange(len(classes)), per)


@pytest.mark.parametrize("counts", [(3, 3), (8, 4, 5), (20, 3, 1), (3, 9, 2, 1)])
def test_every_pixel_that_can_be_judged_is_judged_once_and_by_whole_polygons(counts):
    ids, polygons = polygons_of(*counts)
    folds = held_out_folds(ids, polygons)
    judged = [k for k, count in enumerate(counts, 1) if count >= 3]
    tested = np.concatenate([test for _, test in folds])
    assert sorted(tested) == np.flatnonzero(np.isin(ids, judged)).tolist()
    for train, test in folds:
        assert not np.intersect1d(polygons[train], polygons[test]).size
        # All that is not judged here is learned from, rare classes in every fold.
        assert sorted([*train, *test]) == list(range(len(ids)))
        assert set(ids[train]) == set(ids)


def test_two_classes_that_can_be_judged_are_needed():
    assert held_out_folds(*polygons_of(9, 2, 2)) == []
    assert held_out_folds(*polygons_of(2, 2)) == []


def test_a_fold_holds_as_many_polygons_of_each_class_as_any_other():
    ids, polygons = polygons_of(10, 5, 3)
    for _, test in held_out_folds(ids, polygons):
        counts = [len(np.unique(polygons[test][ids[test] == k])) for k in (1, 2, 3)]
        assert counts[0] == 2 and counts[1] == 1 and counts[2] <= 1


def test_neighbours_are_one_block_and_so_are_theirs():
    shapes = shapely.box([0, 15, 33, 100], 0, [10, 25, 43, 110], 10)  # gaps of 5, 8 and 57
    assert spatial_blocks(shapes, 4).tolist() == [0, 1, 2, 3]
    assert spatial_blocks(shapes, 5).tolist() == [0, 0, 2, 3]
    assert spatial_blocks(shapes, 8).tolist() == [0, 0, 0, 3]


def test_polygons_whose_windows_overlap_are_held_out_together_and_repeats_differ():
    ids, polygons = polygons_of(12, 12)
    x = np.tile(
        np.repeat(np.arange(6) * 500.0, 2) + np.tile([0.0, 30.0], 6), 2
    )  # pairs, 20 m from each other
    y = np.repeat([0.0, 900.0], 12)
    shapes = shapely.box(x, y, x + 10, y + 10)
    repeats = repeated_folds(ids, polygons, shapes, 10.0)
    assert len(repeats) == 3
    for folds in repeats:
        for _, test in folds:
            held = np.unique(polygons[test])
            assert np.isin(held ^ 1, held).all()  # the other of the pair
    assert len({tuple(polygons[folds[0][1]].tolist()) for folds in repeats}) > 1
    # At 5 m to a pixel the polygons of a pair are 4 pixels apart, at 4 m 5 pixels: on their own.
    apart = [
        not np.isin(np.unique(polygons[test]) ^ 1, polygons[test]).all()
        for folds in repeated_folds(ids, polygons, shapes, 4.0)
        for _, test in folds
    ]
    assert any(apart)


def test_where_neighbours_leave_too_few_blocks_each_polygon_is_one():
    ids, polygons = polygons_of(3, 3)
    shapes = shapely.box(np.arange(6.0), 0, np.arange(6.0) + 1, 1)  # all touch
    (folds, *more) = repeated_folds(ids, polygons, shapes, 10.0)
    assert len(folds) == 5 and len(more) == 2


def test_polygons_that_lie_on_each_other_are_one_block_and_those_side_by_side_are_not():
    rectangles = shapely.box(
        [0, 10, 10, 12, 50, 59.95], 0, [10, 20, 20, 30, 60, 70], 10
    )  # edge to edge, twice the same, overlapping, apart, a sliver of half a percent
    points = shapely.points([[5, 5], [90, 90], [90, 90]])
    assert overlapping(np.append(rectangles, points)).tolist() == [0, 1, 1, 1, 4, 5, 0, 7, 7]


def test_where_neighbours_leave_too_few_blocks_those_that_overlap_are_still_one():
    """The classes of the first row touch each other; of the third class the first polygon was drawn three times over."""
    ids, polygons = polygons_of(4, 4, 5)
    left = np.array([*range(8), 0, 100, 0.1, 0.2, 200])
    shapes = shapely.box(left, np.repeat([0, 50], [8, 5]), left + 1, np.repeat([1, 51], [8, 5]))
    assert blocks_of(ids, polygons, shapes, 10.0).tolist() == [*range(8), 8, 9, 8, 8, 12]
    repeats = repeated_folds(ids, polygons, shapes, 10.0)
    assert len(repeats) == 3
    for folds in repeats:
        assert sorted(np.concatenate([test for _, test in folds])) == list(range(len(ids)))
        for _, test in folds:
            assert np.isin([8, 10, 11], polygons[test]).sum() in (0, 3)


def test_a_class_of_too_few_polygons_that_do_not_overlap_is_not_judged_and_leaves_the_others_blocks_as_they_are():
    ids, polygons = polygons_of(6, 6, 4)
    pairs = np.repeat(np.arange(3) * 500.0, 2) + np.tile([0.0, 30.0], 3)
    x = np.concatenate((pairs, pairs, [0, 1, 2, 300.0]))
    y = np.repeat([0.0, 900.0, 1800.0], [6, 6, 4])
    shapes = shapely.box(x, y, x + 10, y + 10)
    assert blocks_of(ids, polygons, shapes, 10.0)[:12].tolist() == [0, 0, 2, 2, 4, 4, 6, 6, 8, 8, 10, 10]
    for folds in repeated_folds(ids, polygons, shapes, 10.0):
        assert set(ids[np.concatenate([test for _, test in folds])]) == {1, 2}
        for train, test in folds:
            assert 3 in ids[train] and np.isin(np.unique(polygons[test]) ^ 1, polygons[test]).all()


def test_polygons_held_out_together_are_one_place():
    """Five fields of twelve polygons that fare alike tell no more than five polygons."""
    ids, polygons = polygons_of(60, 60, per=1)
    fields = polygons // 12
    one = given(ids, np.where(fields % 5 == 0, 3 - ids, ids))[:, :2]
    five, fine = polygons_of(5, 5, per=1)
    few = given(five, np.where(fine % 5 == 0, 3 - five, five))[:, :2]
    alone, told, wanted = (
        judge(ids, polygons, [one], one),
        judge(ids, polygons, [one], one, blocks=fields),
        judge(five, fine, [few], few),
    )
    for name in ("oa", "miou"):
        assert alone[name] == told[name] == pytest.approx(wanted[name])
    width = [np.ptp(report["intervals"]["oa"]) for report in (alone, told)]
    assert width[1] > 2 * width[0]
    assert told["intervals"]["oa"] == pytest.approx(wanted["intervals"]["oa"])
    assert told["classes"][0]["intervals"]["recall"] == pytest.approx(
        wanted["classes"][0]["intervals"]["recall"]
    )


def test_as_many_folds_as_blocks_can_be_dealt_in_one_way_only():
    ids, polygons = polygons_of(4, 3)
    left = np.array(
        [0, 500, 1000, 1500, 20, 520, 2000.0]
    )  # two pairs of one polygon of either class: five blocks
    shapes = shapely.box(left, 0, left + 10, 10)
    assert len(repeated_folds(ids, polygons, shapes, 10.0)) == 1
    assert len(repeated_folds(ids, polygons, shapes, 1.0)) == 3


def given(ids, classes, confidence=0.9):
    """Probabilities (N, 3) that give these classes; 0 = in no fold."""
    out = np.full((len(ids), 3), (1 - confidence) / 2, np.float32)
    out[np.arange(len(ids)), np.maximum(np.array(classes) - 1, 0)] = confidence
    out[np.array(classes) == 0] = np.nan
    return out


def test_the_head_without_the_model_stands_beside_the_head():
    ids, polygons = polygons_of(3, 3, 1, per=2)
    head = given(ids, [1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 0, 0])
    bands = given(ids, [1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 0, 0])
    report = judge(ids, polygons, [head], head, [bands, head])
    assert report["bands_only"]["oa"] == pytest.approx((4 + 5) / 2 / 6)  # the mean of both dealings
    assert report["bands_only"]["difference"]["oa"]["value"] == pytest.approx(0.5 / 6)
    low, high = report["bands_only"]["difference"]["oa"]["interval"]
    assert low <= 0.5 / 6 <= high
    assert report["forest"]["difference"]["oa"]["value"] == 0
    assert judge(ids, polygons, [head], head)["bands_only"] is None


def test_the_report_by_hand():
    ids, polygons = polygons_of(3, 3, 1, per=2)  # 6 pixels of 1, 6 of 2, 2 of 3, which cannot be judged
    head = given(ids, [1, 1, 1, 1, 2, 3, 2, 2, 2, 2, 2, 1, 0, 0])
    forest = given(ids, [1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 0, 0])
    report = judge(ids, polygons, [head], forest)
    assert report["confusion"]["ids"] == [1, 2]
    assert report["confusion"]["counts"] == [[4, 1, 1], [1, 5, 0]]
    assert np.allclose(report["confusion"]["shares"], [[4 / 6, 1 / 6, 1 / 6], [1 / 6, 5 / 6, 0]])
    matrix = np.array([[2, 0.5], [0.5, 2.5]])
    one, two, three = report["classes"]
    assert (one["recall"], two["recall"]) == pytest.approx(np.diagonal(matrix) / 3)
    assert (one["precision"], two["precision"]) == pytest.approx(np.diagonal(matrix) / matrix.sum(0))
    assert one["iou"] == pytest.approx(2 / (3 + 0.5))
    assert report["miou"] == pytest.approx((one["iou"] + two["iou"]) / 2)
    assert report["macro_f1"] == pytest.approx((one["f1"] + two["f1"]) / 2)
    assert report["oa"] == pytest.approx(4.5 / 6)
    assert report["forest"]["oa"] == pytest.approx((3 + 1.5) / 6)
    assert report["forest"]["difference"]["oa"]["value"] == pytest.approx(0)
    for found, figures in ((report, ("oa", "macro_f1", "miou")), (two, ("precision", "recall", "f1", "iou"))):
        for name in figures:
            low, high = found["intervals"][name]
            assert 0 <= low < found[name] < high <= 1
    assert [item["id"] for item in report["forest"]["classes"]] == [1, 2]
    assert three == {
        "id": 3, "n_polygons": 1, "n_pixels": 2,
        "precision": None, "recall": None, "f1": None, "iou": None, "intervals": None,
    }  # fmt: skip
    assert (report["n_polygons"], report["n_pixels"], report["repeats"]) == (7, 14, 1)
    assert json.loads(json.dumps(report)) == report


def test_repeats_are_pooled():
    ids, polygons = polygons_of(3, 3, per=2)
    right, wrong = given(ids, ids)[:, :2], given(ids, 3 - ids)[:, :2]
    report = judge(ids, polygons, [right, wrong, wrong], right)
    assert report["confusion"]["counts"] == [[6, 12, 0], [12, 6, 0]]
    assert report["oa"] == pytest.approx(1 / 3)
    assert report["forest"]["oa"] == 1
    difference = report["forest"]["difference"]["oa"]
    assert difference["value"] == pytest.approx(-2 / 3)
    assert difference["interval"][0] <= difference["value"] < difference["interval"][1] < 0


def test_a_large_polygon_is_one_witness():
    ids = np.array([1] * 1000 + [1] * 2 + [2] * 3)
    polygons = np.array([0] * 1000 + [1, 2] + [3, 4, 5])
    predicted = np.array([1] * 1000 + [2, 2] + [2, 2, 2])
    report = judge(ids, polygons, [given(ids, predicted)[:, :2]], given(ids, predicted)[:, :2])
    assert report["classes"][0]["recall"] == pytest.approx(1 / 3)


def test_confidence_is_held_against_how_often_it_is_right():
    true, polygons = np.zeros(10, np.int64), np.array([0] * 8 + [1] * 2)
    probabilities = np.array(
        [[0.95, 0.05]] * 4 + [[0.05, 0.95]] * 4 + [[0.62, 0.38]] + [[0.31, 0.69]], np.float32
    )
    found = reliability(true, polygons, [probabilities])
    assert found["bins"] == [
        {"low": 0.6, "high": 0.7, "confidence": pytest.approx(0.655), "accuracy": 0.5, "n": 2},
        {"low": 0.9, "high": 1.0, "confidence": pytest.approx(0.95), "accuracy": 0.5, "n": 8},
    ]
    # Two polygons, so half the weight each.
    assert found["error"] == pytest.approx((0.155 + 0.45) / 2)
    assert reliability(true, polygons, [np.eye(2, dtype=np.float32)[true]])["bins"][0]["high"] == 1.0


def test_where_nothing_can_be_judged_the_report_says_so():
    ids, polygons = polygons_of(2, 1)
    nothing = np.full((len(ids), 2), np.nan, np.float32)
    assert repeated_folds(ids, polygons, shapely.box(np.arange(3), 0, np.arange(3) + 0.5, 1), 1.0) == [[]]
    report = judge(
        ids, polygons, [nothing], forest_probabilities(np.zeros((len(ids), 1), np.float32), ids, [])
    )
    assert report["oa"] is None and report["forest"]["miou"] is None and report["confusion"] is None
    assert report["scored_on"] == "not scored: fewer than two classes have 3 polygons that do not overlap"
    assert [item["iou"] for item in report["classes"]] == [None, None]
    assert [item["n_polygons"] for item in report["classes"]] == [2, 1]


def test_the_forest_learns_what_a_linear_model_cannot_and_sees_no_held_out_polygon():
    random = np.random.default_rng(0)
    polygons = np.repeat(np.arange(40), 30)
    corner = random.integers(0, 2, (40, 2))
    ids = (corner.sum(1) % 2 + 1)[polygons]
    x = (corner[polygons] + 0.2 * random.normal(size=(1200, 2))).astype(np.float32)
    folds = held_out_folds(ids, polygons)
    assert (forest_probabilities(x, ids, folds).argmax(1) + 1 == ids).mean() > 0.9
    # A feature that only names the polygon is worthless on others.
    names = np.eye(40, dtype=np.float32)[polygons]
    assert (forest_probabilities(names, ids, folds).argmax(1) + 1 == ids).mean() < 0.75


def test_pixels_in_no_fold_have_no_probabilities():
    ids, polygons = polygons_of(3, 3, 1)
    x = np.random.default_rng(0).normal(size=(len(ids), 3)).astype(np.float32)
    found = forest_probabilities(x, ids, held_out_folds(ids, polygons))
    assert found.shape == (len(ids), 3) and np.isnan(found[ids == 3]).all()
    assert np.allclose(found[ids != 3].sum(1), 1)
