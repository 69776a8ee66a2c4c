"""Checkpoints of a running pretraining: each process writes its rows, any number of processes reads them back.

`FOLDER/step-00000200/` holds `rows-00001-of-00002.safetensors`, the rows of the second of two processes, with the
number of each tensor's first row in the header, and `state.json`: the shape and type of every tensor, the size of
every file, and what the trainer adds. Not torch.distributed.checkpoint: its index is a pickle, and to read a pickle is to run it.

A checkpoint is written under another name and renamed when all of it is on the disk, so whatever has its name is whole.
Processes on several machines need a folder that all of them see.
"""

import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from skysense.errors import InputError, StorageError
from skysense.model.tensorfile import KEY, write_tensors
from skysense.pretrain.parallel import any_process, rank, world_size
from skysense.pretrain.shard import rows

#: Of the layout described above.
_FORMAT = 1
_INDEX = "state.json"
_REMOVE = "Begin anew, or remove it to go on with the one before"


def save(
    folder: Path, step: int, tensors: Mapping[str, Tensor], extra: dict[str, Any], keep: int = 2
) -> Path:
    """Write a checkpoint, then remove all but the newest `keep` up to it; called by all processes.

    Later ones stay: this run went on from before them since it could not read them, which another version may.

    Args:
        folder: where checkpoints lie.
        step: steps done.
        tensors: by name; sharded ones are written by rows, plain ones, equal in all processes, by the first.
        extra: JSON-able; the first process's counts.

    Returns:
        The checkpoint's folder.

    Raises:
        StorageError: this or another process cannot write; earlier checkpoints are as they were.
    """
    target = folder / f"step-{step:08d}"
    part = folder / f"{target.name}.part"
    with _together(folder):
        if rank() == 0:
            for left in folder.glob("step-*.part"):  # by a process that was killed
                shutil.rmtree(left)
            part.mkdir(parents=True)
    with _together(folder):
        _write_rows(part, tensors)
    with _together(folder):
        if rank() == 0:
            index = {
                "format": _FORMAT,
                "step": step,
                "tensors": _specs(tensors),
                "files": {file.name: file.stat().st_size for file in sorted(part.iterdir())},
                "extra": extra,
            }
            with (part / _INDEX).open("w", encoding="utf-8") as out:
                json.dump(index, out)
                out.flush()
                os.fsync(out.fileno())
            _sync(part)
            if target.exists():  # one that was not whole, so that an earlier one was resumed
                shutil.rmtree(target)
            part.rename(target)
            _sync(folder)
            done = [path for path in _by_step(folder) if step_of(path) <= step]
            for old in done[:-keep]:
                shutil.rmtree(old, ignore_errors=True)
    return target


def newest(folder: Path, note: Callable[[str], None] = lambda text: None) -> Path | None:
    """The newest checkpoint that has all its files in their sizes; None where there is no checkpoint at all.

    Args:
        folder: where checkpoints lie.
        note: told which newer one is passed over, and why.

    Raises:
        InputError: there are checkpoints and none can be used; why not the newest.
    """
    first: InputError | None = None
    paths = _by_step(folder)[::-1]
    for path in paths:
        try:
            _check_whole(path)
        except InputError as error:
            first = first or error
            continue
        if first is not None:
            note(
                f"{paths[0].name} is passed over ({first.what}): the newest that can be used is {path.name}."
            )
        return path
    if first is not None:
        raise first
    return None


def extra_of(checkpoint: Path) -> dict[str, Any]:
    """What the trainer added to a checkpoint, without its tensors; raises InputError if it cannot be read."""
    extra: dict[str, Any] = _read_index(checkpoint)["extra"]
    return extra


def step_of(checkpoint: Path) -> int:
    """Steps done at a checkpoint."""
    return int(checkpoint.name.removeprefix("step-"))


def load(checkpoint: Path, tensors: Mapping[str, Tensor]) -> tuple[int, dict[str, Any]]:
    """Read a checkpoint into `tensors`, in place, each process its own rows; nothing is changed if it does not fit.

    Args:
        checkpoint: from `newest`.
        tensors: as for `save`, from any number of processes.

    Returns:
        Steps done, and `extra`.

    Raises:
        InputError: names, shapes or types are not the checkpoint's, or it cannot be read.
    """
    index = _read_index(checkpoint)
    _check_same(_specs(tensors), index["tensors"], checkpoint)
    files = [checkpoint / name for name in index["files"]]
    try:
        counts = Counter[str]()
        for file in files:
            for piece in _pieces(file):
                counts[piece.name] += piece.count
        for name, (_, shape) in index["tensors"].items():
            if counts[name] != (shape[0] if shape else 1):
                raise InputError(f"lacks rows of {name}", str(checkpoint), _REMOVE)
        for file in files:
            _read_rows(file, tensors)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"cannot be read ({error})", str(checkpoint), _REMOVE) from None
    return index["step"], index["extra"]


def optimiser_tensors(optimiser: torch.optim.AdamW, modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """The very tensors of AdamW's state, as `optimiser.{exp_avg, exp_avg_sq, step}.PREFIX.PARAMETER`.

    What the optimiser has not made yet is made here, with the zeros that it begins with: names are the same at any step.

    Args:
        modules: whose parameters the optimiser has, by prefix.
    """
    groups = {p: group for group in optimiser.param_groups for p in group["params"]}
    tensors = {}
    for prefix, module in modules.items():
        for name, parameter in module.named_parameters():
            if parameter not in groups:
                continue
            state = optimiser.state[parameter]
            if not state:
                on_device = groups[parameter]["fused"] or groups[parameter]["capturable"]
                state["step"] = torch.tensor(0.0, device=parameter.device if on_device else None)
                for moment in ("exp_avg", "exp_avg_sq"):
                    state[moment] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
            for kind in ("exp_avg", "exp_avg_sq", "step"):
                tensors[f"optimiser.{kind}.{prefix}.{name}"] = state[kind]
    return tensors


@dataclass(frozen=True)
class _Piece:
    """Rows of one tensor in one file."""

    name: str
    first: int
    count: int


@contextmanager
def _together(folder: Path) -> Iterator[None]:
    """Work that has failed in all processes if it has failed in one, with StorageError for what the disk says."""
    try:
        yield
    except BaseException as error:
        any_process(True)
        if isinstance(error, OSError):
            where = str(error.filename or folder)
            fix = "Free some space or choose another folder"
            raise StorageError(f"cannot be written ({error.strerror})", where, fix) from None
        raise
    if any_process(False):
        raise StorageError("could not be written by another process, whose message says why", str(folder))


def _write_rows(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    own, first = {}, {}
    for name, tensor in tensors.items():
        values, first[name] = rows(tensor)
        if rank() == 0 or (isinstance(tensor, DTensor) and len(values)):
            own[name] = torch.atleast_1d(values)
    write_tensors(
        folder / f"rows-{rank():05d}-of-{world_size():05d}.safetensors",
        {name: (values.dtype, tuple(values.shape)) for name, values in own.items()},
        lambda _: {"first": {name: first[name] for name in own}},
        own.items(),
    )


def _pieces(file: Path) -> list[_Piece]:
    with safe_open(file, "pt") as opened:
        first = json.loads(opened.metadata()[KEY])["first"]
        return [_Piece(name, int(first[name]), opened.get_slice(name).get_shape()[0]) for name in first]


def _read_rows(file: Path, tensors: Mapping[str, Tensor]) -> None:
    """Copy what a file holds of this process's rows."""
    pieces = _pieces(file)
    with safe_open(file, "pt") as opened:
        for piece in pieces:
            values, begin = rows(tensors[piece.name])
            values = torch.atleast_1d(values)
            start, stop = max(begin, piece.first), min(begin + len(values), piece.first + piece.count)
            if start < stop:
                read = opened.get_slice(piece.name)[start - piece.first : stop - piece.first]
                values[start - begin : stop - begin].copy_(read)


def _specs(tensors: Mapping[str, Tensor]) -> dict[str, list[Any]]:
    return {name: [str(t.dtype).removeprefix("torch."), list(t.shape)] for name, t in tensors.items()}


def _check_same(here: dict[str, list[Any]], there: dict[str, list[Any]], checkpoint: Path) -> None:
    other = {name for name in here.keys() & there.keys() if here[name] != there[name]}
    for wrong, names in (
        ("lacks", here.keys() - there.keys()),
        ("has, beyond what is trained,", there.keys() - here.keys()),
        ("has in another shape or type", other),
    ):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            fix = "Resume with the model and the options that it was begun with"
            raise InputError(f"{wrong} {min(names)}{more}", str(checkpoint), fix)


def _read_index(checkpoint: Path) -> dict[str, Any]:
    try:
        index: dict[str, Any] = json.loads((checkpoint / _INDEX).read_text(encoding="utf-8"))
        if index["format"] != _FORMAT:
            raise InputError(
                "is of another version of SkySense",
                str(checkpoint),
                "Resume it with the version that began it",
            )
        index["step"], index["tensors"], index["files"].items(), index["extra"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"cannot be read ({error!r})", str(checkpoint), _REMOVE) from None
    return index


def _check_whole(checkpoint: Path) -> None:
    for name, size in _read_index(checkpoint)["files"].items():
        try:
            whole = (checkpoint / name).stat().st_size == size
        except OSError:
            whole = False
        if not whole:
            raise InputError(f"{name} is not whole", str(checkpoint), _REMOVE)


def _by_step(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("step-*") if re.fullmatch(r"step-\d{8,}", path.name))


def _sync(folder: Path) -> None:
    """What a folder holds, not only what its files hold, on the disk."""
    if os.name == "posix":  # Windows opens no folders
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
