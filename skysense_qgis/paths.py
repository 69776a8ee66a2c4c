"""Where the plugin's own files and its per-user files lie."""

from __future__ import annotations

import os
from pathlib import Path

from qgis.PyQt.QtCore import QStandardPaths

PLUGIN_FOLDER = Path(os.path.realpath(__file__)).parent


def icon_path(name: str) -> str:
    """Path of an icon in resources/icons."""
    return str(PLUGIN_FOLDER / "resources" / "icons" / name)


def built_in_model() -> str:
    """Path of the base model that comes with the plugin; the backend says so if this copy has lost it."""
    return str(PLUGIN_FOLDER / "resources" / "models" / "skysense-tiny.safetensors")


def data_folder() -> Path:
    """The per-user folder for SkySense's environment and default output (not created here)."""
    base = QStandardPaths.writableLocation(QStandardPaths.StandardLocation.GenericDataLocation)
    return Path(base or Path.home()) / "skysense"


def cache_folder() -> Path:
    """The per-user folder for logs and passing files; created if it is missing.

    Raises:
        OSError: it cannot be created.
    """
    base = QStandardPaths.writableLocation(QStandardPaths.StandardLocation.GenericCacheLocation)
    folder = Path(base or Path.home()) / "skysense"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
