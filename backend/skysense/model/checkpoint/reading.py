"""Opens a checkpoint file of any kind, memory-mapped: pickles (weights only), safetensors, and shards of either."""

import json
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from skysense.errors import InputError
from skysense.model.checkpoint.naming import STUDENT_TEACHER, refuse_two_models, released_names, two_models
from skysense.model.tensorfile import KEY

#: Keys under which training programs put the weights, beside the state of the training.
_WRAPPERS = ("model", "state_dict", *STUDENT_TEACHER)
_DEEPEST = 4  # wrappers inside each other; a pickle's dict may hold itself
_PLAIN = "Choose a .pth, .pt, .ckpt or .safetensors file, or the .index.json of a sharded one"


class _Number:
    """Stands for a NumPy number, or its type, in a pickle of which the tensors alone are wanted.

    NumPy's own would make the number from whatever type and bytes the file names, without a look at them.
    """

    def __init__(self, *told: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


#: NumPy 1 wrote other names than NumPy 2.
_NUMBERS: list[Any] = [
    (_Number, name)
    for name in ("numpy.dtype", "numpy._core.multiarray.scalar", "numpy.core.multiarray.scalar")
]


@dataclass(frozen=True)
class Opened:
    """A checkpoint file.

    Attributes:
        path: as given.
        tensors: by their released names, see `naming`; their values are read when they are used.
        other: names of entries that are no weights (optimizer, epoch, ...).
        files: what it consists of: itself, and its shards.
        notes: what people should know of it.
    """

    path: Path
    tensors: dict[str, Tensor]
    other: tuple[str, ...]
    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()


def open_checkpoint(path: Path, checked: bool = False) -> Opened:
    """Open a checkpoint.

    Args:
        checked: its checksums were compared when it was opened before, which reads all of it.

    Raises:
        InputError: it does not exist, is incomplete or damaged, is no checkpoint, holds two models, or has code in it
            (which is never run).
    """
    if not path.is_file():
        raise InputError("does not exist", str(path), "Choose the file again")
    sharded = path.name.lower().endswith(".index.json")
    opened = _open_sharded(path, checked) if sharded else _open_one(path, checked)
    return replace(opened, tensors=released_names(opened.tensors, path))


def _open_one(path: Path, checked: bool) -> Opened:
    if path.suffix.lower() == ".safetensors":
        return Opened(path, _open_safetensors(path), (), (path,))
    return _open_pickle(path, checked)


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


def _open_sharded(path: Path, checked: bool) -> Opened:
    try:
        shards = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        names = {str(key): str(shard) for key, shard in shards.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise InputError("is not the index of a sharded file", str(path), _PLAIN) from None
    tensors: dict[str, Tensor] = {}
    files = [path]
    notes: tuple[str, ...] = ()
    for shard in sorted(set(names.values())):
        file = path.parent / shard
        if Path(shard).name != shard or not file.is_file():
            raise InputError(
                f"names the part {shard!r}, which is not beside it", str(path), "Put all parts in one folder"
            )
        opened = _open_one(file, checked)
        for key in (key for key, name in names.items() if name == shard):
            if key not in opened.tensors:
                raise InputError(
                    f"lacks the tensor {key}, which {path.name} lists", str(file), "Download it again"
                )
            tensors[key] = opened.tensors[key]
        files.append(file)
        notes += opened.notes
    return Opened(path, tensors, (), tuple(files), notes)


def _open_pickle(path: Path, checked: bool) -> Opened:
    try:
        zipped = zipfile.is_zipfile(path)
        notes = _check_entries(path) if zipped and not checked else ()
        # Only the zip format (torch 1.6 and later) can be mapped.
        with (
            warnings.catch_warnings(action="ignore"),  # what they tell is told below
            torch.serialization.safe_globals(_NUMBERS),
        ):
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
    state, other = _unwrap(content, path)
    tensors = {str(key): value for key, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        raise InputError("holds no weights", str(path), _PLAIN)
    for key, tensor in tensors.items():
        if tensor.is_meta or tensor.layout is not torch.strided:
            raise InputError(f"holds {key} without plain values", str(path), "Get the plain weights")
    other += tuple(str(key) for key, value in state.items() if not isinstance(value, Tensor))
    return Opened(path, tensors, other, (path,), notes)


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


def _check_entries(path: Path) -> tuple[str, ...]:
    """Compare a zip file's entries with their checksums, which torch does not look at; returns what there is to note.

    torch can be told to write no checksums (`set_crc32_options`): they are then 0, of the pickle alone or of all.

    Raises:
        InputError: an entry is damaged.
    """
    with zipfile.ZipFile(path) as file:
        entries = [entry for entry in file.infolist() if entry.file_size]
        none = not any(entry.CRC for entry in entries)
        for entry in entries:
            if entry.CRC or not (none or entry.filename.endswith("/data.pkl")):
                _check_entry(file, entry, path)
        if all(entry.CRC for entry in entries):
            return ()
    return (f"{path.name} lacks checksums: whether it is whole cannot be told",)


def _check_entry(file: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path) -> None:
    try:
        with file.open(entry) as stream:
            while stream.read(1 << 20):
                pass
    except zipfile.BadZipFile:
        raise InputError(
            f"is damaged at its entry {entry.filename!r}", str(path), "Download it again"
        ) from None


def _unwrap(content: Any, path: Path) -> tuple[Mapping[Any, Any], tuple[str, ...]]:
    """The state dict, and the names of what lies beside it."""
    if not isinstance(content, Mapping):
        return {}, ()
    beside: tuple[str, ...] = ()
    for _ in range(_DEEPEST):
        refuse_two_models(map(str, content), path)
        wrapper = next((name for name in _WRAPPERS if isinstance(content.get(name), Mapping)), None)
        if wrapper is None:
            break
        others = {str(key): value for key, value in content.items() if key != wrapper}
        for name in STUDENT_TEACHER:
            if isinstance(others.get(name), Mapping):
                raise two_models((wrapper, name), path)
        beside += tuple(others)
        content = content[wrapper]
    return content, beside
