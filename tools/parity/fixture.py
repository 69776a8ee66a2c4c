"""A folder of fixtures: its index, and the arrays and weights of each case.

`index.json` maps a case's name to its entry: "cls" (the kind of case), "config" (constructor arguments), "io"
(npz file of inputs and outputs), "weights" (safetensors file), and what else its kind reads.
"""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor


class BrokenIndex(Exception):
    """There is no usable index, said in one sentence."""


class FixtureError(Exception):
    """Why a case cannot be compared, or a part of it: one line that names the file, array, tensor or key."""


@dataclass(frozen=True)
class Case:
    """One case: its name, its entry of the index, and the folder that its files lie in."""

    name: str
    entry: dict[str, Any]
    folder: Path

    @property
    def kind(self) -> str:
        """The "cls" entry: the official class or path that made the numbers."""
        return str(self.entry.get("cls", ""))

    @property
    def config(self) -> dict[str, Any]:
        """Constructor arguments, a copy."""
        return dict(_mapping(self.entry, "config"))

    @property
    def variants(self) -> dict[str, dict[str, Any]]:
        """Further arguments by what names of outputs carry after the size: "_{variant}", or "" where there is but one."""
        changes = _mapping(self.entry, "variants")
        return {f"_{name}": dict(_mapping(changes, name)) for name in changes} or {"": {}}

    def arrays(self) -> dict[str, Tensor]:
        """Inputs and outputs as stored."""
        path = self._file("io")
        try:
            with np.load(path) as stored:
                return {name: torch.from_numpy(np.asarray(stored[name])) for name in stored.files}
        except (ValueError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise FixtureError(f"{path.name} cannot be read: {error}") from None

    def weights(self) -> dict[str, Tensor]:
        """Stored weights, under the released keys."""
        path = self._file("weights")
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise FixtureError(f"{path.name} cannot be read: {error}") from None

    def _file(self, key: str) -> Path:
        if not isinstance(self.entry.get(key), str):
            raise FixtureError(f'the index names no "{key}" file')
        path = self.folder / self.entry[key]
        if not path.is_file():
            raise FixtureError(f"{path.name} is missing")
        return path


def read_cases(folder: Path) -> list[Case]:
    """Every case of the index, in its order.

    Raises:
        BrokenIndex: the index is missing, no JSON, not an object of objects, or empty.
    """
    path = folder / "index.json"
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BrokenIndex(
            f"{folder}: there is no index.json; make parity GOLDENS=dir names its folder."
        ) from None
    except (OSError, ValueError) as error:
        raise BrokenIndex(f"{path}: the index cannot be read ({error}).") from None
    if not isinstance(index, dict) or not all(isinstance(entry, dict) for entry in index.values()):
        raise BrokenIndex(f"{path}: the index is no object of cases.")
    if not index:
        raise BrokenIndex(f"{path}: the index holds no case.")
    return [Case(name, entry, folder) for name, entry in index.items()]


def _mapping(entry: dict[str, Any], key: str) -> dict[str, Any]:
    value = entry.get(key, {})
    if not isinstance(value, dict):
        raise FixtureError(f'"{key}" is no object: {value!r}')
    return value
