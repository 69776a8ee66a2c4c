"""Nearest objects among many."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from skysense.finetune.objects import fit


def material(centres):
    objects = SimpleNamespace(
        boxes=np.column_stack((centres, np.ones((len(centres), 3)))), blocks=np.arange(len(centres)) % 7
    )
    return SimpleNamespace(objects=objects)


@pytest.fixture(autouse=True)
def no_matrix(monkeypatch):
    """Of 50,000 objects the distances of all pairs would be 20 GB."""
    monkeypatch.delattr(torch, "cdist")


@pytest.mark.parametrize("number", [2, 3, 400, 401])
def test_the_tolerance_is_half_the_middle_distance_of_nearest_neighbours(number):
    centres = np.random.default_rng(number).uniform(0, 20 * number**0.5, (number, 2))
    distances = np.hypot(*(centres[:, None] - centres[None]).transpose(2, 0, 1)) + np.diag(
        np.full(number, np.inf)
    )
    middle = np.sort(distances.min(1))[(number - 1) // 2]
    assert fit.point_tolerance(material(centres)) == pytest.approx(min(12, max(4, middle / 2)))


def test_one_object_has_no_neighbour_and_twins_are_at_no_distance():
    assert fit.point_tolerance(material(np.array([[5.0, 5.0]]))) == 12
    assert fit.point_tolerance(material(np.full((6, 2), 5.0))) == 4


def test_what_is_found_belongs_to_the_block_of_the_nearest_object():
    random = np.random.default_rng(0)
    centres, found = random.uniform(0, 500, (300, 2)), random.uniform(0, 500, (90, 2))
    nearest = np.hypot(*(found[:, None] - centres[None]).transpose(2, 0, 1)).argmin(1)
    boxes = SimpleNamespace(boxes=np.column_stack((found, np.ones((90, 3)))), scores=np.ones(90))
    assert np.array_equal(fit._nearest_blocks(boxes, material(centres)), nearest % 7)
    none = SimpleNamespace(boxes=np.zeros((0, 5)), scores=np.zeros(0))
    assert not len(fit._nearest_blocks(none, material(centres)))
