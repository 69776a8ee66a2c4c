"""The folder of a run's finished chunks: kept over an interruption, used again only for the very same input."""

import contextlib
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import skysense
from skysense.errors import InputError, StorageError
from skysense.inference.lock import NAME as LOCK
from skysense.jobs.sidecar import write_json
from skysense.raster.identity import file_identities, scene_identity
from skysense.scene.acquisition import Scene

_MANIFEST = "manifest.json"


def manifest(scene: Scene, settings: dict[str, Any]) -> dict[str, Any]:
    """What finished chunks depend on: chunks of another manifest are not reused.

    Args:
        settings: what they depend on beside the scene and its files.
    """
    return {"version": skysense.__version__, "scene": scene_identity(scene), **settings}


def journal_folder(output: Path) -> Path:
    """Where the chunks of an output lie until it is finished."""
    return output.with_name(output.name + ".parts")


def begin(
    folder: Path, content: dict[str, Any], chosen: dict[str, int], anew: bool = False
) -> dict[str, int]:
    """Prepare the folder of a map's chunks; to be called while its lock is held.

    Chunks of the very same input are kept, with what was chosen when they were begun: sums are split by threads and by
    batches, so that other choices would not give the same bytes.

    Args:
        content: the run's manifest.
        chosen: what this run would choose.
        anew: remove all chunks.

    Returns:
        What the run has to use.

    Raises:
        StorageError: it cannot be written.
    """
    digest, log = digest_of(content), folder / _MANIFEST
    if not anew:
        try:
            known = json.loads(log.read_text(encoding="utf-8"))
            if known.get("sha256") == digest and known["chosen"].keys() == chosen.keys():
                return {name: int(value) for name, value in known["chosen"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            pass  # there is none, or it is of another run: its chunks go
    try:
        for path in folder.iterdir():
            if path.name != LOCK:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    except OSError as error:
        raise StorageError(
            f"cannot be removed ({error.strerror})",
            str(error.filename or folder),
            "Close programs that show it, or choose another name for the map",
        ) from None
    write_json(log, {"sha256": digest, "chosen": chosen})
    return chosen


def digest_of(content: dict[str, Any]) -> str:
    """Hex SHA-256 of a manifest."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def check_unchanged(scene: Scene, before: dict[Path, list[object]], folder: Path) -> None:
    """Raises InputError where a file of the scene has changed since the run began; the chunks are removed.

    Args:
        before: what `raster.identity.file_identities` gave then.
    """
    after = file_identities(scene)
    changed = [path for path, known in before.items() if after.get(path) != known]
    if changed:
        close_journal(folder)
        raise InputError(
            "has changed while it was mapped", str(changed[0]), "Map again, now that it is finished"
        )


def open_journal(output: Path, content: dict[str, Any], resume: bool) -> Path:
    """Prepare the folder of an output's chunks, `<output>.parts`.

    Args:
        content: the run's manifest.
        resume: keep the chunks of an interrupted run that was made from the very same input.

    Raises:
        StorageError: it cannot be made.
    """
    parts, digest = journal_folder(output), digest_of(content)
    log = parts / _MANIFEST
    if parts.is_dir() and not (resume and _digest_in(log) == digest):
        shutil.rmtree(parts)
    try:
        parts.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"cannot be made ({error.strerror})", str(parts), "Choose another folder for the map"
        ) from None
    write_json(log, {"sha256": digest})
    return parts


def _digest_in(log: Path) -> str | None:
    """The digest that a manifest names; None where it cannot be read: after a power cut it may be empty."""
    try:
        known = json.loads(log.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return known.get("sha256") if isinstance(known, dict) else None


def close_journal(parts: Path) -> None:
    """Remove the chunks of a finished output; a lock on them stays, and goes with its run."""
    with contextlib.suppress(OSError):  # a viewer may still hold a chunk open (Windows)
        for path in sorted(parts.iterdir(), key=lambda path: path.name != _MANIFEST):  # the manifest first
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != LOCK:
                path.unlink()
        if not (parts / LOCK).exists():
            parts.rmdir()


def is_current(folder: Path, digest: str, chosen: dict[str, int]) -> bool:
    """Whether the chunks in a folder are those of this manifest, made with what was chosen."""
    try:
        known = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(known == {"sha256": digest, "chosen": chosen})
