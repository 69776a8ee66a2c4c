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

    def chunk(self, grid: Grid, control: JobControl) -> tuple[Tensor, Tensor]:
        """Values (K, h, w) and validity (h, w) of a chunk of the output grid.

        Values are interpolated bilinearly between compute pixels' centres; a pixel is valid if the nearest compute
        pixel is.
        """
        if self._aligned:
            return self._canvas.window(self._compute.window_of(grid.bounds), control)
        rows, cols = self._places(grid)
        finite = np.isfinite(rows) & np.isfinite(cols)
        if not finite.any():
            return self._canvas.window(Window(0, 0, 0, 0), control)
        top, left = int(np.floor(rows[finite].min())) - 1, int(np.floor(cols[finite].min())) - 1
        bottom, right = int(np.ceil(rows[finite].max())) + 2, int(np.ceil(cols[finite].max())) + 2
        values, valid = self._canvas.window(Window(top, left, bottom - top, right - left), control)
        # grid_sample counts from -1 to 1 over the pixels' outer edges (align_corners=False).
        x = torch.from_numpy((np.where(finite, cols, -10) - left + 0.5) * 2 / (right - left) - 1)
        y = torch.from_numpy((np.where(finite, rows, -10) - top + 0.5) * 2 / (bottom - top) - 1)
        places = torch.stack([x, y], dim=-1)[None].float()
        sampled = F.grid_sample(
            values[None], places, mode="bilinear", padding_mode="border", align_corners=False
        )
        known = F.grid_sample(valid[None, None].float(), places, mode="nearest", align_corners=False)
        return sampled[0], known[0, 0] > 0.5

    def _places(self, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
        """Row and column of every output pixel's centre on the compute lattice; whole numbers are pixel centres."""
        col, row = np.meshgrid(np.arange(grid.width) + 0.5, np.arange(grid.height) + 0.5)
        a, b, c, d, e, f = tuple(grid.transform)[:6]
        x, y = self._transformer.transform(a * col + b * row + c, d * col + e * row + f)
        lattice = self._compute
        return (lattice.y0 - y) / lattice.gsd - 0.5, (x - lattice.x0) / lattice.gsd - 0.5
