"""Finds the Python that has the `skysense` package. Never QGIS's own, and never `sys.executable`.

Order: the user's choice in the options, the variable SKYSENSE_PYTHON, `.venv` beside the plugin's real folder
(a checkout of the repository), the per-user environment, and the command `skysense` on the PATH.
A choice that the user made and that does not work is reported, not skipped.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from qgis.core import QgsSettings

from ..paths import PLUGIN_FOLDER, data_folder

SETTING = "skysense/python"
VARIABLE = "SKYSENSE_PYTHON"

_WORKER_OF_PYTHON = ("-I", "-u", "-m", "skysense", "worker")
_WORKER_OF_COMMAND = ("worker",)


@dataclass(frozen=True)
class Found:
    """The outcome of the search.

    Attributes:
        program: the executable; "" = none found.
        arguments: what makes it the worker.
        reason: one sentence: where it comes from, or why there is none and what to do.
    """

    program: str
    arguments: tuple[str, ...]
    reason: str

    @property
    def ok(self) -> bool:
        return bool(self.program)


def find_python() -> Found:
    """Search the places in order."""
    chosen = str(QgsSettings().value(SETTING, "") or "").strip()
    if chosen:
        return check_python(chosen, "It is set in Settings, Options, SkySense")
    variable = os.environ.get(VARIABLE, "").strip()
    if variable:
        return check_python(variable, f"It is set in the environment variable {VARIABLE}")
    for folder, origin in (
        (PLUGIN_FOLDER.parent / ".venv", "It is the environment beside the plugin's source code"),
        (data_folder() / "env", "It is the environment of this user"),
    ):
        python = venv_python(folder)
        if is_executable(python):
            return Found(str(python), _WORKER_OF_PYTHON, f"{origin}: {python}.")
    command = shutil.which("skysense")
    if command:
        return Found(command, _WORKER_OF_COMMAND, f"It is the command skysense on the PATH: {command}.")
    return Found(
        "",
        (),
        "The SkySense environment was not found. Open Settings, Options, SkySense and choose the Python that has "
        "the package skysense.",
    )


def check_python(path: str, origin: str = "It was chosen") -> Found:
    """Take a given interpreter (or a virtual environment's folder), if it can be run at all."""
    program = Path(path).expanduser()
    if program.is_dir():
        program = venv_python(program)
    if is_executable(program):
        command = program.stem.lower() == "skysense"
        return Found(
            str(program), _WORKER_OF_COMMAND if command else _WORKER_OF_PYTHON, f"{origin}: {program}."
        )
    return Found(
        "",
        (),
        f"There is no program {program} ({origin[0].lower()}{origin[1:]}). Choose the Python that has the package "
        "skysense in Settings, Options, SkySense.",
    )


def venv_python(folder: Path) -> Path:
    """Where the interpreter of a virtual environment lies; its link is not followed (that would leave it)."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def is_executable(path: Path) -> bool:
    return path.is_file() and os.access(str(path), os.X_OK)
