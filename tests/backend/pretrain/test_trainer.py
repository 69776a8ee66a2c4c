from dataclasses import replace

import numpy as np
import pytest
import torch
from processes import in_processes
from skysense.model.skysense import SkySense
from skysense.pretrain.config import PretrainConfig
from skysense.pretrain.parallel import rank
from skysense.pretrain.trainer import NotFinite, Trainer
from skysense.pretrain.views import make_sample
from small_shapes import SMALL, mini_config
from window_fixtures import random_stack, window

CONFIG = PretrainConfig(**SMALL, steps=10, lr=1e-2, warmup=0.3)
PLACES = [(4.4, 51.2), (77.2, 28.6)]


def samples(config=CONFIG, batch=4, step=0):
    """Sentinel series, one of them fused with HR, and HR alone."""
    found = []
    for index in range(batch):
        kind = index % 4
        stacks = {}
        if kind != 3:
            stacks["s2"] = random_stack((step, index, 2), 3, 10, 16, 3000, holes=0.05)
        if kind in (1, 2):
            stacks["s1"] = random_stack((step, index, 1), 3, 2, 16, -20)
        if kind == 2:
            stacks["hr"] = random_stack((step, index, 0), 1, 3, 64, 255)
        if kind == 3:
            stacks["hr"] = random_stack((step, index, 0), 1, 3, 96, 255)
        raw = window(PLACES[index % 2], f"scene {index}", 4 if kind == 2 else None, **stacks)
        found.append(make_sample(raw, config, np.random.default_rng((7, step, index))))
    return found


def trainer(config=CONFIG, dtype=torch.float32):
    torch.manual_seed(0)
    return Trainer(SkySense(mini_config(PLACES, config)).to(dtype), config, torch.device("cpu"))


def values(made):
    return {name: tensor.clone() for name, tensor in made.tensors().items()}


def test_a_step_moves_student_teacher_and_prototypes_each_in_its_own_way():
    made = trainer()
    before = values(made)
    report = made.step(0, samples())
    after = values(made)
    assert (
        report.finite and report.loss > 0 and {"hr.pixel", "s2.object", "fused.image"} <= report.terms.keys()
    )
    name = "backbone_s2.patch_embed.projection.weight"
    assert not torch.equal(before[f"student.{name}"], after[f"student.{name}"])
    # theta' <- m theta' + (1 - m) theta, from the weights after the step.
    m = CONFIG.teacher_momentum
    for key, old in before.items():
        if key.startswith("teacher.model."):
            student = after[key.replace("teacher.model.", "student.")]
            torch.testing.assert_close(after[key], m * old + (1 - m) * student, rtol=1e-5, atol=1e-7)
    assert after["student.geo_context.prototypes"].any()
    assert all(parameter.grad is None for parameter in made.teacher.parameters())


def test_the_same_steps_give_the_same_bits():
    reports = []
    for _ in range(2):
        made = trainer()
        reports.append([made.step(step, samples(step=step)) for step in range(3)])
    assert reports[0] == reports[1]


def test_the_loss_falls_on_the_same_windows():
    made = trainer(replace(CONFIG, steps=40, geo_prototypes=0))
    losses = [made.step(step, samples()).loss for step in range(30)]
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])


def test_accumulation_uses_every_sample_once():
    config = replace(CONFIG, accumulate=2)
    made = trainer(config)
    seen = []
    inner = made.objective.losses

    def watched(student, teacher, groups, **more):
        seen.append([scene for group in groups for scene in group.scenes])
        return inner(student, teacher, groups, **more)

    made.objective.losses = watched
    report = made.step(0, samples(config))
    assert (
        sorted(scene for micro in seen for scene in micro) == [f"scene {index}" for index in range(4)]
        and len(seen) == 2
    )
    assert report.finite


def test_accumulated_micro_batches_of_the_same_content_equal_one():
    """Twice the same half: every loss is the mean of two equal ones, and so is the gradient."""
    half = samples(batch=2)
    one, two = trainer(), trainer(replace(CONFIG, accumulate=2))
    first = one.step(0, half)
    doubled = [half[0], half[0], half[1], half[1]]
    second = two.step(0, doubled)
    assert first.loss == pytest.approx(second.loss, rel=1e-5)
    assert first.gradient_norm == pytest.approx(second.gradient_norm, rel=1e-4)


def test_a_loss_that_is_no_number_names_its_scene_and_changes_nothing():
    made = trainer()
    made.step(0, samples())
    before = values(made)
    spoilt = samples(step=1)
    spoilt[1].views[1].s2.x[0, 0, 4, 4] = torch.inf
    spoilt[1].views[1].s2.valid[0] = True
    with pytest.raises(NotFinite, match=r"scene 1: the loss of step 2 is not a number"):
        made.step(1, spoilt)
    after = values(made)
    assert all(torch.equal(before[name], after[name]) for name in before)
    # And it goes on as if nothing had been.
    undisturbed = trainer()
    undisturbed.step(0, samples())
    assert made.step(1, samples(step=1)) == undisturbed.step(1, samples(step=1))
    there, here = values(undisturbed), values(made)
    assert all(torch.equal(there[name], here[name]) for name in there)


def test_checkpointed_activations_change_nothing_but_rounding():
    plain, saving = trainer(), trainer(replace(CONFIG, checkpoint_activations=True))
    first, second = plain.step(0, samples()), saving.step(0, samples())
    assert first.loss == pytest.approx(second.loss, rel=1e-6)
    assert first.gradient_norm == pytest.approx(second.gradient_norm, rel=1e-5)


def test_bfloat16_is_near():
    plain, half = trainer(), trainer(replace(CONFIG, bfloat16=True))
    first, second = plain.step(0, samples()), half.step(0, samples())
    assert first.loss == pytest.approx(second.loss, rel=0.05) and first.loss != second.loss
    assert all(t.dtype != torch.bfloat16 for t in half.tensors().values())


def three_steps(rank_of, count, folder):
    torch.set_num_threads(1)
    made = trainer(dtype=torch.float64)
    for step in range(3):
        batch = [doubled(sample) for sample in samples(step=step)]
        made.step(step, batch[rank_of::count])
    with made._student.whole(), made._teacher.whole():
        state = {
            name: parameter.detach().clone()
            for prefix, module in (("s", made.model), ("o", made.objective), ("t", made.teacher))
            for name, parameter in ((f"{prefix}.{n}", p) for n, p in module.named_parameters())
        }
    state["prototypes"] = made.model.geo_context.prototypes.clone()
    torch.save(state, folder / f"{count}-{rank_of}.pt")


def doubled(sample):
    views = []
    for view in sample.views:
        parts = {
            name: None if part is None else replace(part, x=part.x.double())
            for name, part in (("s2", view.s2), ("s1", view.s1), ("hr", view.hr))
        }
        views.append(replace(view, **parts))
    return replace(sample, views=tuple(views))


def process_of_two(folder):
    three_steps(rank(), 2, folder)


def test_two_processes_equal_one_after_three_steps(tmp_path):
    """Float64, drop path off, the same global batch: parameters to 1e-9 relative."""
    three_steps(0, 1, tmp_path)
    in_processes(2, process_of_two, tmp_path)
    one, first, second = (torch.load(tmp_path / f"{name}.pt") for name in ("1-0", "2-0", "2-1"))
    assert one.keys() == first.keys() == second.keys()
    for name, value in one.items():
        assert torch.equal(first[name], second[name]), name
        # atol: a key bias changes no softmax; its gradient, and so what moves it, is rounding alone (below 1e-17).
        torch.testing.assert_close(first[name], value, rtol=1e-9, atol=1e-12)
