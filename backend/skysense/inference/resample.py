"""From the compute lattice to the output grid, where the two differ (another CRS, another pixel size or phase).

Shape legend: K values, h x w pixels of an output chunk.
"""

import numpy as np
import pyproj
import torch
import torch.nn.functional as F
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
        # grid_sample counts from -1 to 1 over the pixels' outer edges (align_corners=False).
        finite = np.isfinite(rows) & np.isfinite(cols)
        x = torch.from_numpy((np.where(finite, cols, -10) - window.col + 0.5) * 2 / window.width - 1)
        y = torch.from_numpy((np.where(finite, rows, -10) - window.row + 0.5) * 2 / window.height - 1)
        places = torch.stack([x, y], dim=-1)[None].float()
        sampled = F.grid_sample(
            values[None], places, mode="bilinear", padding_mode="border", align_corners=False
        )
        known = F.grid_sample(valid[None, None].float(), places, mode="nearest", align_corners=False)
        return sampled[0], known[0, 0] > 0.5

    def _covering(self, grid: Grid, step: int = 1) -> tuple[Window, np.ndarray, np.ndarray]:
        """The compute pixels around a chunk, and where its pixels (every `step`-th) lie among them (see `_places`; empty where they
        are the same)."""
        if self._aligned:
            return self._compute.window_of(grid.bounds), np.empty(0), np.empty(0)
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
