"""Tensors under the released names, whatever a training program has wrapped around the model.

Source: reference specification 4; for `Wqkv` the public SkySense++ loader, whose attention came from another library.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

from skysense.errors import InputError

#: Copies of one model that a self-distillation keeps.
STUDENT_TEACHER = ("student", "teacher")
#: What stands before every name: of a parallel, compiled or distilled model, or of one in a training module.
_PREFIXES = tuple(f"{name}." for name in ("module", "model", "_orig_mod", *STUDENT_TEACHER))
_FUSED_QKV = re.compile(r"\.Wqkv\.(weight|bias)$")


def released_names(tensors: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The same tensors without prefixes that all names share, and with `in_proj_*` for `Wqkv.*`.

    Raises:
        InputError: there are two models, or two tensors of one name.
    """
    names = list(tensors)
    refuse_two_models(names, path)
    while prefix := next((p for p in _PREFIXES if names and all(n.startswith(p) for n in names)), None):
        names = [name.removeprefix(prefix) for name in names]
        refuse_two_models(names, path)
    found: dict[str, Tensor] = {}
    for name, tensor in zip(names, tensors.values(), strict=True):
        plain = _FUSED_QKV.sub(r".in_proj_\1", name)
        if plain in found:
            raise InputError(f"holds {plain} twice", str(path), "Get the weights under one name each")
        found[plain] = tensor
    return found


def refuse_two_models(names: Iterable[str], path: Path) -> None:
    """Raises InputError where both a student's and a teacher's tensors, or dicts of them, are named."""
    if {name.partition(".")[0] for name in names}.issuperset(STUDENT_TEACHER):
        raise two_models(STUDENT_TEACHER, path)


def two_models(names: tuple[str, str], path: Path) -> InputError:
    return InputError(
        f"holds two models, {names[0]} and {names[1]}, and which of them is wanted cannot be told",
        str(path),
        "Save the tensors of one of them as a file of their own, and give that",
    )
