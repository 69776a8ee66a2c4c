"""Rotated boxes: out of polygons and back, their overlap, and the surest of those that show the same."""

import numpy as np
import pytest
import shapely
from skysense.finetune.objects.boxes import boxes_of, nearness, overlaps, polygons_of, surest


def test_a_rectangle_gives_its_own_box_whatever_its_angle():
    for angle in (0.0, 0.3, 1.2, 1.9, 3.0):
        box = np.array([[30.0, -7.0, 12.0, 5.0, angle]])
        np.testing.assert_allclose(boxes_of(polygons_of(box)), box, atol=1e-9)


def test_an_upright_rectangle_has_the_angle_of_its_longer_side():
    wide, tall = boxes_of(np.array([shapely.box(0, 0, 6, 2), shapely.box(0, 0, 2, 6)], object))
    np.testing.assert_allclose(wide, [3, 1, 6, 2, 0], atol=1e-12)
    np.testing.assert_allclose(tall, [1, 3, 6, 2, np.pi / 2], atol=1e-12)


def test_another_polygon_gives_the_smallest_rectangle_around_it():
    corner = shapely.Polygon([(0, 0), (4, 0), (4, 1), (1, 1), (1, 3), (0, 3)])
    (box,) = boxes_of(np.array([corner], object))
    assert box[2] * box[3] <= 12 + 1e-9
    assert polygons_of(box[None])[0].buffer(1e-6).contains(corner)


def test_a_point_gives_its_place():
    assert boxes_of(np.array([shapely.Point(2, 3)], object)).tolist() == [[2, 3, 0, 0, 0]]


def test_overlap_is_intersection_over_union():
    one = np.array([[0, 0, 2, 2, 0.0]])
    other = np.array([[1, 0, 2, 2, 0.0], [0, 0, 2, 2, np.pi / 2], [9, 9, 2, 2, 0], [0, 0, 2, 2, np.pi / 4]])
    i, j, iou = overlaps(one, other)
    assert i.tolist() == [0, 0, 0] and j.tolist() == [0, 1, 3]
    octagon = 8 * (2**0.5 - 1)
    np.testing.assert_allclose(iou, [1 / 3, 1, octagon / (8 - octagon)])


def test_nearness_falls_off_with_distance():
    centres = np.array([[0, 0, 0, 0, 0], [3, 4, 0, 0, 0], [30, 0, 0, 0, 0.0]])
    _, j, near = nearness(centres[:1], centres, 10)
    assert j.tolist() == [0, 1]
    np.testing.assert_allclose(near, [1, 0.5])


@pytest.mark.parametrize("reach", [None, 1.5])
def test_the_surest_of_a_chain_stays_and_so_does_what_it_does_not_reach(reach):
    """a shows the same as b, b as c, but a not as c: a and c stay where a is the surest, b alone where b is."""
    chain = np.array([[0, 0, 2, 2, 0], [1, 0, 2, 2, 0], [2, 0, 2, 2, 0.0]])
    for scores, stay in (([0.9, 0.8, 0.7], [0, 2]), ([0.7, 0.9, 0.8], [1])):
        assert surest(chain, np.array(scores), reach).tolist() == stay


def test_the_surest_do_not_depend_on_the_order():
    random = np.random.default_rng(0)
    boxes = np.column_stack((random.uniform(0, 40, (200, 2)), random.uniform(2, 6, (200, 3))))
    scores = random.integers(1, 10, 200) / 10  # many are equally sure
    kept = boxes[surest(boxes, scores, None)]
    order = random.permutation(200)
    again = boxes[order][surest(boxes[order], scores[order], None)]
    assert len(kept) < 150
    assert sorted(map(tuple, kept)) == sorted(map(tuple, again))
    _, _, iou = overlaps(kept, kept)
    assert np.sort(iou)[-len(kept) - 1] <= 0.3
