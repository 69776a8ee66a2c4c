"""Where a user keeps backbones. Standard library only."""

import os
import sys
from pathlib import Path

#: Environment variable that names another folder.
VARIABLE = "SKYSENSE_MODELS"


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
