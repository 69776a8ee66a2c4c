import torch
from skysense.pretrain.alarms import Alarms
from skysense.pretrain.objective.health import usage

HEALTHY = {"fused.spread": 0.8, "fused.sharpness": 0.3, "fused.usage": 0.2, "prototypes.usage": 0.9}


def looks(alarms, stats, times):
    return [sentence for _ in range(times) for sentence in alarms.look(stats)]


def test_a_healthy_run_is_left_alone():
    assert looks(Alarms(), HEALTHY, 200) == []


def test_each_collapse_is_told_once_after_fifty_steps():
    for name, said in (
        ("fused.spread", "nearly the same everywhere"),
        ("s2.sharpness", "prefers nothing"),
        ("hr_2.usage", "the same answer"),
    ):
        alarms = Alarms()
        assert looks(alarms, {name: 0.001}, 49) == []
        (sentence,) = looks(alarms, {name: 0.001}, 100)
        assert said in sentence and name in sentence


def test_outputs_of_a_teacher_that_always_answers_the_same_are_told():
    """As `objective.health` measures it, also with few outputs and prototypes."""
    scores = torch.zeros(40, 64)
    scores[:, 5] = 1.0
    (sentence,) = looks(Alarms(), {"fused.usage": usage(scores)}, 60)
    assert "the same answer" in sentence
    assert looks(Alarms(), {"fused.usage": usage(torch.eye(64)[torch.arange(40) % 8])}, 60) == []


def test_single_bad_steps_are_no_collapse():
    alarms = Alarms()
    for step in range(300):
        assert alarms.look({"fused.spread": 0.01 if step % 10 == 0 else 0.8}) == []


def test_a_collapse_later_in_the_run_is_told():
    alarms = Alarms()
    assert looks(alarms, HEALTHY, 100) == []
    assert len(looks(alarms, HEALTHY | {"fused.spread": 0.0}, 100)) == 1
