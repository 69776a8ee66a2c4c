"""What an adaptation is asked to do: its length, its name and its recipe. Standard library only."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ..duration import duration

TASK = "pretrain"
#: Choices of how long: title and steps.
LENGTHS = (("Short", 100), ("Medium", 400), ("Long", 2000))
MODEL_FILE = "model.safetensors"

#: Where an adaptation differs from a first pretraining.
SETTINGS: dict[str, Any] = {
    "lr": 1e-4,  # a fifth: the model is to fit better, not to begin anew
}
_SAVES = 10  # times in a run: a tenth of it is lost at most when the computer goes off


def length_text(title: str, steps: int, step_s: float | None) -> str:
    """A choice of the length as it is shown.

    Args:
        step_s: seconds that a step takes; None = not known yet.
    """
    return f"{title}: {steps} steps" + (f", about {duration(steps * step_s)}" if step_s else "")


def folder_name(name: str) -> str:
    """The name that a model's folder gets: what file systems forbid becomes "_"; "" = nothing is left of it."""
    return re.sub(r'[\x00-\x1f<>:"/\\|?*]+', "_", name).strip(" ._")


def free_name(folder: Path, name: str) -> str:
    """The name, with a number where the folder has one of that name already."""
    free, number = name, 1
    while (folder / folder_name(free)).exists():
        number += 1
        free = f"{name} {number}"
    return free


def adaptation(
    scene: dict[str, Any] | None,
    folders: list[str],
    model: str,
    steps: int,
    output: Path,
) -> dict[str, Any]:
    """The recipe (C4).

    Args:
        scene: the panel's scene with absolute paths; None = it is empty.
        folders: further folders of scenes.
        model: the backbone file to go on from; "" = there is none.
        output: the folder to write.
    """
    return {
        "skysense": 1,
        "task": TASK,
        "data": [*([scene] if scene is not None else []), *folders],
        **({"model": model} if model else {}),
        "output": str(output),
        "options": {"steps": steps, "settings": {**SETTINGS, "save_every": max(1, steps // _SAVES)}},
    }
