"""The model file (contract C5): one safetensors file whose metadata holds a JSON header. No pickle, ever.

Two kinds of file share the format: a fine-tuned model (what was trained, and the name of its backbone) and a
backbone (header "kind": "backbone"). A standalone fine-tuned file holds its backbone too, under `BACKBONE`.
"""

import hashlib
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from skysense.aside import storage_error, write_aside
from skysense.errors import InputError
from skysense.model.header import check_header
from skysense.model.tensorfile import KEY, write_tensors

FORMAT = 1

#: Endings of what `skysense convert` reads, but for .safetensors.
_CHECKPOINTS = (".pth", ".pt", ".ckpt", ".bin", ".index.json")

#: Prefix of the backbone's tensors in a standalone file.
BACKBONE = "backbone."


@dataclass(frozen=True)
class ModelFile:
    """A model file's content.

    Attributes:
        header: "format", "backbone" (preset, weights, sha256), "head", "spares" (see `finetune.spares`), "classes", "inputs", "report",
            "licence".
        tensors: what was trained, by name.
        sha256: of the whole file.
    """

    header: dict[str, Any]
    tensors: dict[str, Tensor]
    sha256: str


def save_model(path: Path, header: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Write a model file aside and rename it, so that an old one is never half overwritten.

    Raises:
        StorageError: it cannot be written.
    """
    text = json.dumps({"format": FORMAT, **header}, ensure_ascii=False, sort_keys=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(path, error) from None
    data = safetensors.torch.save({name: t.contiguous() for name, t in tensors.items()}, metadata={KEY: text})
    write_aside(path, data)


def save_standalone(
    path: Path, header: dict[str, Any], tensors: dict[str, Tensor], backbone: dict[str, Tensor]
) -> None:
    """Write a model file that holds its backbone, tensor by tensor.

    Raises:
        StorageError: it cannot be written.
    """
    everything = {**tensors, **{BACKBONE + name: tensor for name, tensor in backbone.items()}}
    specs = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in everything.items()}
    write_tensors(path, specs, lambda _: {"format": FORMAT, **header}, everything.items())


def load_model(path: Path) -> ModelFile:
    """Read a fine-tuned model, without the backbone that it may hold.

    Raises:
        InputError: it does not exist, is no SkySense model, is of a newer format, or is a backbone.
    """
    header = read_header(path)
    if header.get("kind") == "backbone":
        raise InputError(
            "is a backbone, not a trained model", str(path), "Train a model on it first (finetune --model)"
        )
    try:
        with safe_open(path, framework="pt") as file:
            names = [name for name in file.keys() if not name.startswith(BACKBONE)]  # noqa: SIM118 - not a dict
            tensors = {name: file.get_tensor(name) for name in names}
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except (SafetensorError, OSError) as error:
        raise _no_model(path, error) from None
    return ModelFile(header, tensors, digest)


def read_header(path: Path) -> dict[str, Any]:
    """The JSON header of a model file or a backbone, without its tensors; `header.check_header` has passed.

    Raises:
        InputError: it does not exist, is no SkySense model, is of a newer format, or lacks what its kind needs.
    """
    if not path.is_file():
        raise InputError("does not exist", str(path), "Choose the model file again, or train one")
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(KEY)
    except (SafetensorError, OSError) as error:
        raise _no_model(path, error) from None
    try:
        header = None if text is None else json.loads(text)
    except ValueError:
        header = None
    if text is None:
        raise _unconverted(path, "is not a SkySense model")
    if not isinstance(header, dict):
        raise InputError("is not a SkySense model", str(path), "Choose a model that SkySense has trained")
    if isinstance(header.get("format"), int) and header["format"] > FORMAT:
        raise InputError(
            f"has format {header['format']}, newer than this version reads", str(path), "Update SkySense"
        )
    check_header(header, path)
    return header


def _no_model(path: Path, error: Exception) -> InputError:
    if _is_pickled(path) or path.name.lower().endswith(_CHECKPOINTS):
        return _unconverted(path, "is a checkpoint, not a backbone or a trained model")
    return InputError(f"is not a model file ({error})", str(path), "Choose a .safetensors file")


def _is_pickled(path: Path) -> bool:
    """Whether it is a zip file as torch saves them, with a pickle in it."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith(".pkl") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def _unconverted(path: Path, what: str) -> InputError:
    out = path.with_name(f"{path.name.split('.')[0]}-skysense.safetensors")
    return InputError(
        what,
        str(path),
        f'Make a backbone of it if it holds released weights: skysense convert "{path}" "{out}", and name that file',
    )
