"""Two processes have the losses, gradients and prototypes of one that has the whole batch."""

import socket

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from small_world import group, padded, part, students_and_teacher


def batches():
    """Of the whole, and of the two processes: uneven, one of them without HR alone, one with padding."""
    fused, alone = group(5, 0, s2=3, s1=2, hr=2), group(2, 1, hr=1, side=64)
    return [fused, alone], ([padded(part(fused, slice(3)))], [alone, part(fused, slice(3, 5))])


def steps(groups):
    """Losses and gradients of a step, and the prototypes after two, in one process or this one of several."""
    torch.set_num_threads(1)
    student, objective, teacher = students_and_teacher()
    student.geo_context.prototypes[0] = 0  # a region not yet seen
    for seed in range(2):
        student.zero_grad()
        objective.zero_grad()
        losses = objective.losses(student, teacher, groups, teacher_temperature=0.05, seed=seed)
        losses["total"].backward()
        objective.update_prototypes(student)
    parameters = (*student.named_parameters(), *objective.named_parameters())
    gradients = {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in parameters}
    losses = {name: loss.detach() for name, loss in losses.items()}
    return losses, gradients, student.geo_context.prototypes, objective.stats


def process(rank, port, folder):
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    torch.save(steps(batches()[1][rank]), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_equal_one(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(process, (port, str(tmp_path)), nprocs=2)
    losses, gradients, prototypes, stats = steps(batches()[0])
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert set(losses) == set(first[0]) == set(second[0])
    for name, loss in losses.items():
        torch.testing.assert_close(first[0][name] + second[0][name], loss, rtol=1e-9, atol=1e-12)
    for name, gradient in gradients.items():
        torch.testing.assert_close(first[1][name] + second[1][name], gradient, rtol=1e-9, atol=1e-12)
    assert torch.equal(first[2], second[2]) and prototypes[0].any()
    torch.testing.assert_close(first[2], prototypes, rtol=1e-9, atol=1e-12)
    assert first[3].keys() == stats.keys()
    torch.testing.assert_close(first[3], stats, rtol=1e-6, atol=1e-9)
