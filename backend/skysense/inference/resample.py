"""From the compute lattice to the output grid, where the two differ (another CRS, another pixel size or phase).

Shape legend: K values, h x w pixels of an output chunk.
"""

import numpy as np
import pyproj
import torch
from torch import Tensor

from skysense.inference.smooth import Canvas
from skysense.jobs.control import JobControl
from skysense.raster.grid import Grid, Lattice, Window

#: Along a chunk's side, pixels whose places tell roughly what it needs.
_NEEDED_NODES = 16


class OutputSampler:
    """Gives values on chunks of the output grid.

    Args:
        canvas: values on the compute lattice.
        compute: the compute lattice.
        aligned: whether output pixels are compute pixels.
    """

    def __init__(self, canvas: Canvas, compute: Lattice, output_crs: str, aligned: bool) -> None:
        self._canvas, self._compute, self._aligned = canvas, compute, aligned
        self._transformer = pyproj.Transformer.from_crs(output_crs, compute.crs, always_xy=True)

    def needs(self, grid: Grid) -> Window:
        """The compute pixels that a chunk of the output grid is made of; give or take one where they are not the same."""
        step = 1 if self._aligned else max(1, min(grid.shape) // _NEEDED_NODES)
        return self._canvas.needs(self._covering(grid, step)[0])

    def chunk(self, grid: Grid, control: JobControl) -> tuple[Tensor, Tensor]:
        """Values (K, h, w) and validity (h, w) of a chunk of the output grid.

        Values are interpolated bilinearly between compute pixels' centres; a pixel is valid if the nearest compute
        pixel is.
        """
        window, rows, cols = self._covering(grid)
        values, valid = self._canvas.window(window, control)
        if self._aligned or not (window.height and window.width):
            return values, valid
        finite = np.isfinite(rows) & np.isfinite(cols)
        rows, cols = np.where(finite, rows, window.row), np.where(finite, cols, window.col)
        # By whole pixels and the way between them, so that a value does not depend on where the window begins.
        top, left = np.floor(rows).astype(np.int64), np.floor(cols).astype(np.int64)
        down, along = (
            torch.from_numpy((place - low).astype(np.float32)).to(values.device)
            for place, low in ((rows, top), (cols, left))
        )

        def at(row: np.ndarray, col: np.ndarray) -> Tensor:
            row, col = (
                row.clip(window.row, window.row + window.height - 1),
                col.clip(window.col, window.col + window.width - 1),
            )
            flat = torch.from_numpy((row - window.row) * window.width + col - window.col).to(values.device)
            return values.flatten(1)[:, flat.flatten()].unflatten(1, flat.shape)

        upper = torch.lerp(at(top, left), at(top, left + 1), along)
        lower = torch.lerp(at(top + 1, left), at(top + 1, left + 1), along)
        row, col = (
            np.floor(rows + 0.5).astype(np.int64) - window.row,
            np.floor(cols + 0.5).astype(np.int64) - window.col,
        )
        inside = finite & (row >= 0) & (row < window.height) & (col >= 0) & (col < window.width)
        nearest = row.clip(0, window.height - 1) * window.width + col.clip(0, window.width - 1)
        known = valid.flatten()[torch.from_numpy(nearest).to(valid.device)]
        return torch.lerp(upper, lower, down), known & torch.from_numpy(inside).to(valid.device)

    def _covering(self, grid: Grid, step: int = 1) -> tuple[Window, np.ndarray, np.ndarray]:
        """The compute pixels around a chunk, and where its pixels (every `step`-th) lie among them (see `_places`; empty where they
        are the same)."""
        if self._aligned:
            # Located, not covered: output pixels may lie a hundredth of a pixel beside the lattice's.
            window = self._compute.locate(grid)
            assert window is not None, grid
            return window, np.empty(0), np.empty(0)
        rows, cols = self._places(grid, step)
        finite = np.isfinite(rows) & np.isfinite(cols)
        if not finite.any():
            return Window(0, 0, 0, 0), rows, cols
        top, left = int(np.floor(rows[finite].min())) - 1, int(np.floor(cols[finite].min())) - 1
        bottom, right = int(np.ceil(rows[finite].max())) + 2, int(np.ceil(cols[finite].max())) + 2
        return Window(top, left, bottom - top, right - left), rows, cols

    def _places(self, grid: Grid, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Row and column of every `step`-th output pixel's centre on the compute lattice; whole numbers are pixel centres."""
        across, down = (
            np.unique([*range(0, size, step), size - 1]) + 0.5 for size in (grid.width, grid.height)
        )
        col, row = np.meshgrid(across, down)
        a, b, c, d, e, f = tuple(grid.transform)[:6]
        x, y = self._transformer.transform(a * col + b * row + c, d * col + e * row + f)
        lattice = self._compute
        return (lattice.y0 - y) / lattice.gsd - 0.5, (x - lattice.x0) / lattice.gsd - 0.5
