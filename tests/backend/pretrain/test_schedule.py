import math

import pytest
from skysense.pretrain.config import PretrainConfig
from skysense.pretrain.schedule import cosine, rates

CONFIG = PretrainConfig(
    steps=101,
    warmup=0.1,
    lr=1e-3,
    lr_end=1e-5,
    weight_decay=0.04,
    weight_decay_end=0.2,
    teacher_momentum=0.99,
    teacher_temperature_start=0.03,
    teacher_temperature=0.04,
)


@pytest.mark.parametrize(
    ("step", "lr", "decay", "momentum", "temperature"),
    [
        (0, 1e-4, 0.04, 0.99, 0.03),
        (5, 6e-4, 0.04 + 0.16 * (1 - math.cos(math.pi * 0.05)) / 2, None, 0.035),
        (9, 1e-3, None, None, 0.039),
        (10, 1e-3, None, None, 0.04),
        (50, None, 0.12, 0.995, 0.04),
        (55, 1e-5 + 0.99e-3 / 2, None, None, 0.04),
        (100, 1e-5, 0.2, 1.0, 0.04),
        (1000, 1e-5, 0.2, 1.0, 0.04),
    ],
)
def test_the_rates_at_a_step(step, lr, decay, momentum, temperature):
    got = rates(step, CONFIG)
    for value, expected in (
        (got.lr, lr),
        (got.weight_decay, decay),
        (got.momentum, momentum),
        (got.teacher_temperature, temperature),
    ):
        if expected is not None:
            assert value == pytest.approx(expected, rel=1e-12)


def test_without_warm_up_it_begins_at_the_top():
    got = rates(0, PretrainConfig(steps=10, warmup=0.0, lr=1e-3))
    assert got.lr == pytest.approx(1e-3) and got.teacher_temperature == 0.04


def test_a_run_of_one_step_has_rates():
    assert rates(0, PretrainConfig(steps=1, warmup=0.0)).lr == PretrainConfig().lr


def test_half_a_cosine():
    assert cosine(2.0, 0.0, 1 / 3) == pytest.approx(1.5)
