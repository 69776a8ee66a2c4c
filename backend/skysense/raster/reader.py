"""Reading a scene: any window of a lattice as a stack of dates, in the model's units, with what is invalid.

Files are read window by window; their grids, radiometry and ways of sampling are found once. See `resample`
for why a pixel's value does not depend on the window it is read in.

Shape legend: T acquisitions, C bands, H x W pixels.
"""

import copy
import datetime
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from skysense.errors import InputError
from skysense.raster.clouds import is_classification, mask_invalid, series_clouds
from skysense.raster.grid import Grid, Lattice, Window
from skysense.raster.handles import (
    Handles,
    alpha_band,
    block_bytes,
    grid_of,
    has_mask,
    read_window,
)
from skysense.raster.layout import Layout, plan_layout
from skysense.raster.radiometry import BAD, EMPTY, Radiometry, find_radiometry, sample_pixels
from skysense.raster.resample import OUTSIDE, Sampler, Spots
from skysense.scene.acquisition import Acquisition, Scene
from skysense.scene.sensors import EXTRA_BANDS, SENSORS, Modality

#: Source pixels (all bands) that are in memory at a time; larger reads go in strips of rows.
_MOST_PIXELS = 24_000_000


@dataclass
class Stack:
    """What a window shows.

    Attributes:
        values: (T, C, H, W) float32 in `Sensor.units`, 0 where invalid. Bands are `Sensor.bands`; for HR
            "NIR" comes last if any acquisition of the scene has it.
        valid: (T, H, W) bool; clouds are invalid.
        band_present: (T, C) bool; a missing band's values are 0.
        dates: T days, None = unknown.
    """

    values: NDArray[np.float32]
    valid: NDArray[np.bool_]
    band_present: NDArray[np.bool_]
    dates: tuple[datetime.date | None, ...]


@dataclass(frozen=True)
class _Layer:
    """Bands of one acquisition that lie in one file.

    Attributes:
        numbers: band numbers in the file; slots: their places in the stack.
        grid: the file's grid; overviews: how many times coarser its overviews are.
        alpha: number of the alpha band; masked: the file has a mask of its own.
    """

    path: Path
    numbers: list[int]
    slots: list[int]
    grid: Grid
    overviews: tuple[int, ...]
    alpha: int | None
    masked: bool
    radiometry: Radiometry


@dataclass(frozen=True)
class _Mask:
    """A file of clouds and the like; classification: its numbers are SCL classes."""

    path: Path
    grid: Grid
    classification: bool


@dataclass(frozen=True)
class _Source:
    """One acquisition, ready to be read."""

    item: Acquisition
    layers: tuple[_Layer, ...]
    mask: _Mask | None


#: Where windows lie in the sources that have been read so far; None: it is not kept.
_Known = dict[tuple[Sampler, Window], Spots | None] | None


class SceneReader:
    """Reads a scene; `read` may be called from several threads at once.

    Args:
        scene: as `plan_layout` got it.
        layout: what it gave; None = the scene's own. Windows on its lattices are read at the same places to
            the bit.

    Use as a context manager, or call `close` when no thread reads any more.
    """

    def __init__(self, scene: Scene, layout: Layout | None = None) -> None:
        self._layout = layout or plan_layout(scene)
        self._items = {modality: scene.modality(modality) for modality in self._layout.modalities}
        self._bands = {modality: _band_names(modality, items) for modality, items in self._items.items()}
        self._handles = Handles()
        self._sources: dict[tuple[Modality, int], _Source] = {}
        self._samplers: dict[tuple[Grid, Lattice], Sampler] = {}
        self._looked: dict[tuple[Sampler, Window], Spots | None] = {}  # see `looking_ahead`
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all files."""
        self._handles.close()

    def part(self, scene: Scene) -> "SceneReader":
        """A reader of some of the acquisitions, with the same bands; it shares this one's files and ends with it."""
        other = copy.copy(self)
        other._items = {modality: scene.modality(modality) for modality in self._layout.modalities}
        other._sources = {}
        return other

    @contextmanager
    def looking_ahead(self, grid: Grid) -> Iterator[None]:
        """While something else is done: open the files of the series and decode the blocks that a window lies in, which is most of
        the time of a first `read`. It ends with the `with` block, done or not; an error in there closes the reader. What is wrong
        with a file `read` will tell.

        Args:
            grid: of the window, as of `read`.
        """
        stop = threading.Event()

        def look() -> None:
            lattice, window = self._place(grid)
            for modality in [
                name for name in self._items if name != "hr"
            ]:  # of a picture a tile meets one file
                values = np.zeros((len(self._bands[modality]), *grid.shape), np.float32)
                for number in range(len(self._items[modality])):
                    if stop.is_set():
                        return
                    with suppress(InputError):
                        source, valid = self._source(modality, number), np.zeros(grid.shape, bool)
                        self._read_source(source, lattice, window, self._looked, values, valid)

        thread = threading.Thread(target=look, name="look ahead", daemon=True)
        thread.start()
        try:
            yield
        except BaseException:
            stop.set()
            thread.join()
            self.close()
            raise
        stop.set()
        thread.join()

    @property
    def days(self) -> dict[Modality, tuple[int, ...]]:
        """For each modality the acquisitions' days of the year, 0..365; -1 where the date is unknown."""
        return {
            modality: tuple(-1 if item.date is None else item.date.timetuple().tm_yday - 1 for item in items)
            for modality, items in self._items.items()
        }

    def read(self, modality: Modality, grid: Grid) -> Stack:
        """Read a window of a lattice; pixels beyond the imagery are invalid.

        Sentinel stacks always hold all dates. Of HR only acquisitions that meet the window are there (the
        first if none does), since a mosaic may have hundreds.

        Args:
            grid: square, north-up; as a rule cut out of `layout.base` or `layout.compute`.

        Raises:
            InputError: a file is gone or damaged; the message names it.
        """
        lattice, window = self._place(grid)
        sources = [self._source(modality, number) for number in range(len(self._items[modality]))]
        if modality == "hr":
            sources = [source for source in sources if self._meets(source, lattice, window)] or sources[:1]
        names = self._bands[modality]
        shape = (len(sources), len(names), window.height, window.width)
        stack = Stack(
            np.zeros(shape, np.float32),
            np.zeros((shape[0], *shape[2:]), bool),
            np.array([[name in source.item.bands for name in names] for source in sources], bool).reshape(
                shape[:2]
            ),
            tuple(source.item.date for source in sources),
        )
        # Dates of a series mostly share a grid; of a mosaic no two files do.
        known: _Known = dict(self._looked) if modality != "hr" else None
        for number, source in enumerate(sources):
            self._read_source(source, lattice, window, known, stack.values[number], stack.valid[number])
        if modality == "s2":
            # A scene classification knows the clouds; another mask may be about anything.
            unknown = np.array([source.mask is None or not source.mask.classification for source in sources])
            clouds = series_clouds(stack.values, stack.valid, stack.band_present) & unknown[:, None, None]
            if clouds.any():
                stack.valid &= ~clouds
                stack.values *= ~clouds[:, None]
        return stack

    def _place(self, grid: Grid) -> tuple[Lattice, Window]:
        """Lattice and window of a grid; the layout's own where it fits, so that places agree to the bit."""
        assert grid.square, f"{grid} is not on a lattice"
        base = self._layout.base
        factor = max(1, round(base.gsd / grid.gsd))
        for lattice in (base.refine(factor), Lattice.of(grid)):
            window = lattice.locate(grid)
            if window is not None:
                return lattice, window
        raise AssertionError(f"{grid} is not on its own lattice")

    def _source(self, modality: Modality, number: int) -> _Source:
        key = (modality, number)
        with self._lock:
            if key not in self._sources:
                self._sources[key] = self._open(self._items[modality][number], self._bands[modality])
            return self._sources[key]

    def _open(self, item: Acquisition, names: tuple[str, ...]) -> _Source:
        """Find out all that reading needs to know of an acquisition."""
        files: dict[Path, list[str]] = {}
        for name in names:
            if name in item.bands:
                files.setdefault(item.bands[name].path, []).append(name)
        layers = []
        for path, wanted in files.items():
            numbers = [item.bands[name].index for name in wanted]
            declared = item.alpha if path == item.path else None
            with self._handles.use(path) as dataset:
                alpha = declared if declared is not None else alpha_band(dataset)
                alpha = None if alpha in numbers else alpha  # what the user calls a band is one
                layers.append(
                    _Layer(
                        path,
                        numbers,
                        [names.index(name) for name in wanted],
                        grid_of(dataset, path),
                        tuple(dataset.overviews(numbers[0])),
                        alpha,
                        has_mask(dataset),
                        find_radiometry(item, wanted, dataset, path, alpha),
                    )
                )
                if item.modality != "hr":  # of a picture's hundreds of files a tile meets a few
                    self._handles.hold_blocks(block_bytes(dataset, numbers))
        mask = None
        if item.mask is not None:
            with self._handles.use(item.mask) as dataset:
                sample = sample_pixels(dataset, item.mask, [1])
                grid = grid_of(dataset, item.mask)
            mask = _Mask(item.mask, grid, is_classification(item.mask.name, sample))
        return _Source(item, tuple(layers), mask)

    def _sampler(self, source: Grid, lattice: Lattice) -> Sampler:
        key = (source, lattice)
        if key not in self._samplers:
            self._samplers[key] = Sampler.between(source, lattice)
        return self._samplers[key]

    def _meets(self, source: _Source, lattice: Lattice, window: Window) -> bool:
        return any(self._sampler(layer.grid, lattice).meets(window) for layer in source.layers)

    def _read_source(
        self,
        source: _Source,
        lattice: Lattice,
        window: Window,
        known: _Known,
        values: NDArray[np.float32],
        valid: NDArray[np.bool_],
    ) -> None:
        """Fill values (C, H, W) and valid (H, W) of one acquisition."""
        empty = np.ones(valid.shape, bool)
        bad = np.zeros(valid.shape, bool)
        for layer in source.layers:
            found, state = self._read_layer(layer, lattice, window, known)
            values[layer.slots] = found
            empty &= state == EMPTY
            bad |= (state == BAD) | (state == OUTSIDE)
        valid[:] = ~(empty | bad)
        if source.mask is not None and valid.any():
            valid &= ~self._read_mask(source.mask, lattice, window, known)
        if not valid.all():
            values *= valid

    def _read_layer(
        self, layer: _Layer, lattice: Lattice, window: Window, known: _Known
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Values (bands of the layer, H, W) and states (H, W) of one file."""
        place = lattice.locate(layer.grid)
        if place is not None:
            return self._read_direct(layer, window.shift(-place.row, -place.col))
        overview, sampler = self._level(layer, lattice)
        values = np.zeros((len(layer.numbers), window.height, window.width), np.float32)
        states = np.full((window.height, window.width), OUTSIDE, np.uint8)
        per_row = window.width * len(layer.numbers) * math.prod(sampler.parts)
        for strip in window.strips(max(1, _MOST_PIXELS // per_row)):
            spots = _spots(sampler, strip, known)
            if spots is None:
                continue
            stored, state = self._decode(layer, spots.part, overview, mixing=True)
            rows = slice(strip.row - window.row, strip.row - window.row + strip.height)
            sampled, states[rows] = spots.sample(stored, state)
            values[:, rows] = layer.radiometry.finish(sampled, states[rows])
        return values, states

    def _read_direct(self, layer: _Layer, window: Window) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Source pixels are target pixels: `window` counts from the file's corner and may leave the file."""
        inside = window.intersect(layer.grid.window)
        if inside == window:
            return self._decode(layer, window, None, mixing=False)
        values = np.zeros((len(layer.numbers), window.height, window.width), np.float32)
        states = np.full((window.height, window.width), OUTSIDE, np.uint8)
        if inside is not None:
            where = window.slices(inside)
            values[:, *where], states[where] = self._decode(layer, inside, None, mixing=False)
        return values, states

    def _level(self, layer: _Layer, lattice: Lattice) -> tuple[int | None, Sampler]:
        """The coarsest overview that is still twice as fine as the target, and how to sample it."""
        sampler = self._sampler(layer.grid, lattice)
        finest = min(sampler.parts)
        usable = [(factor, level) for level, factor in enumerate(layer.overviews) if finest / factor >= 2]
        if not usable:
            return None, sampler
        _, level = max(usable)
        with self._handles.use(layer.path, level) as dataset:
            grid = grid_of(dataset, layer.path)
        return level, self._sampler(grid, lattice)

    def _decode(
        self, layer: _Layer, window: Window, overview: int | None, mixing: bool
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """A window inside the file, in `Sensor.units` or (`mixing`) in what may be interpolated."""
        numbers = layer.numbers if layer.alpha is None else [*layer.numbers, layer.alpha]
        outside = None
        with self._handles.use(layer.path, overview) as dataset:
            stored = read_window(dataset, layer.path, numbers, window)
            if layer.masked and layer.alpha is None:
                outside = np.asarray(read_window(dataset, layer.path, numbers, window, mask=True)[0] == 0)
        if layer.alpha is not None:
            stored, outside = stored[:-1], np.asarray(stored[-1] == 0)
        return layer.radiometry.decode(stored, outside, mixing)

    def _read_mask(self, mask: _Mask, lattice: Lattice, window: Window, known: _Known) -> NDArray[np.bool_]:
        """Where the mask says invalid, (H, W); nowhere beyond it."""
        spots = _spots(self._sampler(mask.grid, lattice), window, known)
        if spots is None:
            return np.zeros((window.height, window.width), bool)
        with self._handles.use(mask.path) as dataset:
            stored = read_window(dataset, mask.path, [1], spots.part)[0]
        return np.asarray(spots.nearest(mask_invalid(stored, mask.classification)), bool)


def _spots(sampler: Sampler, window: Window, known: _Known) -> Spots | None:
    """As of `Sampler.spots`, found once where they are kept."""
    if known is None:
        return sampler.spots(window)
    if (sampler, window) not in known:
        known[sampler, window] = sampler.spots(window)
    return known[sampler, window]


def _band_names(modality: Modality, items: tuple[Acquisition, ...]) -> tuple[str, ...]:
    """The bands of a modality's stacks."""
    extra = EXTRA_BANDS[modality] if modality == "hr" else ()
    return SENSORS[modality].bands + tuple(
        name for name in extra if any(name in item.bands for item in items)
    )
