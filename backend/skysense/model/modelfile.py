"""The model file (contract C5): one safetensors file whose metadata holds a JSON header. No pickle, ever."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from skysense.errors import InputError, StorageError

FORMAT = 1
_KEY = "skysense"


@dataclass(frozen=True)
class ModelFile:
    """A model file's content.

    Attributes:
        header: "format", "backbone" (preset, weights, sha256), "head", "classes", "inputs", "report", "licence".
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
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        data = safetensors.torch.save(
            {name: t.contiguous() for name, t in tensors.items()}, metadata={_KEY: text}
        )
        part.write_bytes(data)
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise StorageError(
            f"cannot be written ({error.strerror})", str(path), "Free some space or choose another folder"
        ) from None


def load_model(path: Path) -> ModelFile:
    """Read a model file.

    Raises:
        InputError: it does not exist, is no SkySense model, or is of a newer format.
    """
    if not path.is_file():
        raise InputError("does not exist", str(path), "Choose the model file again, or train one")
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(_KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError) as error:
        raise InputError(f"is not a model file ({error})", str(path), "Choose a .safetensors file") from None
    if text is None:
        raise InputError("is not a SkySense model", str(path), "Choose a model that SkySense has trained")
    header = json.loads(text)
    if header.get("format", 0) > FORMAT:
        raise InputError(
            f"has format {header['format']}, newer than this version reads", str(path), "Update SkySense"
        )
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return ModelFile(header, tensors, digest)
