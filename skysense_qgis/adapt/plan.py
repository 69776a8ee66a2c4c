"""What an adaptation is asked to do: its length, its name and its recipe. Standard library only."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from ..duration import duration

TASK = "pretrain"
#: Choices of how long: title, steps, and what that means with the built-in model on two cores of a laptop, where a step
#: takes some seconds with series and ten times as many where all images are of high resolution.
LENGTHS = (("Short", 100, "minutes"), ("Medium", 400, "about an hour"), ("Long", 2000, "hours"))
MODEL_FILE = "model.safetensors"

_ADAPTING_LR = 1e-4  # a fifth of a first pretraining's: the model is to fit better, not to begin anew
_SAVES = 10  # times in a run: a tenth of it is lost at most when the computer goes off


def length_text(title: str, steps: int, step_s: float | None, roughly: str = "") -> str:
    """A choice of the length as it is shown.

    Args:
        step_s: seconds that a step takes here; None = not known yet.
        roughly: how long it takes, in words; shown while `step_s` is not known.
    """
    text = f"{title}: {steps} steps"
    if step_s:
        return f"{text}, about {duration(steps * step_s)}"
    return f"{text}, {roughly} on a laptop" if roughly else text


def folder_name(name: str) -> str:
    """The name that a model's folder gets: what file systems forbid becomes "_"; "" = nothing is left of it."""
    return re.sub(r'[\x00-\x1f<>:"/\\|?*]+', "_", name).strip(" ._")


def is_free(place: Path) -> bool:
    """A model's folder can be made there: nothing is there, or the empty folder that a failed start leaves."""
    return not place.exists() or (place.is_dir() and next(os.scandir(place), None) is None)


def free_name(folder: Path, name: str) -> str:
    """The name, with a number where the folder has one of that name already."""
    free, number = name, 1
    while not is_free(folder / folder_name(free)):
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
        model: the backbone file to go on from.
        output: the folder to write.
    """
    settings = {"save_every": max(1, steps // _SAVES), "lr": _ADAPTING_LR}
    return {
        "skysense": 1,
        "task": TASK,
        "data": [*([scene] if scene is not None else []), *folders],
        "model": model,
        "output": str(output),
        "options": {"steps": steps, "settings": settings},
    }
