"""Detections matched with what was drawn, and the figures of them."""

import numpy as np
import pytest
from skysense.finetune.objects.detect import Found
from skysense.finetune.objects.scoring import Matches, average_precision, best_threshold, figures, matched


def found(places, scores, classes=None):
    boxes = np.array([[x, 0, 4, 4, 0] for x in places], float)
    return Found(
        boxes, np.zeros(len(places), int) if classes is None else np.array(classes), np.array(scores)
    )


def boxes(places):
    return np.array([[x, 0, 4, 4, 0] for x in places], float)


def test_an_object_is_found_once_and_by_the_surest():
    twice = found([1.0, 0.0, 50.0], [0.9, 0.5, 0.8])
    assert matched(twice, boxes([0, 100]), np.zeros(2, int), None).tolist() == [True, False, False]


def test_a_box_that_overlaps_too_little_or_of_another_class_finds_nothing():
    assert not matched(found([1.4], [0.9]), boxes([0]), np.zeros(1, int), None).any()  # 2.6 of 5.4
    assert matched(found([1.3], [0.9]), boxes([0]), np.zeros(1, int), None).all()  # 2.7 of 5.3
    assert not matched(found([0], [0.9], [1]), boxes([0]), np.zeros(1, int), None).any()


def test_points_are_found_within_the_tolerance():
    points = found([2.9, 13.1], [0.9, 0.8])
    assert matched(points, boxes([0, 10]), np.zeros(2, int), 3.0).tolist() == [True, False]


def test_average_precision_of_a_worked_example():
    """Right, wrong, right of 4 objects: recall 1/4 at precision 1, recall 2/4 at 2/3."""
    scores, right = np.array([0.9, 0.8, 0.7]), np.array([True, False, True])
    assert average_precision(scores, right, np.ones(3), 4) == pytest.approx(0.25 + 0.25 * 2 / 3)


def matches():
    scores = np.array([0.9, 0.8, 0.6, 0.3, 0.2])
    right = np.array([True, True, True, False, False])
    return Matches(scores, right, np.zeros(5, int), np.array([0, 1, 2, 3, 3]), np.zeros(4, int), np.arange(4))


def test_the_threshold_lies_below_the_last_that_is_worth_keeping():
    assert best_threshold(matches(), 0.05) == pytest.approx(0.45)
    found = matches()
    all_right = Matches(
        found.scores[:3], found.right[:3], np.zeros(3, int), np.arange(3), found.objects, found.object_blocks
    )
    assert best_threshold(all_right, 0.1) == pytest.approx(0.35)


def test_figures_and_their_intervals():
    told = figures(matches(), 0.45)
    assert told["precision"] == 1 and told["recall"] == 0.75 and told["f1"] == pytest.approx(6 / 7)
    assert told["ap"] == 0.75
    assert told["classes"] == [
        {"place": 0, "n_objects": 4, "found": 3, "right": 3, "f1": 6 / 7, "precision": 1, "recall": 0.75, "ap": 0.75}
    ]  # fmt: skip
    low, high = told["intervals"]["recall"]
    assert low < 0.75 < high <= 1
    assert told["intervals"]["precision"] == [1, 1]
    assert figures(matches(), 0.0)["precision"] == 0.6
