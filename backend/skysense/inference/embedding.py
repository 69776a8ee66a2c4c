"""A raster of frozen features (`skysense embed`), read in parts: memory does not grow with it.

Shape legend: F features, N pixels, R reference vectors, h x w pixels of a window.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skysense.errors import InputError
from skysense.raster.grid import Window
from skysense.raster.handles import grid_of, open_raster, read_window

#: Side of the windows, that of the file's own blocks, and features read at a time: 16 MB.
_BLOCK, _BANDS = 256, 64
#: A sample: pixels, numbers (128 MB) and blocks that it is drawn from, at most.
_SAMPLE_PIXELS, _SAMPLE_NUMBERS, _SAMPLE_BLOCKS = 100_000, 1 << 25, 200


@dataclass(frozen=True)
class Scaling:
    """Mean and standard deviation of each feature, (F,) float32; that of a constant one is infinite, so that it tells nothing."""

    mean: NDArray[np.float32]
    std: NDArray[np.float32]

    @classmethod
    def of(cls, rows: NDArray[np.float32]) -> "Scaling":
        """From the features of some pixels, (N, F)."""
        mean, std = rows.mean(0, dtype=np.float64), rows.std(0, dtype=np.float64)
        std = np.where(std > 1e-6 * (1 + np.abs(mean)), std, np.inf)
        return cls(mean.astype(np.float32), std.astype(np.float32))

    def standard(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Features (N, F) at mean 0 and standard deviation 1."""
        return (rows - self.mean) / self.std


class Embedding:
    """An open embedding; close it, or use it in a `with` block.

    Attributes:
        path: the file.
        grid: its pixels.
        dims: F.
        tags: what it says of its making: the `SKYSENSE_` items of its metadata.

    Raises:
        InputError: no such raster, or not one that `skysense embed` has written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._dataset = open_raster(path)
        try:
            self.grid = grid_of(self._dataset, path)
            self.dims = self._dataset.count
            self.tags = {k: str(v) for k, v in self._dataset.tags().items() if k.startswith("SKYSENSE_")}
            if _told_dims(self.tags.get("SKYSENSE_FEATURES")) != self.dims:
                raise InputError(
                    "is no embedding",
                    str(path),
                    "Choose a raster of features that skysense embed has written",
                )
        except InputError:
            self.close()
            raise

    def __enter__(self) -> "Embedding":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._dataset.close()

    def check_apart(self, out: Path) -> None:
        """Raises InputError where a result would take the place of the embedding itself."""
        if out.resolve() == self.path.resolve():
            raise InputError("is the embedding itself", str(out), "Choose another name for the result")

    def windows(self) -> list[Window]:
        """All of it in windows of at most 256 x 256 pixels, row by row."""
        return [
            Window(strip.row, col, strip.height, min(_BLOCK, strip.width - col))
            for strip in self.grid.window.strips(_BLOCK)
            for col in range(0, strip.width, _BLOCK)
        ]

    def at(self, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> NDArray[np.float32]:
        """Features of pixels inside the raster, (N, F); a row of NaN where nothing was seen.

        Raises:
            InputError: a part of the file is damaged.
        """
        found = np.empty((len(rows), self.dims), np.float32)
        across = -(-self.grid.width // _BLOCK)
        block = rows // _BLOCK * across + cols // _BLOCK
        # Block by block, so that each is read once.
        order = np.argsort(block, kind="stable")
        for places in np.split(order, np.flatnonzero(np.diff(block[order])) + 1):
            if not len(places):
                continue
            r, c = rows[places], cols[places]
            top, left = int(r.min()), int(c.min())
            window = Window(top, left, int(r.max()) - top + 1, int(c.max()) - left + 1)
            for first, values in self._groups(window):
                found[places, first : first + len(values)] = values[:, r - top, c - left].T
        found[~np.isfinite(found).all(1)] = np.nan
        return found

    def sample(self, seed: int) -> NDArray[np.float32]:
        """Features of pixels drawn at random where something was seen, (N, F), N at most 100,000; all where there are fewer.

        Large rasters are sampled from 200 blocks drawn at random, an equal share of the pixels of each.

        Raises:
            InputError: nothing was seen in the blocks, or a part of the file is damaged.
        """
        random = np.random.default_rng(seed)
        windows = self.windows()
        chosen = np.sort(random.permutation(len(windows))[:_SAMPLE_BLOCKS])
        pixels = sum(windows[i].height * windows[i].width for i in chosen)
        share = min(1.0, min(_SAMPLE_PIXELS, _SAMPLE_NUMBERS // self.dims) / pixels)
        drawn = []
        for window in (windows[i] for i in chosen):
            size = window.height * window.width
            flat = np.sort(random.permutation(size)[: max(1, int(share * size))])
            values = self.at(window.row + flat // window.width, window.col + flat % window.width)
            drawn.append(values[np.isfinite(values[:, 0])])
        found = np.concatenate(drawn)
        if not len(found):
            raise InputError("is empty: nothing was seen anywhere", str(self.path), "Embed the scene again")
        return found

    @cached_property
    def scaling(self) -> Scaling:
        """That of a sample."""
        return Scaling.of(self.sample(0))

    def products(
        self, window: Window, references: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
        """Standardised features of a window against standardised references: all that cosines and distances need.

        Features are read in groups, so that memory does not grow with their number.

        Args:
            references: (R, F).

        Returns:
            Inner products (R, h, w), squared lengths of the pixels' vectors (h, w), and where something was seen (h, w).

        Raises:
            InputError: the part is damaged.
        """
        shape = window.height, window.width
        inner = np.zeros((len(references), shape[0] * shape[1]), np.float32)
        squares = np.zeros(shape[0] * shape[1], np.float32)
        valid = np.ones(shape[0] * shape[1], bool)
        for first, values in self._groups(window):
            part = slice(first, first + len(values))
            x = values.reshape(len(values), -1)
            valid &= np.isfinite(x).all(0)
            x = np.where(valid, (x - self.scaling.mean[part, None]) / self.scaling.std[part, None], 0)
            inner += references[:, part] @ x
            squares += np.einsum("fn,fn->n", x, x)
        return inner.reshape(-1, *shape), squares.reshape(shape), valid.reshape(shape)

    def _groups(self, window: Window) -> Iterator[tuple[int, NDArray[Any]]]:
        """The window's features in groups: the first one's number and the values (up to 64, h, w)."""
        for first in range(0, self.dims, _BANDS):
            bands = list(range(first + 1, min(first + _BANDS, self.dims) + 1))
            yield first, read_window(self._dataset, self.path, bands, window)


def _told_dims(text: str | None) -> int | None:
    """Sum of the features that the metadata item `SKYSENSE_FEATURES` counts; None where it does not."""
    try:
        return sum(int(value) for value in json.loads(text or "").values())
    except (ValueError, AttributeError, TypeError):
        return None
