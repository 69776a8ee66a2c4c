"""What crops should give, and which cells teach."""

import numpy as np
import pytest
import shapely
import torch
from skysense.finetune.objects.boxes import boxes_of, polygons_of
from skysense.finetune.objects.crops import SIDE, turned
from skysense.finetune.objects.loss import object_loss, target_of
from skysense.finetune.objects.network import GEOMETRY
from skysense.finetune.objects.supervision import Objects, Supervision, deal, neighbour_blocks
from skysense.raster.grid import Window


def test_a_target_has_its_peak_and_its_geometry_at_the_centre():
    boxes = np.array([[41.0, 22.0, 40.0, 10.0, 0.5]])
    target = target_of(boxes, np.array([1]), 2, 16, 20.0, True)
    assert target.heat[0].max() == 0
    assert (target.heat[1] == 1).nonzero().tolist() == [[5, 10]]
    assert target.weight[5, 10] == 1
    plain = [41 / 4 - 10.5, 22 / 4 - 5.5, np.log(2), np.log(0.5), np.cos(1), np.sin(1)]
    np.testing.assert_allclose(target.geometry[0, :, 5, 10], plain, rtol=1e-6)
    other = [*plain[:2], *plain[3:1:-1], -np.cos(1), -np.sin(1)]
    np.testing.assert_allclose(target.geometry[1, :, 5, 10], other, rtol=1e-6)


def test_the_peak_follows_the_longer_side():
    target = target_of(np.array([[34.0, 34.0, 60.0, 10.0, 0.0]]), np.array([0]), 1, 16, 20.0, True)
    assert target.heat[0, 8, 10] > 0.3 > 2 * target.heat[0, 10, 8]


@pytest.mark.parametrize("way", [0, 1])
def test_the_right_answer_costs_nothing_in_either_way_of_telling_it(way):
    target = target_of(np.array([[34.0, 34.0, 60.0, 10.0, 0.3]]), np.array([0]), 1, 16, 20.0, True)
    batch = type(target)(target.heat[None], target.geometry[None], target.weight[None])
    heat = torch.where(batch.heat == 1, 30.0, -30.0)
    teaches = torch.ones(1, 16, 16, dtype=torch.bool)
    found = object_loss(heat, target.geometry[way][None], batch, teaches, True)
    assert found[0] < 1e-6 and found[1] == 0
    wrong = object_loss(-heat, torch.zeros(1, GEOMETRY, 16, 16), batch, teaches, True)
    assert wrong[0] > 10 and wrong[1] > 0.1
    nothing = object_loss(-heat, torch.zeros(1, GEOMETRY, 16, 16), batch, ~teaches, True)
    assert nothing[0] == 0 and nothing[1] == 0


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("turns", range(4))
def test_boxes_turn_with_their_crop(turns, mirrored):
    """Drawn into the crop and turned with it, or turned and then drawn: the same pixels."""
    boxes = np.array([[150.0, 80.0, 60.0, 14.0, 0.4], [60.0, 110.0, 30.0, 20.0, 2.0]])
    corner = (10, 20)
    rows, cols = np.mgrid[:SIDE, :SIDE] + 0.5

    def drawn(own):
        shape = shapely.union_all(polygons_of(own))
        return shapely.contains_xy(shape, cols, rows)

    plain = torch.rot90(torch.from_numpy(drawn(boxes - [*corner, 0, 0, 0])), turns, (-2, -1))
    plain = plain.flip(-1) if mirrored else plain
    differ = drawn(turned(boxes, corner, turns, mirrored)) != plain.numpy()
    assert differ.sum() < 20 < plain.sum()


def objects(centres, sized=True):
    boxes = np.array([[x, y, 20, 10, 0] for x, y in centres], float)
    blocks = neighbour_blocks(boxes[:, :2])
    return Objects(boxes, np.zeros(len(boxes), int), blocks, deal(blocks, 0), sized, 15.0)


def test_blocks_hold_neighbours_and_folds_hold_blocks():
    centres = np.random.default_rng(0).uniform(0, 1000, (100, 2))
    blocks = neighbour_blocks(centres)
    counts = np.bincount(blocks)
    assert len(counts) == 16 and counts.min() >= 6
    hulls = [shapely.MultiPoint(centres[blocks == k]).convex_hull for k in range(16)]
    assert not any(a.intersects(b) for k, a in enumerate(hulls) for b in hulls[:k])
    folds = deal(blocks, 3)
    assert sorted(set(folds)) == [0, 1, 2]
    assert all(len(set(folds[blocks == k])) == 1 for k in range(16))
    assert len(set(neighbour_blocks(centres[:10]))) == 4


def test_without_areas_only_a_ring_around_the_objects_teaches():
    some = objects([(100, 100), (300, 100), (100, 300), (300, 300)])
    cells = Supervision(some, None).cells(Window(0, 0, 400, 400))
    rows, cols = np.nonzero(cells >= 0)
    shapes = shapely.MultiPolygon(list(polygons_of(some.boxes)))
    distance = shapely.distance(shapely.points(4 * cols + 2, 4 * rows + 2), shapes)
    assert distance.max() <= 30
    assert len(rows) == pytest.approx(4 * (20 * 10 + 2 * 30 * 30 + np.pi * 30**2) / 16, rel=0.05)


def test_inside_areas_all_teaches_and_outside_only_the_objects():
    some = objects([(100, 100), (300, 100), (100, 300), (300, 300)])
    cells = Supervision(some, np.array([shapely.box(0, 0, 200, 400)], object)).cells(Window(0, 0, 400, 400))
    assert (cells[:, :50] >= 0).all()
    assert cells[25, 75] >= 0 and cells[50, 75] == -1
    assert (cells[:, 50:] >= 0).sum() < 2 * 40


def test_a_cell_has_the_fold_of_the_nearest_object():
    some = objects([(x, y) for x in (50, 150, 250, 350) for y in (50, 150, 250, 350)])
    cells = Supervision(some, np.array([shapely.box(0, 0, 400, 400)], object)).cells(Window(0, 0, 400, 400))
    rows, cols = np.mgrid[:100, :100]
    nearest = (cols // 25) * 4 + rows // 25
    assert (cells == some.folds[nearest]).all()


def test_a_box_of_an_object_keeps_its_size_on_the_way_to_pixels():
    box = boxes_of(np.array([shapely.box(0, 0, 6, 3)], object))
    assert box[0, 2:].tolist() == [6, 3, 0]
