"""What processes tell each other, in two of them and in one."""

import pytest
import torch
from processes import in_processes
from skysense.pretrain.parallel import (
    active,
    all_sum,
    any_process,
    gather_rows,
    rank,
    start_processes,
    world_size,
)


def test_one_process_is_the_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    device = torch.device("cpu")
    with start_processes(device) as chosen:
        assert chosen == device and not active() and (rank(), world_size()) == (0, 1)
        rows = torch.arange(4.0).view(2, 2)
        assert gather_rows(rows) is rows
        total = all_sum(rows)
        assert torch.equal(total, rows) and total is not rows
        assert any_process(True) and not any_process(False)


def two() -> None:
    assert active() and world_size() == 2
    me = rank()
    assert all_sum(torch.tensor([1.0, me])).tolist() == [2.0, 1.0]
    assert any_process(me == 1) and not any_process(False)
    own = torch.full((1 + me, 2), 1.0 + me, requires_grad=True)  # one row here, two there
    rows = gather_rows(own)
    assert rows[:, 0].tolist() == [1.0, 2.0, 2.0]
    (rows * torch.tensor([[1.0], [10.0], [100.0]])).sum().backward()
    assert own.grad is not None
    assert own.grad[:, 0].tolist() == ([10.0, 100.0] if me else [1.0])


def test_two_processes() -> None:
    in_processes(2, two)
    assert not active()
