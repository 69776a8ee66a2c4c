"""Synthetic landscapes as a source of windows with HR, Sentinel-2 and Sentinel-1 together."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from skysense.errors import StorageError
from skysense.synthetic.landscape import make_landscape


def make_synthetic(
    folder: Path, count: int, seed: int, progress: Callable[[str], None] = lambda text: None
) -> list[Path]:
    """Make landscapes of varied size, HR pixel, year and dates, as scenes in a folder; those that are there stay.

    Each takes about a second. It is written aside and renamed when whole, so that an interrupted run goes on
    where it was.

    Args:
        folder: made if missing.
        count: how many there are to be.
        seed: 0 or more; landscape i is a function of (seed, i).
        progress: told before each is made; may raise to stop.

    Returns:
        Their scene files.

    Raises:
        StorageError: the folder cannot be written.
    """
    scenes = []
    for number in range(count):
        name = f"synthetic-{seed}-{number:04d}"
        scene = folder / name / "scene.json"
        if not scene.exists():
            progress(f"making landscape {number + 1} of {count}")
            _make(folder, name, _arguments(seed, number))
        scenes.append(scene)
    return scenes


def _make(folder: Path, name: str, arguments: dict[str, Any]) -> None:
    aside = folder / f".{name}.part"  # hidden: a search for scenes passes it by
    try:
        shutil.rmtree(aside, ignore_errors=True)
        shutil.rmtree(folder / name, ignore_errors=True)
        path = make_landscape(aside, **arguments)
        scene = {**json.loads(path.read_text(encoding="utf-8")), "name": name}
        del scene["labels"]
        path.write_text(json.dumps(scene, indent=1) + "\n", encoding="utf-8")
        os.replace(aside, folder / name)
    except OSError as error:
        raise StorageError(
            f"cannot write the synthetic scene ({error})", str(folder), "Choose another folder"
        ) from error


def _arguments(seed: int, number: int) -> dict[str, Any]:
    """How landscape `number` is made: sizes that take about a second, pixels as of good satellites."""
    random = np.random.default_rng((seed, number))
    return {
        "seed": int(random.integers(2**31)),
        "size_m": int(random.choice([640, 800, 960])),
        "hr_gsd_m": float(random.choice([1.25, 2.5])),
        "n_s2": int(random.integers(6, 19)),
        "n_s1": int(random.integers(3, 11)),
        "year": int(random.integers(2017, 2025)),
    }
