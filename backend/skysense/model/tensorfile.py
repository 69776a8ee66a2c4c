"""Writes a safetensors file tensor by tensor, so that a model need never be in memory as a whole."""

import json
import os
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from skysense.errors import StorageError
from skysense.model.digest import digest_entries, tensor_bytes

#: The metadata key of the JSON header.
KEY = "skysense"

#: A tensor's type and shape, before its values are at hand.
Spec = tuple[torch.dtype, tuple[int, ...]]

_TYPES = {
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
}
#: Tensors begin at multiples of this, because a mapped file is computed with where it lies.
_ALIGNMENT = 64
_BLOCK = 1 << 20


def write_tensors(
    path: Path,
    specs: Mapping[str, Spec],
    header: Callable[[str], dict[str, Any]],
    tensors: Iterable[tuple[str, Tensor]],
) -> str:
    """Write a file aside and rename it.

    Args:
        specs: every tensor of the file.
        header: makes the JSON header from the tensors' digest; its length must not depend on the digest.
        tensors: each tensor of `specs` once, in any order.

    Returns:
        The tensors' digest (`digest.tensors_sha256`), of what has been written.

    Raises:
        StorageError: it cannot be written. Whatever is raised, nothing is left and an old file is kept.
    """
    part = path.with_name(path.name + ".part")
    try:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb+") as out:
                digest = _write(out, specs, header, tensors)
                out.flush()
                os.fsync(out.fileno())
            os.replace(part, path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StorageError(
            f"cannot be written ({error.strerror})", str(path), "Free some space or choose another folder"
        ) from None
    return digest


def _write(
    out: BinaryIO,
    specs: Mapping[str, Spec],
    header: Callable[[str], dict[str, Any]],
    tensors: Iterable[tuple[str, Tensor]],
) -> str:
    offsets = _offsets(specs)
    start = len(_head(specs, offsets, header("0" * 64)))
    missing = set(specs)
    for name, tensor in tensors:
        assert specs[name] == (tensor.dtype, tuple(tensor.shape)), name
        missing.remove(name)
        out.seek(start + offsets[name][0])
        out.write(tensor_bytes(tensor))
        del tensor  # or its file would stay mapped while the next one is read
    assert not missing, missing
    digest = digest_entries(
        (name, dtype, shape, _blocks(out, start + offsets[name][0], start + offsets[name][1]))
        for name, (dtype, shape) in sorted(specs.items())
    )
    head = _head(specs, offsets, header(digest))
    assert len(head) == start
    out.seek(0)
    out.write(head)
    return digest


def _offsets(specs: Mapping[str, Spec]) -> dict[str, tuple[int, int]]:
    """First and last byte of each tensor; those that keep the alignment go first, as the format allows no gaps."""
    sizes = {name: torch.Size(shape).numel() * dtype.itemsize for name, (dtype, shape) in specs.items()}
    offsets, end = {}, 0
    for name in sorted(sizes, key=lambda name: (sizes[name] % _ALIGNMENT != 0, name)):
        offsets[name] = (end, end + sizes[name])
        end += sizes[name]
    return offsets


def _head(specs: Mapping[str, Spec], offsets: Mapping[str, tuple[int, int]], header: dict[str, Any]) -> bytes:
    entries: dict[str, Any] = {
        "__metadata__": {KEY: json.dumps(header, ensure_ascii=False, sort_keys=True)},
        **{
            name: {"dtype": _TYPES[dtype], "shape": list(shape), "data_offsets": list(offsets[name])}
            for name, (dtype, shape) in specs.items()
        },
    }
    text = json.dumps(entries, ensure_ascii=False).encode()
    text += b" " * (-(len(text) + 8) % _ALIGNMENT)
    return struct.pack("<Q", len(text)) + text


def _blocks(stream: BinaryIO, start: int, end: int) -> Iterator[memoryview]:
    stream.seek(start)
    while start < end:
        block = stream.read(min(_BLOCK, end - start))
        assert block
        start += len(block)
        yield memoryview(block)
