"""The folder of a run's finished chunks: kept over an interruption, used again only for the very same input."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import skysense
from skysense.errors import StorageError
from skysense.jobs.sidecar import write_json
from skysense.raster.identity import scene_identity
from skysense.scene.acquisition import Scene


def manifest(scene: Scene, settings: dict[str, Any]) -> dict[str, Any]:
    """What finished chunks depend on: chunks of another manifest are not reused.

    Args:
        settings: what they depend on beside the scene and its files.
    """
    return {"version": skysense.__version__, "scene": scene_identity(scene), **settings}


def open_journal(output: Path, content: dict[str, Any], resume: bool) -> Path:
    """Prepare the folder of an output's chunks, `<output>.parts`.

    Args:
        content: the run's manifest.
        resume: keep the chunks of an interrupted run that was made from the very same input.

    Raises:
        StorageError: it cannot be made.
    """
    parts = output.with_name(output.name + ".parts")
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    log = parts / "manifest.json"
    if parts.is_dir():
        same = log.is_file() and json.loads(log.read_text(encoding="utf-8")).get("sha256") == digest
        if not (resume and same):
            shutil.rmtree(parts)
    try:
        parts.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"cannot be made ({error.strerror})", str(parts), "Choose another folder for the map"
        ) from None
    write_json(log, {"sha256": digest})
    return parts


def close_journal(parts: Path) -> None:
    """Remove the chunks of a finished output."""
    shutil.rmtree(parts, ignore_errors=True)  # a viewer may still hold a chunk open (Windows)
