from dataclasses import replace

import pytest
import torch
from skysense.model.config import GeoConfig
from skysense.model.inputs import Inputs
from skysense.model.presets import PRESETS
from skysense.model.skysense import SkySense
from skysense.pretrain.teacher import Teacher
from torch import nn


@pytest.fixture
def student():
    torch.manual_seed(0)
    return SkySense(replace(PRESETS["tiny"], geo=GeoConfig(4, (7, 9)))).train(), nn.Linear(3, 2)


def test_it_follows_as_a_moving_average(student):
    model, heads = student
    teacher = Teacher(model, heads)
    before = [p.clone() for p in teacher.parameters()]
    with torch.no_grad():
        for p in (*model.parameters(), *heads.parameters()):
            p.add_(torch.randn_like(p))
    teacher.update(model, heads, 0.75)
    for old, now, new in zip(
        before, teacher.parameters(), (*model.parameters(), *heads.parameters()), strict=True
    ):
        torch.testing.assert_close(now, 0.75 * old + 0.25 * new)
    teacher.update(model, heads, 1.0)
    teacher.update(model, heads, 0.0)
    assert all(torch.equal(a, b) for a, b in zip(teacher.heads.parameters(), heads.parameters()))


def test_it_reads_the_students_prototypes(student):
    model, heads = student
    teacher = Teacher(model, heads)
    model.geo_context.prototypes.fill_(3.0)
    assert teacher.model.geo_context.prototypes is model.geo_context.prototypes


def test_it_neither_learns_nor_trains(student):
    teacher = Teacher(*student)
    teacher.train()
    assert not any(module.training for module in teacher.modules())
    assert not any(p.requires_grad for p in teacher.parameters())
    theirs = {p.data_ptr() for module in student for p in module.parameters()}
    assert not theirs & {p.data_ptr() for p in teacher.parameters()}
    assert student[0].training


def test_what_it_keeps_of_its_weights_is_made_anew(student):
    model, heads = student
    inputs = Inputs(s2=torch.randn(1, 2, 10, 8, 8))
    teacher = Teacher(model, heads)
    with torch.no_grad():
        first = teacher.model(inputs).fused
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
        teacher.update(model, heads, 0.0)
        second = teacher.model(inputs).fused
        expected = model.eval()(inputs).fused
    assert not torch.equal(first, second)
    torch.testing.assert_close(second, expected)
