"""Weights that a user has already: a backbone file is used as it is, released checkpoints are converted to one."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from skysense.errors import InputError
from skysense.jobs.control import JobControl
from skysense.model.checkpoint.backbonefile import holds_backbone
from skysense.model.checkpoint.convert import convert
from skysense.model.folder import models_folder
from skysense.model.modelfile import read_header
from skysense.model.tensorfile import KEY


def inspect_weights(paths: list[Path]) -> dict[str, Any]:
    """Whether files can be trained on as they are.

    Returns:
        {"kind": "backbone" = a backbone file, or a model file that holds one; "checkpoint" = to be converted}.

    Raises:
        InputError: a file is missing or damaged, or is a trained model without its backbone.
    """
    for path in paths:
        if not path.is_file():
            raise InputError("does not exist", str(path), "Choose the file again")
    if len(paths) != 1 or paths[0].suffix.lower() != ".safetensors" or not _is_ours(paths[0]):
        return {"kind": "checkpoint"}
    if not holds_backbone(read_header(paths[0])):
        raise InputError(
            "is a trained model, which maps but is not trained on",
            str(paths[0]),
            "Choose it as the trained model",
        )
    return {"kind": "backbone"}


def convert_weights(
    paths: list[Path], control: JobControl, bands: Mapping[str, Sequence[str]] | None = None
) -> dict[str, Any]:
    """Convert checkpoints to a backbone file in the user's model folder, under a name that is theirs and their bands' alone.

    Args:
        bands: see `model.checkpoint.convert.convert`.

    Returns:
        See `model.checkpoint.convert.convert`.

    Raises:
        InputError: a file cannot be used; StorageError: the result cannot be written; Cancelled.
    """
    places = sorted(str(path.resolve()) for path in paths)
    others = [f"{modality}={','.join(names)}" for modality, names in sorted((bands or {}).items())]
    key = hashlib.sha256("\n".join([*places, *others]).encode()).hexdigest()[:8]
    name = Path(places[0]).name.split(".")[0] or "model"
    output = models_folder() / f"{name}-{key}.safetensors"
    return convert([(path, None) for path in paths], output, control, bands)


def _is_ours(path: Path) -> bool:
    try:
        with safe_open(path, framework="pt") as file:
            return KEY in (file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"is not a safetensors file ({error})", str(path), "Download it again, or choose another file"
        ) from None
