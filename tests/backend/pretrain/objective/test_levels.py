import objective_equations as equations
import pytest
import torch
from skysense.pretrain.augment_series import undated
from skysense.pretrain.config import PretrainConfig
from skysense.pretrain.objective.levels import deal, nearest_dates, object_rows, pair_views, pixel_rows
from skysense.pretrain.objective.places import ViewMaps


def view(seed, dates=2, batch=2, order=None):
    g = torch.Generator().manual_seed(seed)
    maps = torch.randn(batch, dates, 3, 4, 4, dtype=torch.float64, generator=g, requires_grad=True)
    valid = torch.rand(batch, dates, 4, 4, generator=g) > 0.2
    order = torch.zeros(batch, dates, dtype=torch.int64) if order is None else torch.tensor(order)
    return ViewMaps(maps, valid, order, 1.0)


def centres(batch=2):
    return (torch.cartesian_prod(torch.arange(4), torch.arange(4)) + 0.5).double().expand(batch, -1, -1)


def test_dates_meet_the_nearest_valid_one():
    student = torch.tensor([[100, 205, undated(2)]])
    teacher = torch.tensor([[90, 101, 200, undated(0)]])
    every = torch.ones(1, 4, dtype=torch.bool)
    assert nearest_dates(student, teacher, every).tolist() == [[1, 2, 3]]
    every[0, 1] = False
    assert nearest_dates(student, teacher, every).tolist() == [[0, 2, 3]]
    every[0, [0, 2]] = False
    assert nearest_dates(student, teacher, every).tolist() == [[3, 3, 3]]
    every[0, 3] = False
    assert nearest_dates(student, teacher, every).tolist() == [[0, 0, 0]]


def test_without_dates_an_image_meets_itself_or_its_neighbour_in_the_stack():
    student = torch.tensor([[undated(at) for at in (0, 3, 5, 7)]])
    teacher = torch.tensor([[undated(at) for at in (1, 3, 4, 7)]])
    every = torch.ones(1, 4, dtype=torch.bool)
    assert nearest_dates(student, teacher, every).tolist() == [[0, 1, 2, 3]]
    every[0, 1] = False
    assert nearest_dates(student, teacher, every).tolist() == [[0, 2, 2, 3]]


def test_each_place_is_dealt_to_one_valid_date():
    valid = torch.tensor([[True, False, True, True], [False, True, False, False], [False] * 4])
    dealt = deal(valid, 10)
    assert dealt.sum(1).tolist() == [[1] * 10, [1] * 10, [0] * 10]
    assert not dealt[~valid].any()
    assert dealt[0].sum(1).tolist() == [4, 0, 3, 3]


def test_rows_are_the_same_places_of_both_views():
    u, v = view(0, 3, order=[[10, 20, 30]] * 2), view(1, 2, order=[[29, 11]] * 2)
    at_v = centres().roll(1, 1)  # view v shows place n elsewhere
    there = torch.ones(2, 16, dtype=torch.bool)
    there[1, 5] = False
    images = pair_views(u, v, centres(), at_v, there)
    partner = [1, 0, 0]  # day 20 is 9 from both: the first
    student, teacher = [], []
    for b in range(2):
        dates = [t for t in range(3) if u.valid[b, t].any() and v.valid[b, partner[t]].any()]
        for t in range(3):
            for n in range(16):
                y, x = (int(c) for c in centres()[b, n])
                p, q = (int(c) for c in at_v[b, n])
                ok = bool(u.valid[b, t, y, x] and v.valid[b, partner[t], p, q] and there[b, n])
                assert images.valid[3 * b + t, n] == ok
                if ok and dates[n % len(dates)] == t:
                    student.append(u.maps[b, t, :, y, x])
                    teacher.append(v.maps[b, partner[t], :, p, q])
    rows = pixel_rows(images)
    torch.testing.assert_close(rows.student, torch.stack(student))
    torch.testing.assert_close(rows.teacher, torch.stack(teacher))
    assert rows.student.requires_grad and not rows.teacher.requires_grad


def test_image_level_is_the_mean_over_all_valid_pixels():
    u, v = view(0), view(1)
    u.valid[0, 1] = False
    rows = pair_views(u, v, centres(), centres(), torch.ones(2, 16, dtype=torch.bool)).whole
    images = [(0, 0), (1, 0), (1, 1)]
    for row, (b, t) in enumerate(images):
        pixels = u.maps[b, t].flatten(1).T[u.valid[b, t].flatten()]
        assert rows.student[row].tolist() == pytest.approx(equations.mean(pixels.tolist()), rel=1e-12)
    assert len(rows.student) == len(rows.teacher) == 3
    average, there = u.over_dates()
    torch.testing.assert_close(average[0], u.pooled()[0][0, 0])
    torch.testing.assert_close(average[1], u.pooled()[0][1].mean(0))
    assert there.all()


def test_object_level_compares_the_same_ground():
    u, v = view(0, 1), view(1, 1)
    u.valid[1, 0] = False
    u.valid[1, 0, 0, :2] = True  # two places: too few for three objects
    images = pair_views(u, v, centres(), centres(), torch.ones(2, 16, dtype=torch.bool))
    rows = object_rows(images, PretrainConfig(object_clusters=3, cluster_rounds=2))
    both = images.valid[0]
    student, teacher = (x.maps[0, 0].flatten(1).T[both].tolist() for x in (u, v))
    plan = equations.cluster(teacher, 3, 0.05, 3, 2)
    assert rows.student.shape == rows.teacher.shape == (3, 3)
    for k in range(3):
        weights = [row[k] for row in plan]
        assert rows.student[k].tolist() == pytest.approx(equations.mean(student, weights), rel=1e-9)
        assert rows.teacher[k].tolist() == pytest.approx(equations.mean(teacher, weights), rel=1e-9)
    assert rows.student.requires_grad and not rows.teacher.requires_grad


def test_a_place_next_to_an_invalid_cell_counts_only_at_its_centre():
    x = view(0, 1, batch=1)
    x.valid[:] = True
    x.valid[0, 0, 1, 1] = False
    points = torch.tensor([[[0.5, 0.5], [1.0, 1.0], [1.5, 2.5], [1.5, 2.2], [1.5, 1.5]]], dtype=torch.float64)
    assert x.at(points)[1].tolist() == [[[True, False, True, False, False]]]
