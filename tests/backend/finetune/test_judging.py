import json

import numpy as np
import pytest
from skysense.finetune.judging import forest_predictions, held_out_folds, judge


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


def test_the_report_by_hand():
    ids, polygons = polygons_of(3, 3, 1, per=2)  # 6 pixels of 1, 6 of 2, 2 of 3, which cannot be judged
    folds = held_out_folds(ids, polygons)
    predicted = np.array([1, 1, 1, 1, 2, 3, 2, 2, 2, 2, 2, 1, 0, 0])
    forest = np.array([1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 0, 0])
    report = judge(ids, polygons, folds, predicted, forest)
    assert report["confusion"] == {"ids": [1, 2], "counts": [[4, 1, 1], [1, 5, 0]]}
    assert report["oa"] == 9 / 12
    one, two, three = report["classes"]
    assert (one["precision"], one["recall"], one["iou"]) == (4 / 5, 4 / 6, 4 / 7)
    assert one["f1"] == pytest.approx(2 * (4 / 5) * (4 / 6) / (4 / 5 + 4 / 6))
    assert (two["precision"], two["recall"], two["iou"]) == (5 / 6, 5 / 6, 5 / 7)
    assert three == {
        "id": 3, "n_polygons": 1, "n_pixels": 2, "precision": None, "recall": None, "f1": None, "iou": None,
    }  # fmt: skip
    assert report["miou"] == pytest.approx((4 / 7 + 5 / 7) / 2)
    assert report["forest"] == {
        "oa": 9 / 12, "macro_f1": pytest.approx((12 / 15 + 6 / 9) / 2), "miou": pytest.approx((6 / 9 + 3 / 6) / 2),
    }  # fmt: skip
    assert (report["n_polygons"], report["n_pixels"]) == (7, 14)
    assert json.loads(json.dumps(report)) == report


def test_where_nothing_can_be_judged_the_report_says_so():
    ids, polygons = polygons_of(2, 1)
    nothing = np.zeros_like(ids)
    report = judge(ids, polygons, [], nothing, nothing)
    assert report["oa"] is None and report["forest"]["miou"] is None and report["confusion"] is None
    assert report["scored_on"] == "not scored: fewer than two classes have 3 polygons"
    assert [item["iou"] for item in report["classes"]] == [None, None]


def test_the_forest_learns_what_a_linear_model_cannot_and_sees_no_held_out_polygon():
    random = np.random.default_rng(0)
    polygons = np.repeat(np.arange(40), 30)
    corner = random.integers(0, 2, (40, 2))
    ids = (corner.sum(1) % 2 + 1)[polygons]
    x = (corner[polygons] + 0.2 * random.normal(size=(1200, 2))).astype(np.float32)
    folds = held_out_folds(ids, polygons)
    assert (forest_predictions(x, ids, folds) == ids).mean() > 0.9
    # A feature that only names the polygon is worthless on others.
    names = np.eye(40, dtype=np.float32)[polygons]
    assert (forest_predictions(names, ids, folds) == ids).mean() < 0.75


def test_pixels_in_no_fold_have_no_class():
    ids, polygons = polygons_of(3, 3, 1)
    x = np.random.default_rng(0).normal(size=(len(ids), 3)).astype(np.float32)
    predicted = forest_predictions(x, ids, held_out_folds(ids, polygons))
    assert (predicted[ids == 3] == 0).all() and (predicted[ids != 3] > 0).all()
