"""Windows of scenes as they are read: cut from blocks that are decoded once and kept.

Values equal those of `SceneReader.read` on the window's own grid to the bit, since a pixel's value depends on no
window (see `raster.reader`; the cloud test looks at one pixel through time).

Shape legend: T acquisitions, C bands, h x w base pixels, H x W HR pixels.
"""

import threading
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skysense.errors import InputError
from skysense.pretrain.cache import BlockCache
from skysense.pretrain.config import PretrainConfig
from skysense.pretrain.corpus import Entry, files_of, place_of, without_file
from skysense.pretrain.found import Omitted
from skysense.pretrain.sampler import Draw
from skysense.raster.grid import Grid, Window
from skysense.raster.reader import SceneReader, Stack
from skysense.scene.sensors import Modality

#: Files that the readers of one thread may hold open together, far below the usual limit of 1,024 per process;
#: a single scene may exceed it (`raster.handles` then bounds it).
_MOST_FILES = 128

Block = dict[Modality, Stack]


@dataclass(frozen=True)
class RawWindow:
    """A window as read.

    Attributes:
        stacks: of the modalities that show enough of it: s2, s1 (T, C, h, w), hr (T, C, H, W), in
            `Sensor.units`; acquisitions without a valid pixel in the window are not among them.
        hr_per_base: HR pixels per base pixel side where HR and a series are there; None otherwise.
        place: (lon, lat) of its centre in degrees.
        scene: its name, for messages.
    """

    stacks: dict[Modality, Stack]
    hr_per_base: int | None
    place: tuple[float, float]
    scene: str


class WindowReader:
    """Reads drawn windows; `read` may be called from several threads at once, `close` when none reads any more.

    A file that turns out damaged is left out of its block, counted and named in `problems`; what a window shows
    then depends on the files alone, not on what was read before.
    """

    def __init__(self, entries: Sequence[Entry], config: PretrainConfig) -> None:
        self._entries, self._config = entries, config
        self._files = [sum(len(files_of(item)) for item in entry.scene.acquisitions) for entry in entries]
        self._cache: BlockCache[Block] = BlockCache(config.cache_mb * 2**20, _bytes)
        self._local = threading.local()
        self._all: list[OrderedDict[tuple[int, frozenset[Path]], SceneReader]] = []
        self._lock = threading.Lock()
        self._problems: dict[Omitted, set[tuple[int, Window]]] = {}

    @property
    def problems(self) -> Counter[Omitted]:
        """Files and scenes that could not be read, with the number of blocks that lack them."""
        with self._lock:
            return Counter({problem: len(blocks) for problem, blocks in self._problems.items()})

    def read(self, draw: Draw) -> RawWindow | None:
        """The window, or None where too little of it is valid.

        A modality is there if one acquisition shows `config.min_valid` of what the scene covers of the window.
        None if none is, or of a fused scene only HR, whose pixels are then not those of an HR window.
        """
        entry = self._entries[draw.entry]
        block = self._cache.get((draw.entry, draw.block), lambda: self._decode(draw.entry, draw.block))
        covered = draw.window.intersect(entry.extent)
        assert covered is not None, draw
        stacks: dict[Modality, Stack] = {}
        for modality, stack in block.items():
            factor = max(entry.layout.hr_factor, 1) if modality == "hr" else 1
            cut = _cut(stack, draw.block, draw.window, factor)
            pixels = covered.height * covered.width * factor**2
            if len(cut.dates) and cut.valid.sum(axis=(1, 2)).max() >= self._config.min_valid * pixels:
                stacks[modality] = cut
        if not stacks or (entry.kind == "fused" and stacks.keys() == {"hr"}):
            return None
        fused = "hr" in stacks and len(stacks) > 1
        return RawWindow(
            stacks, entry.layout.hr_factor if fused else None, place_of(entry.layout, draw.window), entry.name
        )

    def close(self) -> None:
        """Close all files."""
        with self._lock:
            for readers in self._all:
                for reader in readers.values():
                    reader.close()
                readers.clear()

    def _decode(self, number: int, window: Window) -> Block:
        """All modalities of a block, without the files that cannot be read."""
        entry, bad = self._entries[number], frozenset[Path]()
        while True:
            try:
                reader = self._reader(number, bad)
                return {
                    modality: reader.read(modality, _grid(entry, modality, window))
                    for modality, days in reader.days.items()
                    if days
                }
            except InputError as error:
                file = Path(error.where or "")
                known = file not in bad and any(file in files_of(item) for item in entry.scene.acquisitions)
                name = f"{entry.name}, {file.name}" if known else entry.name
                with self._lock:
                    self._problems.setdefault(Omitted(name, error.what), set()).add((number, window))
                if not known:
                    return {}
                bad |= {file}

    def _reader(self, number: int, bad: frozenset[Path]) -> SceneReader:
        """This thread's reader of a scene without some files."""
        mine: OrderedDict[tuple[int, frozenset[Path]], SceneReader] | None = getattr(
            self._local, "open", None
        )
        if mine is None:
            mine = self._local.open = OrderedDict()
            with self._lock:
                self._all.append(mine)
        key = (number, bad)
        if key not in mine:
            entry = self._entries[number]
            while mine and self._files[number] + sum(self._files[other] for other, _ in mine) > _MOST_FILES:
                mine.popitem(last=False)[1].close()
            scene = entry.scene
            for path in bad:
                scene = without_file(scene, path)
            mine[key] = SceneReader(scene, entry.layout)
        mine.move_to_end(key)
        return mine[key]


def _grid(entry: Entry, modality: Modality, window: Window) -> Grid:
    """The grid that a modality is read on in a window of the base lattice."""
    if modality == "hr":
        return entry.layout.compute.grid(_refined(window, entry.layout.hr_factor))
    return entry.layout.base.grid(window)


def _refined(window: Window, factor: int) -> Window:
    """A window of the base lattice on one that is `factor` times as fine."""
    return Window(window.row * factor, window.col * factor, window.height * factor, window.width * factor)


def _cut(stack: Stack, block: Window, window: Window, factor: int) -> Stack:
    """The part of a block's stack, a copy, with the acquisitions that have a valid pixel in it."""
    part = (slice(None), *_refined(block, factor).slices(_refined(window, factor)))
    valid = stack.valid[part]
    kept = np.flatnonzero(valid.any(axis=(1, 2)))
    rows, cols = part[1:]
    return Stack(
        stack.values[kept, :, rows, cols],
        valid[kept],
        stack.band_present[kept],
        tuple(stack.dates[number] for number in kept),
    )


def _bytes(block: Block) -> int:
    return sum(stack.values.nbytes + stack.valid.nbytes for stack in block.values())
