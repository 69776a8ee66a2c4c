"""The tiles that the model sees: squares on one global grid, so that no chunking changes a pixel's value.

A tile's core is what is kept of it; the margin around it only gives context. Cores tile the plane without gaps
or overlaps: tile (i, j) keeps base pixels i*core .. (i+1)*core, counted from the lattice's origin (or from `shift`
pixels right and below of it, by which measurements tell whether seams show).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from skysense.raster.grid import Grid, Window
from skysense.raster.layout import Layout


@dataclass(frozen=True)
class Tile:
    """One tile.

    Attributes:
        row, col: place on the global grid of tiles.
        window: what the model sees, in base pixels.
        core: what is kept, in compute pixels.
    """

    row: int
    col: int
    window: Window
    core: Window


@dataclass(frozen=True)
class Tiling:
    """How a scene is cut.

    Attributes:
        layout: the scene's grids.
        side: base pixels of a tile's side; margin: base pixels dropped at each side.
        shift: base pixels by which the grid of tiles is moved.
        halo: base pixels around the core that fused features and series reach.
        blend: compute pixels on either side of a border across which neighbouring tiles pass into each other; 0: each keeps to its
            core.
    """

    layout: Layout
    side: int
    margin: int
    shift: int = 0
    halo: int = 0
    blend: int = 0

    @property
    def scale(self) -> int:
        """Compute pixels per base pixel side."""
        alone = self.layout.modalities == ("hr",)
        return 1 if alone else max(self.layout.hr_factor, 1)

    @property
    def core(self) -> int:
        """Compute pixels of a core's side."""
        return (self.side - 2 * self.margin) * self.scale

    def tile(self, row: int, col: int) -> Tile:
        step = self.side - 2 * self.margin
        window = Window(row * step - self.margin, col * step - self.margin, self.side, self.side)
        core = Window(row * self.core, col * self.core, self.core, self.core)
        moved = self.shift * self.scale
        return Tile(row, col, window.shift(self.shift, self.shift), core.shift(moved, moved))

    def compute_grid(self, tile: Tile) -> Grid:
        """The tile's window at compute resolution."""
        w, s = tile.window, self.scale
        return self.layout.compute.grid(Window(w.row * s, w.col * s, w.height * s, w.width * s))

    def core_grid(self, tile: Tile) -> Grid:
        """The tile's core at compute resolution."""
        return self.layout.compute.grid(tile.core)

    def over(self, area: Window) -> Iterator[Tile]:
        """The tiles whose cores meet an area of compute pixels, row by row."""
        rows, cols = self._places(area)
        for row in rows:
            for col in cols:
                yield self.tile(row, col)

    def drawn(self, area: Window, most: int) -> list[Tile]:
        """Some of them at random, the same ones each time, all where there are no more."""
        rows, cols = self._places(area)
        count = len(rows) * len(cols)
        numbers = np.random.default_rng(0).choice(count, min(most, count), replace=False).tolist()
        return [self.tile(rows[number // len(cols)], cols[number % len(cols)]) for number in numbers]

    def _places(self, area: Window) -> tuple[range, range]:
        area = area.shift(-self.shift * self.scale, -self.shift * self.scale)
        return (
            range(area.row // self.core, -(-(area.row + area.height) // self.core)),
            range(area.col // self.core, -(-(area.col + area.width) // self.core)),
        )


def plan_tiles(layout: Layout, blend: bool = False) -> Tiling:
    """The tiling of a scene: 64 base pixels of 10 m (the encoders' native size), or 1,024 HR pixels when HR is alone.

    The margin is one ViT patch, or two windows of Swin's deepest stage: enough that no seam shows, little enough
    that the overlap costs at most 31 % more.

    Args:
        blend: let neighbouring tiles pass into each other. With HR alone that is free; fusion has more pixels to fuse.
    """
    if layout.modalities == ("hr",):
        return Tiling(layout, side=1024, margin=64, blend=_HR_BLEND if blend else 0)
    plain = Tiling(layout, side=64, margin=4)
    # With HR, one 10 m pixel more, so that the scores can be interpolated at the edge.
    width, more = _BLEND if blend else 0, 1 if plain.scale > 1 else 0
    return replace(plain, halo=width + more, blend=width * plain.scale)


#: Pixels on either side of a border across which tiles are blended: of HR alone, and of 10 m.
_HR_BLEND, _BLEND = 32, 2
#: Tiles along a chunk of Sentinel data at most, and chunks along a map that there should be if the map is that large.
_TILES_PER_CHUNK, _CHUNKS_ACROSS = 8, 8


def chunk_size(tiling: Tiling) -> int:
    """Output pixels of a chunk's side: whole tiles, so that on an aligned grid no tile is computed twice.

    One tile where HR takes part. Of Sentinel data 1, 2, 4 or 8 (4.5 km), so that a small view fills bit by bit as well, and a large
    map is not a heap of small files.
    """
    if tiling.scale > 1 or tiling.layout.modalities == ("hr",):
        return tiling.core
    across = min(tiling.layout.area.height, tiling.layout.area.width) // tiling.core
    tiles = 1
    while tiles < _TILES_PER_CHUNK and across >= 2 * tiles * _CHUNKS_ACROSS:
        tiles *= 2
    return tiling.core * tiles
