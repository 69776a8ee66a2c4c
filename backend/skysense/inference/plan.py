"""What a map takes, before anything is computed: its chunks in their order, and who computes which.

Shape legend: K values of a pixel.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from skysense.inference.smooth import REACH
from skysense.raster.chunks import Chunk, plan_chunks
from skysense.raster.grid import Grid, Window
from skysense.raster.layout import Layout
from skysense.raster.tiles import Tiling, chunk_size

#: Tiles along the square of chunks that one worker gets at a time at most, and how many such squares each worker should get: the last
#: ones finish together only if there are several, and the tiles along the edges of each are computed by its neighbours as well.
_TILES_PER_SHARE, _SHARES_PER_WORKER = 8, 3


@dataclass(frozen=True)
class MapPlan:
    """The chunks of a map, which cover every pixel that is asked for once.

    Attributes:
        chunks: in the order in which they are computed.
        size: of their sides at most, in output pixels.
        core: of a tile's, in output pixels.
    """

    chunks: tuple[Chunk, ...]
    size: int
    core: int

    def shares(self, workers: int) -> list[list[int]]:
        """Numbers of chunks that lie together, for several workers: neighbours need the same tiles at their edges."""
        pixels = sum(chunk.window.height * chunk.window.width for chunk in self.chunks)
        fair = math.sqrt(pixels / (_SHARES_PER_WORKER * workers)) / self.size
        side = self.size * max(1, min(round(fair), _TILES_PER_SHARE * self.core // self.size))
        shares: dict[tuple[int, int], list[int]] = {}
        for number, chunk in enumerate(self.chunks):
            # The lower right pixel: cuts lie at whole sizes from it, at the upper left a chunk may be cut short.
            row, col = chunk.window.row + chunk.window.height - 1, chunk.window.col + chunk.window.width - 1
            shares.setdefault((row // side, col // side), []).append(number)
        return list(shares.values())


def plan_map(
    layout: Layout,
    tiling: Tiling,
    start: tuple[float, float] | None = None,
    wanted: Callable[[Grid], bool] | None = None,
    smooth: bool = True,
) -> MapPlan:
    """Cut a map into chunks and put them in order.

    Args:
        start: a place in the output's CRS; chunks near to it come first, of the nearest what needs no tiles but its own. None: row by
            row.
        wanted: whether something is asked for in a chunk; the others are left out. None: all.
        smooth: values are averaged over neighbours: cuts then lie two pixels before the tiles' edges, so that a chunk needs
            only the edges of the tiles above and on the left of its own, which are mostly known already.
    """
    size = chunk_size(tiling)
    chunks = plan_chunks(layout, size, REACH if smooth and layout.aligned else 0)
    kept = [chunk for chunk in chunks if wanted is None or wanted(chunk.grid)]
    if start is not None:
        col, row = layout.output.place(*start)
        kept.sort(key=lambda chunk: _distance(chunk.window, row, col))
        if smooth and layout.aligned and not tiling.blend:
            pieces = [piece for piece in _pieces(kept[0], tiling) if wanted is None or wanted(piece.grid)]
            first, *rest = [*pieces, *kept[1:]]
            kept = [first, *sorted(rest, key=lambda chunk: _distance(chunk.window, row, col))]
    return MapPlan(tuple(kept), size, tiling.core)


def _pieces(chunk: Chunk, tiling: Tiling) -> list[Chunk]:
    """What of a chunk lies within its own tiles, its neighbourhood included, and what needs those above or on the left as well."""
    window, area = chunk.window, tiling.layout.area
    top, left = (
        _strip(start - tiling.shift * tiling.scale, tiling.core)
        for start in (area.row + window.row, area.col + window.col)
    )
    height, width = window.height - top, window.width - left
    if height <= 0 or width <= 0 or not (top or left):
        return [chunk]
    parts = (
        Window(top, left, height, width),
        Window(0, 0, top, window.width),
        Window(top, 0, height, left),
    )
    return [
        Chunk(part.shift(window.row, window.col), chunk.grid.sub(part), piece=True)
        for part in parts
        if part.height and part.width
    ]


def _strip(start: int, core: int) -> int:
    """Pixels from a place on whose neighbourhoods reach back over the tiles' edge next to it; 0: none do."""
    ahead = -(start - REACH) % core
    return ahead if ahead <= 2 * REACH else 0


def _distance(window: Window, row: float, col: float) -> float:
    """Squared pixels from a window to a place; chunks that hold it come first, the one with its middle nearest before others."""
    down = max(window.row - row, row - window.row - window.height, 0.0)
    across = max(window.col - col, col - window.col - window.width, 0.0)
    middle = (window.row + window.height / 2 - row) ** 2 + (window.col + window.width / 2 - col) ** 2
    return down**2 + across**2 + 1e-6 * middle
