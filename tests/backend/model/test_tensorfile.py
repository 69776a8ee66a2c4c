"""The streaming writer: files that safetensors reads, whole or not at all."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from skysense.errors import StorageError
from skysense.model.digest import tensors_sha256
from skysense.model.modelfile import read_header
from skysense.model.tensorfile import write_tensors
from torch import Tensor

TENSORS = {
    "odd": torch.arange(3.0),
    "scalar": torch.tensor(2.5),
    "empty": torch.zeros(0, 4),
    "half": torch.arange(64.0).reshape(8, 8).half(),
    "brain": torch.arange(32.0).bfloat16(),
    "strided": torch.arange(64.0).reshape(8, 8).T,
}
SPECS = {name: (x.dtype, tuple(x.shape)) for name, x in TENSORS.items()}


def test_what_is_written_is_read_in_any_order(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.safetensors"
    digest = write_tensors(path, SPECS, lambda sha: {"sha": sha, "ß": 1}, reversed(TENSORS.items()))
    assert digest == tensors_sha256(TENSORS)
    assert read_header(path) == {"sha": digest, "ß": 1}
    with safe_open(path, framework="pt") as file:
        assert set(file.keys()) == set(TENSORS)
        for name, tensor in TENSORS.items():
            read = file.get_tensor(name)
            assert read.dtype == tensor.dtype and torch.equal(read, tensor)


def test_nothing_is_left_of_a_file_that_was_stopped(tmp_path: Path) -> None:
    def stopped() -> Iterator[tuple[str, Tensor]]:
        yield "odd", TENSORS["odd"]
        raise KeyboardInterrupt

    path = tmp_path / "a.safetensors"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt):
        write_tensors(path, SPECS, lambda _: {}, stopped())
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot be written"):
        write_tensors(tmp_path / "file" / "a.safetensors", SPECS, lambda _: {}, TENSORS.items())
