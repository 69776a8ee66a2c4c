"""Checkpoints: to the bit, on another number of processes, and whole whatever ends the writing."""

import json
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from processes import in_processes
from skysense.errors import InputError, StorageError
from skysense.pretrain.parallel import rank
from skysense.pretrain.shard import Sharded, rows, whole
from skysense.pretrain.state import load, newest, optimiser_tensors, save
from torch import Tensor, nn

EXTRA = {"seed": 3, "seen": ["a", "b"], "loss": 0.1}


class Small(nn.Module):
    """Rows that two processes share unevenly, in one process alone, or not at all."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.linear = nn.Linear(3, 5)
        self.token = nn.Parameter(torch.randn(1, 1, 4))
        self.unused = nn.Parameter(torch.randn(2, 3))
        self.register_buffer("regions", torch.arange(seed, seed + 3))
        self.register_buffer("prototypes", torch.empty(0, 2, 4))


def state(seed: int, steps: int) -> tuple[Small, dict[str, Tensor]]:
    """A model after some steps of AdamW, and all tensors of both."""
    model = Small(seed)
    part = Sharded([model])
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.1)
    for _ in range(steps):
        with whole(part):
            (model.linear(torch.ones(2, 3)).square().sum() + model.token.exp().sum()).backward()
            part.reduce_gradients()
        optimiser.step()
        optimiser.zero_grad()
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return model, tensors | optimiser_tensors(optimiser, {"model": model})


def own(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: rows(t)[0].clone() for name, t in tensors.items()}


def same(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_again_on_one_process(tmp_path: Path) -> None:
    _, saved = state(0, 3)
    path = save(tmp_path, 3, saved, EXTRA)
    assert path == tmp_path / "step-00000003" and newest(tmp_path) == path
    _, fresh = state(7, 0)  # whose optimiser has done nothing yet
    assert not same(own(fresh), own(saved))
    assert load(path, fresh) == (3, EXTRA)
    assert same(own(fresh), own(saved))
    assert fresh["optimiser.step.model.linear.weight"] == 3
    assert fresh["optimiser.step.model.unused"] == 0


def test_resumed_goes_on_as_if_never_stopped(tmp_path: Path) -> None:
    def step(model: nn.Linear, optimiser: torch.optim.Optimizer) -> None:
        model(torch.ones(2, 3)).square().sum().backward()
        optimiser.step()
        optimiser.zero_grad()

    def begin(seed: int) -> tuple[nn.Linear, torch.optim.AdamW, dict[str, Tensor]]:
        torch.manual_seed(seed)
        model = nn.Linear(3, 5)
        optimiser = torch.optim.AdamW(model.parameters(), lr=0.1)
        return model, optimiser, dict(model.named_parameters()) | optimiser_tensors(optimiser, {"m": model})

    model, optimiser, tensors = begin(0)
    step(model, optimiser)
    path = save(tmp_path, 1, tensors, {})
    again, again_optimiser, again_tensors = begin(1)
    load(path, again_tensors)
    for pair in ((model, optimiser), (again, again_optimiser)):
        step(*pair)
    assert same(own(tensors), own(again_tensors))


def save_from_two(folder: Path) -> None:
    _, saved = state(0, 3)
    before = own(saved)
    path = save(folder, 3, saved, EXTRA)
    _, fresh = state(7, 1)
    assert load(path, fresh) == (3, EXTRA)
    assert same(own(fresh), before)
    # What one process cannot write, none has written.
    if rank() == 1:
        resource.setrlimit(resource.RLIMIT_FSIZE, (64, resource.RLIM_INFINITY))
    with pytest.raises(StorageError) as raised:
        save(folder, 4, saved, EXTRA)
    assert ("another process" in str(raised.value)) == (rank() == 0)
    assert newest(folder) == path


def load_in_two(folder: Path) -> None:
    _, saved = state(0, 3)
    _, fresh = state(7, 0)
    path = newest(folder)
    assert path is not None and load(path, fresh) == (5, EXTRA)
    expected, read = own(saved), own(fresh)
    # Summed in another order, so equal to rounding; what was not summed, to the bit.
    assert all(torch.allclose(read[name], t, rtol=1e-4) for name, t in expected.items())
    assert torch.equal(read["unused"], expected["unused"])


def test_another_number_of_processes(tmp_path: Path) -> None:
    in_processes(2, save_from_two, tmp_path)
    path = newest(tmp_path)
    assert path is not None and sorted(p.name for p in path.iterdir()) == [
        "rows-00000-of-00002.safetensors",
        "rows-00001-of-00002.safetensors",
        "state.json",
    ]
    _, one = state(7, 0)
    assert load(path, one) == (3, EXTRA)
    _, twin = state(8, 0)
    assert load(save(tmp_path, 5, one, EXTRA), twin) == (5, EXTRA)
    assert same(own(one), own(twin))
    in_processes(2, load_in_two, tmp_path)


def test_keeps_the_last_two(tmp_path: Path) -> None:
    for step in (9, 10, 200, 1000):
        save(tmp_path, step, {"x": torch.tensor(float(step))}, {})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000200", "step-00001000"]
    value = torch.tensor(0.0)
    path = newest(tmp_path)
    assert path is not None and load(path, {"x": value}) == (1000, {}) and value == 1000
    save(tmp_path, 1000, {"x": torch.tensor(-1.0)}, {})
    assert load(path, {"x": value}) == (1000, {}) and value == -1


def test_newest_passes_over_what_is_not_whole(tmp_path: Path) -> None:
    assert newest(tmp_path) is None and newest(tmp_path / "absent") is None
    for step in (1, 2):
        save(tmp_path, step, {"x": torch.ones(100)}, {}, keep=5)
    file = tmp_path / "step-00000002" / "rows-00000-of-00001.safetensors"
    with file.open("r+b") as opened:
        opened.truncate(file.stat().st_size - 1)
    told: list[str] = []
    assert newest(tmp_path, told.append) == tmp_path / "step-00000001"
    assert told == [
        "step-00000002 is passed over (rows-00000-of-00001.safetensors is not whole): the newest that can be used "
        "is step-00000001."
    ]
    with pytest.raises(InputError, match="cannot be read"):
        load(tmp_path / "step-00000002", {"x": torch.ones(100)})
    file.unlink()
    shutil.copytree(tmp_path / "step-00000001", tmp_path / "step-00000003.part")
    assert newest(tmp_path) == tmp_path / "step-00000001"
    save(tmp_path, 4, {"x": torch.ones(100)}, {}, keep=5)
    assert not (tmp_path / "step-00000003.part").exists()


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({"a": torch.zeros(2, 3)}, "has, beyond what is trained, b"),
        (
            {"a": torch.zeros(2, 3), "b": torch.zeros(2), "c": torch.zeros(1), "d": torch.zeros(1)},
            "lacks c and 1 more",
        ),
        ({"a": torch.zeros(3, 2), "b": torch.zeros(2)}, "has in another shape or type a"),
        ({"a": torch.zeros(2, 3), "b": torch.zeros(2).half()}, "has in another shape or type b"),
    ],
)
def test_other_tensors_are_refused_and_left_alone(
    tmp_path: Path, tensors: dict[str, Tensor], says: str
) -> None:
    path = save(tmp_path, 1, {"a": torch.ones(2, 3), "b": torch.ones(2)}, {})
    with pytest.raises(InputError, match=says):
        load(path, tensors)
    assert not any(t.any() for t in tensors.values())


def test_missing_rows_and_other_formats_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path, 1, {"a": torch.ones(2, 3)}, {})
    index = json.loads((path / "state.json").read_text())
    value = torch.zeros(4, 3)
    (path / "state.json").write_text(json.dumps(index | {"tensors": {"a": ["float32", [4, 3]]}}))
    with pytest.raises(InputError, match="lacks rows of a"):
        load(path, {"a": value})
    assert not value.any()
    for broken in (json.dumps(index | {"format": 99}), "{", "[]", "{}"):
        (path / "state.json").write_text(broken)
        with pytest.raises(InputError):
            load(path, {"a": value})


@pytest.mark.parametrize("damage", ["format", "index", "cut", "gone"])
def test_checkpoints_of_which_none_can_be_used_are_not_taken_for_none(tmp_path: Path, damage: str) -> None:
    paths = [save(tmp_path, step, {"x": torch.ones(100)}, {}) for step in (1, 2)]
    for path in paths:
        index, rows_file = path / "state.json", path / "rows-00000-of-00001.safetensors"
        if damage == "format":
            index.write_text(json.dumps(json.loads(index.read_text()) | {"format": 99}))
        elif damage == "index":
            index.write_text("{")
        elif damage == "cut":
            rows_file.write_bytes(rows_file.read_bytes()[:-1])
        else:
            rows_file.unlink()
    with pytest.raises(InputError, match="another version" if damage == "format" else "whole|read") as raised:
        newest(tmp_path)
    assert raised.value.where == str(paths[1]) and raised.value.fix


def test_what_was_just_written_is_never_removed(tmp_path: Path) -> None:
    for step in (8, 10):
        save(tmp_path, step, {"x": torch.ones(1)}, {})
    (tmp_path / "step-00000010" / "state.json").write_text("{")
    for step in (2, 4, 6):
        assert newest(save(tmp_path, step, {"x": torch.ones(1)}, {}).parent) is not None
    # Later steps are not this run's to remove.
    names = [path.name for path in sorted(tmp_path.iterdir())]
    assert names == ["step-00000004", "step-00000006", "step-00000008", "step-00000010"]


def test_a_full_disk_leaves_the_previous_one(tmp_path: Path) -> None:
    path = save(tmp_path, 1, {"x": torch.ones(1000)}, EXTRA)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limit[1]))
    try:
        with pytest.raises(StorageError, match="cannot be written"):
            save(tmp_path, 2, {"x": torch.zeros(1000)}, EXTRA)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert newest(tmp_path) == path
    value = torch.zeros(1000)
    assert load(path, {"x": value}) == (1, EXTRA) and bool((value == 1).all())
    assert newest(save(tmp_path, 2, {"x": value}, EXTRA).parent) == tmp_path / "step-00000002"


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        save(tmp_path / "file" / "checkpoints", 1, {"x": torch.ones(1)}, {})


WRITER = """
import sys, torch
from pathlib import Path
from skysense.pretrain.state import save
for step in range(2, 1000):
    save(Path(sys.argv[1]), step, {f"x{i}": torch.full((500_000,), float(step)) for i in range(8)}, {"step": step})
"""


def test_killed_while_writing(tmp_path: Path) -> None:
    """Whenever the writer is killed, the newest checkpoint is whole and of one step."""
    tensors = {f"x{i}": torch.zeros(500_000) for i in range(8)}
    save(tmp_path, 1, tensors, {"step": 1})
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)])
    try:
        deadline = time.monotonic() + 30
        while not any(part.stat().st_size > 4_000_000 for part in tmp_path.glob("step-*.part/*.part")):
            assert time.monotonic() < deadline
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    assert list(tmp_path.glob("step-*.part"))  # it was in the middle
    path = newest(tmp_path)
    assert path is not None
    step, extra = load(path, tensors)
    assert extra == {"step": step} and path.name == f"step-{step:08d}"
    if step > 1:
        assert all(bool((t == step).all()) for t in tensors.values())
