"""Tiles' features kept on disk: drawing more, mapping after a training, and mapping again compute only what is new.

A tile's features depend on the imagery, the weights, how they are computed and the tile's place, and on nothing else: a file's
name is the digest of all of that, so nothing is ever out of date, and any run may use what another has left. The least recently
used files go first when the store is full.

Features are in half precision here, and so they are rounded to it when they are computed (`features.py`): a map is the
same whether they were found here or not.
"""

import contextlib
import hashlib
import json
import logging
import os
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from skysense.aside import write_aside
from skysense.errors import InputError, StorageError
from skysense.finetune.features import FeatureMap, TileFeatures
from skysense.finetune.series import Anchors
from skysense.model.device import computed_by, lane_threads
from skysense.raster.identity import scene_identity
from skysense.raster.tiles import Tile, Tiling
from skysense.scene.acquisition import Scene
from skysense.scene.sensors import Modality

log = logging.getLogger(__name__)

#: Environment variables: another folder, and how many GB it may hold (0: nothing is kept).
FOLDER_VARIABLE, LIMIT_VARIABLE = "SKYSENSE_CACHE", "SKYSENSE_CACHE_GB"
_DEFAULT_GB = 10.0
#: Counted up when the same imagery and weights come to mean other features.
_VERSION = 4
#: What is left after making room, as a share of the limit.
_AFTER = 0.9


class FeatureStore:
    """The features of one scene's tiles, made in one way.

    Attributes:
        keeps: False: what is here is used, and nothing new is kept.

    Args:
        key: all that the features of every tile depend on (JSON-able).
        folder: see `cache_folder`; made when something is kept.
        limit: bytes that the folder may hold.
    """

    def __init__(self, key: dict[str, Any], folder: Path, limit: int) -> None:
        self._key = hashlib.sha256(json.dumps([_VERSION, key], sort_keys=True).encode()).hexdigest()
        self.folder, self.limit = folder, limit
        self.keeps = True
        self._held: int | None = None  # bytes in the folder; not looked up before something is kept
        self._lock = threading.Lock()

    def has(self, tile: Tile) -> bool:
        """Whether a tile's features are here."""
        return self._path(tile).is_file()

    def load(self, tile: Tile) -> TileFeatures | None:
        """A tile's features, None where they are not here; safe to call from several threads."""
        path = self._path(tile)
        try:
            with safe_open(path, framework="pt") as file:
                places = json.loads(file.metadata()["maps"])
                shape = json.loads(file.metadata()["shape"])
                maps = {
                    name: FeatureMap(file.get_tensor(name), stride, origin)
                    for name, (stride, origin) in places.items()
                }
                bits = file.get_tensor("valid").numpy()
            with contextlib.suppress(OSError):  # it may be another user's
                os.utime(path)  # used now: the last to go
        except FileNotFoundError:
            return None
        except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
            log.warning("kept features in %s are damaged and are computed again: %s", path, error)
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        valid = np.unpackbits(bits, count=shape[0] * shape[1]).astype(bool).reshape(shape)
        return TileFeatures(tile, maps, valid)

    def save(self, features: TileFeatures) -> None:
        """Keep a tile's features (values that half precision holds). A full disk is no reason to stop: then nothing is kept."""
        if not self.keeps:
            return
        tensors = {name: feature.stored.half().cpu() for name, feature in features.maps.items()}
        tensors["valid"] = torch.from_numpy(np.packbits(features.valid))
        metadata = {
            "maps": json.dumps({name: [m.stride, m.origin] for name, m in features.maps.items()}),
            "shape": json.dumps(features.valid.shape),
        }
        data = save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata)
        path = self._path(features.tile)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with self._lock:
                self._make_room(len(data))
            if len(data) <= self.limit:
                write_aside(path, data, mark=str(os.getpid()))  # another process may keep the same tile
        except (OSError, StorageError) as error:
            log.warning("features are not kept: %s", error)
            self.limit = 0

    def _path(self, tile: Tile) -> Path:
        name = hashlib.sha256(f"{self._key} {tile.row} {tile.col}".encode()).hexdigest()
        return self.folder / name[:2] / f"{name[2:]}.safetensors"

    def _make_room(self, size: int) -> None:
        """Remove what was not used for longest until `size` more bytes fit."""
        if self._held is not None and self._held + size <= self.limit:
            self._held += size
            return
        files = sorted(kept_files(self.folder))
        self._held = sum(held for _, held, _ in files)
        if self._held + size > self.limit:
            for _, held, path in files:
                if self._held + size <= _AFTER * self.limit:
                    break
                with contextlib.suppress(OSError):  # another run may have been faster
                    path.unlink()
                self._held -= held
        self._held += size


def open_store(
    scene: Scene,
    tiling: Tiling,
    weights: str,
    device: torch.device,
    precision: str,
    fusion_stride: int,
    encoded: tuple[Modality, ...],
    anchors: dict[Modality, Anchors],
    verify: bool = False,
) -> FeatureStore | None:
    """The store of a scene's features, None where it may hold nothing or the model sees nothing of the scene.

    Args:
        weights: of the backbone, see `Backbone.identity`.
        encoded, anchors, fusion_stride: see `features.FeatureExtractor`.
        verify: the files of the scene are read in whole to know them (see `raster.identity`).

    Raises:
        InputError: a file of the scene is gone, or the limit is no number.
    """
    limit = cache_limit()
    if not limit or not encoded:
        return None
    modalities = tiling.layout.modalities
    used = replace(scene, acquisitions=tuple(a for a in scene.acquisitions if a.modality in modalities))
    key = {
        "scene": scene_identity(used, verify),
        "tiling": [
            repr(tiling.layout.base),
            tiling.layout.hr_factor,
            tiling.side,
            tiling.margin,
            tiling.shift,
            tiling.halo,
        ],
        "weights": weights,
        "device": computed_by(device),
        "threads": lane_threads(device),
        "precision": precision,
        "fusion_stride": fusion_stride,
        "encoded": encoded,
        "anchors": {m: [a.bands, a.days, a.gaps and a.gaps.digest] for m, a in anchors.items()},
    }
    return FeatureStore(key, cache_folder(), limit)


def kept_files(folder: Path) -> list[tuple[int, int, Path]]:
    """All kept features: (time of last use in ns, bytes, path)."""
    found = []
    for path in folder.glob("??/*.safetensors"):
        with contextlib.suppress(OSError):
            status = path.stat()
            found.append((status.st_mtime_ns, status.st_size, path))
    return found


def cache_folder() -> Path:
    """Where features are kept; need not exist.

    `SKYSENSE_CACHE`, else `skysense/features` in the platform's folder for what can be made again: `~/.cache` (or
    `XDG_CACHE_HOME`), `~/Library/Caches`, or `%LOCALAPPDATA%`.
    """
    chosen = os.environ.get(FOLDER_VARIABLE, "").strip()
    if chosen:
        return Path(chosen)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "skysense" / "features"


def cache_limit() -> int:
    """Bytes that it may hold: `SKYSENSE_CACHE_GB` (10).

    Raises:
        InputError: that is no number.
    """
    text = os.environ.get(LIMIT_VARIABLE, "").strip()
    try:
        limit = float(text) if text else _DEFAULT_GB
        if not 0 <= limit < 1e6:
            raise ValueError
    except ValueError:
        raise InputError(
            f"is {text!r}",
            f"the environment variable {LIMIT_VARIABLE}",
            "Write a number of GB; 0 keeps nothing",
        ) from None
    return int(limit * 1e9)
