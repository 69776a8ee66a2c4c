"""Class probabilities, or values, of a pixel from its neighbourhood: what a map shows.

Neighbours mostly belong to the same field, roof or water, so the mean of their probabilities errs less than a single pixel's
does: on the labelled scenes it brings 1 to 2 points of mIoU, with single pixels of another class gone.

Shape legend: K classes or values, h x w pixels of a window.
"""

from typing import Protocol

import torch
from torch import Tensor

from skysense.jobs.control import JobControl
from skysense.raster.grid import Window
from skysense.raster.neighbourhood import local_mean

#: Side in pixels of the window whose probabilities are averaged.
WINDOW = 5
#: Pixels around an area that its values depend on.
REACH = WINDOW // 2


class Canvas(Protocol):
    """Gives values (K, h, w) and validity (h, w) of any window of a lattice, and tells which pixels it makes them of."""

    def needs(self, window: Window) -> Window: ...

    def window(self, window: Window, control: JobControl) -> tuple[Tensor, Tensor]: ...


class Smooth:
    """Values on any window, averaged over the valid pixels around each.

    Args:
        canvas: values, on `grown(area)` at least.
        area: the pixels that are mapped; outside of it nothing is valid.
    """

    def __init__(self, canvas: Canvas, area: Window) -> None:
        self._canvas, self._area = canvas, area

    def needs(self, window: Window) -> Window:
        """The cells of the canvas that a window is made of."""
        return self._canvas.needs(grown(window)) if window.height and window.width else window

    def averaged(self, values: Tensor) -> Tensor:
        """What is averaged of the canvas's values (K, h, w)."""
        return values

    def window(self, window: Window, control: JobControl) -> tuple[Tensor, Tensor]:
        """Values (K, h, w) and validity (h, w) of a window.

        Raises:
            Cancelled: between two tiles.
        """
        if not window.height or not window.width:
            return self._canvas.window(window, control)
        values, valid = self._canvas.window(grown(window), control)
        mean = local_mean(self.averaged(values), valid, WINDOW)
        inner = slice(REACH, REACH + window.height), slice(REACH, REACH + window.width)
        mapped = valid[inner].clone()
        kept = window.intersect(self._area)
        inside = torch.zeros_like(mapped)
        if kept is not None:
            top, left = kept.row - window.row, kept.col - window.col
            inside[top : top + kept.height, left : left + kept.width] = True
        return mean[:, *inner], mapped & inside


class SmoothProbabilities(Smooth):
    """Probabilities on any window, averaged over the valid pixels around each.

    Args:
        canvas, area: as of `Smooth`, the canvas with class scores.
        temperature: see `finetune.head.Head`.
    """

    def __init__(self, canvas: Canvas, area: Window, temperature: float) -> None:
        super().__init__(canvas, area)
        self._temperature = temperature

    def averaged(self, values: Tensor) -> Tensor:
        return torch.softmax(values / self._temperature, 0)


def grown(window: Window) -> Window:
    """The window with the pixels around it that its probabilities depend on."""
    return Window(window.row - REACH, window.col - REACH, window.height + 2 * REACH, window.width + 2 * REACH)
