import objective_equations as equations
import pytest
import torch
from skysense.model.prototypes import sinkhorn
from skysense.pretrain.objective.contrastive import balanced_targets, contrastive_loss, global_mean


def scores(rows, outputs, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(rows, outputs, dtype=torch.float64, generator=generator) * 2 - 1


def test_the_loss_is_its_equation():
    student, teacher = scores(7, 5, 0).requires_grad_(), scores(7, 5, 1).requires_grad_()
    loss = contrastive_loss(student, balanced_targets(teacher, 0.04, 3), 0.1)
    expected = equations.l_cl(student.tolist(), teacher.tolist(), 0.1, 0.04, 3)
    assert loss.item() == pytest.approx(expected, rel=1e-12)
    loss.backward()
    assert teacher.grad is None and student.grad.abs().max() > 0


def test_marginals_of_the_targets():
    targets = balanced_targets(scores(40, 8, 2), 0.04, 200)
    torch.testing.assert_close(targets.sum(1), torch.ones(40, dtype=torch.float64))
    torch.testing.assert_close(targets.sum(0), torch.full((8,), 5.0, dtype=torch.float64), rtol=1e-6, atol=0)


def test_few_iterations_are_those_of_the_equation():
    teacher = scores(6, 4, 3)
    expected = equations.sinkhorn(teacher.tolist(), 0.05, 3)
    torch.testing.assert_close(
        balanced_targets(teacher, 0.05, 3), torch.tensor(expected, dtype=torch.float64)
    )


def test_separate_problems_and_rows_that_do_not_count():
    batch, valid = torch.stack((scores(6, 4, 4), scores(6, 4, 5))), torch.ones(2, 6, dtype=torch.bool)
    valid[1, 2] = False
    plan = sinkhorn(batch, valid_S=valid)
    torch.testing.assert_close(plan[0], sinkhorn(batch[0]))
    torch.testing.assert_close(plan[1, valid[1]], sinkhorn(batch[1, valid[1]]))
    assert not plan[1, 2].any()
    assert not sinkhorn(batch, valid_S=torch.zeros_like(valid)).any()


def test_sharp_targets_stay_finite_in_single_precision():
    targets = balanced_targets(scores(64, 16, 6).float().sign(), 0.03, 3)
    assert targets.isfinite().all() and targets.sum(1).allclose(torch.ones(64))


def test_a_mean_over_nothing_is_zero():
    assert global_mean(torch.zeros(0)) == 0
    assert global_mean(torch.tensor([1.0, 2.0, 6.0])) == 3
