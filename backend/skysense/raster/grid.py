"""Integer pixel geometry: windows, the infinite pixel lattice, and grids cut out of it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from affine import Affine

Bounds = tuple[float, float, float, float]  # west, south, east, north in the units of a CRS

#: Edges this close to a pixel edge (in pixels) are on it: what is left of coordinates that went through text
#: files.
_EDGE_TOLERANCE = 1e-6
#: How far (in pixels) two grids may be apart, anywhere, and still count as one lattice.
_SAME_LATTICE = 0.01


@dataclass(frozen=True)
class Window:
    """A rectangle of whole pixels; rows count downwards, and may be negative on a global lattice."""

    row: int
    col: int
    height: int
    width: int

    def __post_init__(self) -> None:
        assert self.height >= 0 and self.width >= 0, self

    def intersect(self, other: "Window") -> "Window | None":
        """The common part, None where there is none."""
        row, col = max(self.row, other.row), max(self.col, other.col)
        height = min(self.row + self.height, other.row + other.height) - row
        width = min(self.col + self.width, other.col + other.width) - col
        return Window(row, col, height, width) if height > 0 and width > 0 else None

    def union(self, other: "Window") -> "Window":
        """The smallest window that holds both."""
        row, col = min(self.row, other.row), min(self.col, other.col)
        height = max(self.row + self.height, other.row + other.height) - row
        width = max(self.col + self.width, other.col + other.width) - col
        return Window(row, col, height, width)

    def shift(self, rows: int, cols: int) -> "Window":
        """The same rectangle, moved."""
        return Window(self.row + rows, self.col + cols, self.height, self.width)

    def grow(self, pixels: int) -> "Window":
        """With `pixels` more on every side."""
        return Window(self.row - pixels, self.col - pixels, self.height + 2 * pixels, self.width + 2 * pixels)

    def contains(self, other: "Window") -> bool:
        """Whether every pixel of the other lies in this one."""
        return self.union(other) == self

    def slices(self, inner: "Window") -> tuple[slice, slice]:
        """Where `inner`, in the same count of pixels, lies in an array of this window."""
        row, col = inner.row - self.row, inner.col - self.col
        return slice(row, row + inner.height), slice(col, col + inner.width)

    def strips(self, height: int) -> Iterator["Window"]:
        """Cut into windows of at most `height` rows, from the top."""
        for row in range(0, self.height, height):
            yield Window(self.row + row, self.col, min(height, self.height - row), self.width)


@dataclass(frozen=True)
class Grid:
    """A raster's geometry.

    Attributes:
        crs: "EPSG:n", or WKT where there is no code.
        transform: from (column, row) of pixel corners to coordinates in the CRS.
        width, height: in pixels.
    """

    crs: str
    transform: Affine
    width: int
    height: int

    @property
    def bounds(self) -> Bounds:
        """The rectangle around all four corners, in the CRS."""
        corners = [self.xy(*corner) for corner in self._corners()]
        xs, ys = [x for x, _ in corners], [y for _, y in corners]
        return min(xs), min(ys), max(xs), max(ys)

    @property
    def gsd(self) -> float:
        """Pixel side in units of the CRS; the geometric mean where pixels are not square."""
        a, b, _, d, e, _ = tuple(self.transform)[:6]
        return abs(a) if b == d == 0 and abs(a) == abs(e) else math.sqrt(abs(a * e - b * d))

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width)."""
        return self.height, self.width

    @property
    def north_up(self) -> bool:
        """Columns run east and rows run south."""
        return bool(self.transform.b == 0 == self.transform.d and self.transform.a > 0 > self.transform.e)

    @property
    def square(self) -> bool:
        """North-up with square pixels: the grid lies on a `Lattice`."""
        drift = abs(self.transform.a + self.transform.e) * max(self.width, self.height)
        return self.north_up and drift < _SAME_LATTICE * self.transform.a

    @property
    def window(self) -> Window:
        """All of it."""
        return Window(0, 0, self.height, self.width)

    def sub(self, window: Window) -> "Grid":
        """The grid of a window (counted from this grid's upper left pixel, which it may leave)."""
        a, b, _, d, e, _ = tuple(self.transform)[:6]
        x, y = self.xy(window.col, window.row)
        return Grid(self.crs, Affine(a, b, x, d, e, y), window.width, window.height)

    def xy(self, col: float, row: float) -> tuple[float, float]:
        """Coordinates of a place counted in pixels; whole numbers are pixel corners."""
        a, b, c, d, e, f = tuple(self.transform)[:6]
        return a * col + b * row + c, d * col + e * row + f

    def place(self, x: float, y: float) -> tuple[float, float]:
        """The other way: (column, row) of coordinates."""
        a, b, c, d, e, f = tuple(~self.transform)[:6]
        return a * x + b * y + c, d * x + e * y + f

    def _corners(self) -> list[tuple[int, int]]:
        return [(0, 0), (self.width, 0), (0, self.height), (self.width, self.height)]


@dataclass(frozen=True)
class Lattice:
    """The infinite lattice of square pixels that grids are cut out of.

    Pixel (row, col) covers x0 + col * gsd eastwards and y0 - row * gsd southwards, one gsd each.

    Attributes:
        crs: as in `Grid`.
        gsd: pixel side in units of the CRS.
        x0, y0: pixel phase: the corner of pixel (0, 0). In [0, gsd) for a lattice of its own; a refined
            lattice keeps its parent's, so that row r of the parent is rows r * k .. r * k + k - 1.
    """

    crs: str
    gsd: float
    x0: float = 0.0
    y0: float = 0.0

    @classmethod
    def of(cls, grid: Grid, gsd: float | None = None) -> "Lattice":
        """The lattice that a square grid lies on; with `gsd` one of that pixel size, through its corner."""
        assert grid.square, grid
        side = float(gsd or grid.transform.a)
        return cls(grid.crs, side, _phase(grid.transform.c, side), _phase(grid.transform.f, side))

    def grid(self, window: Window) -> Grid:
        """The grid of a window of this lattice."""
        corner = (self.x0 + window.col * self.gsd, self.y0 - window.row * self.gsd)
        transform = Affine(self.gsd, 0.0, corner[0], 0.0, -self.gsd, corner[1])
        return Grid(self.crs, transform, window.width, window.height)

    def window_of(self, bounds: Bounds) -> Window:
        """The smallest window that covers bounds (in this CRS), edges within 1e-6 pixel taken as met."""
        west, south, east, north = bounds
        left = math.floor((west - self.x0) / self.gsd + _EDGE_TOLERANCE)
        right = math.ceil((east - self.x0) / self.gsd - _EDGE_TOLERANCE)
        top = math.floor((self.y0 - north) / self.gsd + _EDGE_TOLERANCE)
        bottom = math.ceil((self.y0 - south) / self.gsd - _EDGE_TOLERANCE)
        return Window(top, left, max(bottom - top, 0), max(right - left, 0))

    def refine(self, k: int) -> "Lattice":
        """The lattice with k x k pixels in each of this one's; same edges, same corner (0, 0)."""
        return Lattice(self.crs, self.gsd / k, self.x0, self.y0) if k != 1 else self

    def locate(self, grid: Grid) -> Window | None:
        """The window of a grid that lies on this lattice (within 0.01 pixel everywhere), else None."""
        if grid.crs != self.crs or not grid.square:
            return None
        size = max(grid.width, grid.height, 1)
        if abs(grid.transform.a - self.gsd) * size > _SAME_LATTICE * self.gsd:
            return None
        col = (grid.transform.c - self.x0) / self.gsd
        row = (self.y0 - grid.transform.f) / self.gsd
        if max(abs(col - round(col)), abs(row - round(row))) > _SAME_LATTICE:
            return None
        return Window(round(row), round(col), grid.height, grid.width)


def _phase(coordinate: float, side: float) -> float:
    """The rest of a coordinate after whole pixels, in [0, side); rests of rounding count as 0."""
    rest = coordinate - math.floor(coordinate / side) * side
    return 0.0 if min(rest, side - rest) < _EDGE_TOLERANCE * side or not 0 <= rest < side else rest
