"""The rasters that a map consists of, and what a chunk of each holds.

Shape legend: K classes, h x w pixels of a chunk.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skysense.inference.canvas import classify
from skysense.jobs.recipe import PRODUCTS
from skysense.raster.chunks import Chunk, value_path, write_raster
from skysense.raster.grid import Grid
from skysense.raster.maps import Kind, MapClass, merge_aside

#: Where nothing is mapped, in rasters of shares in which 0 is a value.
NO_SHARE = 255


@dataclass(frozen=True)
class Layer:
    """One raster of a map.

    Attributes:
        name: of its chunks; path: of the finished raster.
        kind: see `raster.maps.merge_aside`; legend: of a class map, and named in its metadata.
        bands: descriptions.
        metadata: its own items.
    """

    name: str
    path: Path
    kind: Kind
    bands: tuple[str, ...] = ("",)
    legend: tuple[MapClass, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def nodata(self) -> int:
        """Of whole numbers."""
        return NO_SHARE if self.kind == "share" else 0

    def chunk(self, folder: Path, chunk: Chunk) -> Path:
        """Where a chunk lies in the folder of a map's chunks."""
        return value_path(folder, chunk, self.name)

    def write(self, folder: Path, chunk: Chunk, values: NDArray[np.uint8] | NDArray[np.float32]) -> None:
        """Write a chunk aside and rename it; values (bands, h, w) or (h, w).

        Raises:
            StorageError: it cannot be written; nothing half-written is left.
        """
        legend = self.legend if self.kind == "class" else ()
        write_raster(self.chunk(folder, chunk), chunk.grid, values, self.nodata, legend)

    def merge(self, folder: Path, chunks: tuple[Chunk, ...], grid: Grid, metadata: dict[str, str]) -> Path:
        """Make the finished raster beside its place, see `raster.maps.merge_aside`.

        Raises:
            StorageError: it cannot be written.
        """
        parts = [(chunk.window, self.chunk(folder, chunk)) for chunk in chunks]
        every = metadata | self.metadata
        return merge_aside(parts, self.path, grid, self.legend, every, self.kind, self.bands)


class ClassLayers:
    """Classes, their confidence, and what else is asked for.

    Args:
        output: the class map; the others lie beside it.
        legend: the classes; ids: (K,) of the probabilities.
        products: of `recipe.PRODUCTS`.
    """

    def __init__(
        self, output: Path, legend: list[MapClass], ids: tuple[int, ...], products: tuple[str, ...]
    ) -> None:
        self._ids, self._products = ids, products
        names = {item.id: item.name for item in legend}

        def beside(name: str) -> Path:
            return output.with_name(f"{output.stem}_{name}{output.suffix}")

        found = {
            "probabilities": Layer("prob", beside("probabilities"), "share", tuple(names[i] for i in ids)),
            "entropy": Layer(
                "entropy", beside("entropy"), "share", ("entropy of the classes' probabilities, %",)
            ),
        }
        # The classes come last: a chunk that has them is whole.
        self.layers = (
            *(found[name] for name in PRODUCTS if name in products),
            Layer("conf", beside("confidence"), "confidence", legend=tuple(legend)),
            Layer("class", output, "class", legend=tuple(legend)),
        )

    def arrays(self, probabilities: Tensor, valid: Tensor) -> list[NDArray[np.uint8]]:
        """What a chunk of each layer holds, of probabilities (K, h, w) where valid (h, w)."""
        classes, confidence = classify(probabilities, valid, self._ids)
        made = {"conf": confidence, "class": classes}
        if "probabilities" in self._products:
            made["prob"] = _shares(probabilities, valid)
        if "entropy" in self._products:
            made["entropy"] = _shares(_entropy(probabilities)[None], valid)[0]
        return [made[layer.name] for layer in self.layers]


class NumberLayers:
    """Numbers as they come, NaN where nothing was seen; as many as there are layers."""

    def __init__(self, layers: tuple[Layer, ...]) -> None:
        self.layers = layers

    def arrays(self, values: Tensor, valid: Tensor) -> list[NDArray[np.float32]]:
        """What a chunk of each layer holds, of values (K, h, w) where valid (h, w)."""
        return [
            found.cpu().numpy()
            for found, _ in zip(values.float().masked_fill(~valid, torch.nan), self.layers)
        ]


def _shares(values: Tensor, valid: Tensor) -> NDArray[np.uint8]:
    """0..1 as whole %, (bands, h, w)."""
    found = (values * 100).round().clamp(0, 100).to(torch.uint8)
    return found.masked_fill(~valid, NO_SHARE).cpu().numpy()


def _entropy(probabilities: Tensor) -> Tensor:
    """Shannon's, as a share of that of K equal probabilities, (h, w)."""
    logs = probabilities.clamp_min(1e-12).log()
    return -(probabilities * logs).sum(0) / math.log(max(len(probabilities), 2))
