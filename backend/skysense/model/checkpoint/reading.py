"""Opens a checkpoint file of any kind, memory-mapped: pickles (weights only), safetensors, sharded safetensors."""

import json
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from skysense.errors import InputError
from skysense.model.tensorfile import KEY

#: Keys under which training programs put the weights, beside the state of the training.
_WRAPPERS = ("model", "state_dict")
_PLAIN = "Choose a .pth, .pt, .ckpt or .safetensors file, or the .index.json of a sharded one"


@dataclass(frozen=True)
class Opened:
    """A checkpoint file.

    Attributes:
        path: as given.
        tensors: by the file's own keys; their values are read when they are used.
        other: names of entries that are no weights (optimizer, epoch, ...).
        files: what it consists of: itself, and its shards.
    """

    path: Path
    tensors: dict[str, Tensor]
    other: tuple[str, ...]
    files: tuple[Path, ...]


def open_checkpoint(path: Path) -> Opened:
    """Open a checkpoint.

    Raises:
        InputError: it does not exist, is incomplete or damaged, is no checkpoint, or has code in it (which is never run).
    """
    if not path.is_file():
        raise InputError("does not exist", str(path), "Choose the file again")
    if path.name.endswith(".index.json"):
        return _open_sharded(path)
    if path.suffix == ".safetensors":
        return Opened(path, _open_safetensors(path), (), (path,))
    return _open_pickle(path)


def _open_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            if KEY in (file.metadata() or {}):
                raise InputError("is a SkySense model already", str(path), "Use it as it is")
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"is incomplete or not a safetensors file ({error})", str(path), "Download it again"
        ) from None


def _open_sharded(path: Path) -> Opened:
    try:
        shards = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        names = {str(key): str(shard) for key, shard in shards.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise InputError("is not the index of a sharded safetensors file", str(path), _PLAIN) from None
    tensors: dict[str, Tensor] = {}
    files = [path]
    for shard in sorted(set(names.values())):
        file = path.parent / shard
        if Path(shard).name != shard or not file.is_file():
            raise InputError(
                f"names the part {shard!r}, which is not beside it", str(path), "Put all parts in one folder"
            )
        held = _open_safetensors(file)
        for key in (key for key, name in names.items() if name == shard):
            if key not in held:
                raise InputError(
                    f"lacks the tensor {key}, which {path.name} lists", str(file), "Download it again"
                )
            tensors[key] = held[key]
        files.append(file)
    return Opened(path, tensors, (), tuple(files))


def _open_pickle(path: Path) -> Opened:
    try:
        zipped = zipfile.is_zipfile(path)
        if zipped and (entry := _damaged_entry(path)) is not None:
            raise InputError(f"is damaged at its entry {entry!r}", str(path), "Download it again")
        # Only the zip format (torch 1.6 and later) can be mapped.
        with warnings.catch_warnings(action="ignore"):  # what they tell is told below
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", str(path), "Choose the file again") from None
    except Exception as error:  # garbage makes the unpickler fail in any way
        if kind := _unread(path, str(error)):
            raise InputError(
                f"is {kind}; nothing of it was executed, as only plain weights are read",
                str(path),
                "Get a .safetensors file, or have someone who trusts it save the weights alone: "
                "torch.save(model.state_dict(), 'weights.pth')",
            ) from None
        raise InputError(
            "is incomplete or not a checkpoint", str(path), f"Download it again. {_PLAIN}"
        ) from None
    state, other = _unwrap(content)
    tensors = {str(key): value for key, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        raise InputError("holds no weights", str(path), _PLAIN)
    for key, tensor in tensors.items():
        if tensor.is_meta or tensor.layout is not torch.strided:
            raise InputError(f"holds {key} without plain values", str(path), "Get the plain weights")
    other += tuple(str(key) for key, value in state.items() if not isinstance(value, Tensor))
    return Opened(path, tensors, other, (path,))


def _unread(path: Path, error: str) -> str | None:
    """What a file is that torch refuses for more than weights in it, by the text of its error; None: it refuses it as damaged."""
    if code := re.search(r"(?:GLOBAL|global:?|Unsupported class) (\S+\.\S+)", error):
        return f"a Python pickle that needs code to be opened ({code[1]})"
    if "TorchScript" in error:
        return "a TorchScript program"
    with path.open("rb") as stream:
        if "Unsupported operand" in error and stream.read(1) == pickle.PROTO:
            return "a Python pickle that torch.save has not written"
    return None


def _damaged_entry(path: Path) -> str | None:
    """The first entry of a zip file whose bytes are not those of its checksum, which torch does not look at."""
    with zipfile.ZipFile(path) as file:
        return file.testzip()


def _unwrap(content: Any) -> tuple[Mapping[Any, Any], tuple[str, ...]]:
    """The state dict, and the names of what lies beside it."""
    if not isinstance(content, Mapping):
        return {}, ()
    for wrapper in _WRAPPERS:
        if isinstance(content.get(wrapper), Mapping):
            return content[wrapper], tuple(str(key) for key in content if key != wrapper)
    return content, ()
