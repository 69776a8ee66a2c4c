"""The identity of weights: one digest over names, types, shapes and bytes."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor


def digest_entries(entries: Iterable[tuple[str, torch.dtype, Sequence[int], Iterable[memoryview]]]) -> str:
    """Hex SHA-256 over entries (name, dtype, shape, bytes in pieces), which must come ordered by name."""
    digest = hashlib.sha256()
    for name, dtype, shape, pieces in entries:
        digest.update(f"{name}|{str(dtype).removeprefix('torch.')}|{list(shape)}|".encode())
        for piece in pieces:
            digest.update(piece)
    return digest.hexdigest()


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """The digest of tensors by name; those on the CPU are not copied."""
    return digest_entries(
        (name, tensor.dtype, tensor.shape, (tensor_bytes(tensor),))
        for name, tensor in sorted(tensors.items())
    )


def tensor_bytes(tensor: Tensor) -> memoryview:
    """A tensor's bytes in row-major order, without a copy where it lies like that on the CPU."""
    flat = tensor.detach().cpu().contiguous().flatten()
    return flat.view(torch.uint8).numpy().data
