"""Where backbones lie: the built-in one, and those that a user keeps. Standard library only."""

import os
import sys
from pathlib import Path

#: Environment variable that names another folder.
VARIABLE = "SKYSENSE_MODELS"

#: Environment variable in which the plugin gives its worker the file of the built-in model.
BUILT_IN_VARIABLE = "SKYSENSE_BUILT_IN"

#: The folder that holds `backend` and `resources`: the source tree's, or the plugin's own where its zip was unpacked.
_ROOT = Path(__file__).resolve().parents[3]


def built_in_model() -> Path:
    """The file of the built-in model, which need not exist.

    It lies in `resources/models` beside the folder `backend`. A backend that was installed somewhere else has no
    such folder; then it is the file that the plugin which started this process has (`SKYSENSE_BUILT_IN`).
    """
    own = _ROOT / "resources" / "models" / "skysense-tiny.safetensors"
    given = os.environ.get(BUILT_IN_VARIABLE, "").strip()
    return Path(given) if given and not own.is_file() else own


def models_folder() -> Path:
    """The user's model folder, which need not exist.

    `SKYSENSE_MODELS`, else `skysense/models` in the platform's folder for application data: `~/.local/share`
    (or `XDG_DATA_HOME`), `~/Library/Application Support`, or `%LOCALAPPDATA%`.
    """
    chosen = os.environ.get(VARIABLE, "").strip()
    if chosen:
        return Path(chosen)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return base / "skysense" / "models"
