import objective_equations as equations
import pytest
import torch
from skysense.pretrain.objective.clustering import cluster, farthest_first, object_features

SETTINGS = {"epsilon": 0.05, "iterations": 3, "rounds": 2}


def features(images, places, channels, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(images, places, channels, dtype=torch.float64, generator=generator)


def test_clusters_are_those_of_the_equations():
    x, valid = features(3, 12, 4), torch.ones(3, 12, dtype=torch.bool)
    valid[1, [0, 5, 11]] = False
    plan = cluster(x, valid, 3, **SETTINGS)
    for image in range(3):
        expected = equations.cluster(x[image, valid[image]].tolist(), 3, 0.05, 3, 2)
        torch.testing.assert_close(plan[image, valid[image]], torch.tensor(expected, dtype=torch.float64))
    assert not plan[1, ~valid[1]].any()


def test_objects_are_weighted_means_of_either_views_own_features():
    teacher, student = features(1, 9, 4), features(1, 9, 4, seed=1)
    plan = cluster(teacher, torch.ones(1, 9, dtype=torch.bool), 3, **SETTINGS)
    objects = object_features(plan, student)
    for k in range(3):
        expected = equations.mean(student[0].tolist(), plan[0, :, k].tolist())
        assert objects[0, k].tolist() == pytest.approx(expected, rel=1e-12)


def test_three_surfaces_become_three_objects():
    surfaces = torch.eye(3, 8, dtype=torch.float64).repeat(4, 1)[None]
    x = surfaces + 0.05 * features(1, 12, 8)
    plan = cluster(x, torch.ones(1, 12, dtype=torch.bool), 3, **SETTINGS)
    winners = plan[0].argmax(1)
    assert len(set(winners[:3].tolist())) == 3
    assert torch.equal(winners, winners[:3].repeat(4)) and plan.max(-1).values.min() > 0.99


def test_first_points_are_spread_out_and_valid():
    x = torch.nn.functional.normalize(features(2, 10, 3), dim=-1)
    valid = torch.ones(2, 10, dtype=torch.bool)
    valid[0, :4] = False
    for image in range(2):
        expected = equations.farthest_first(x[image, valid[image]].tolist(), 4)
        torch.testing.assert_close(
            farthest_first(x * valid[..., None], valid, 4)[image], torch.tensor(expected, dtype=torch.float64)
        )
