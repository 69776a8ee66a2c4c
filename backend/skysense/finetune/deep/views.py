"""What a step of the training sees: an augmented view of a tile, and the labelled pixels in it.

A pixel is drawn by `pixels.weights`, a view is cut around it, and further pixels of the view are drawn by the same weights:
classes come balanced. A step's draws depend on (seed, step) alone, so a resumed training needs no memory of them. Views are
those of the pretraining (`pretrain.views`), less violently disturbed: labels must still be true of them.

Shape legend: n pixels of a view.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from skysense.finetune.deep.pixels import Pixels, Stacks
from skysense.model.config import EncoderBands
from skysense.model.inputs import Inputs
from skysense.model.tokens import PATCH
from skysense.pretrain.collate import collate
from skysense.pretrain.config import PretrainConfig
from skysense.pretrain.crops import Crop, around
from skysense.pretrain.views import Sample, view_of
from skysense.pretrain.windows import RawWindow
from skysense.raster.crs import transformer
from skysense.raster.tiles import Tile, Tiling
from skysense.scene.sensors import Modality

#: Sides of a view: in 10 m pixels twice that of the pretraining's, and where the model sees HR in HR pixels twice the 8 x 8 windows
#: of Swin's last stage. Either is a quarter of a tile, and so is what a step costs.
_SIDE, _HR_SIDE = 64, 512
#: Labelled pixels of a view: more of the same few polygons cost and teach nothing new.
_PIXELS = 64
#: First word of the seeds; those of the pretraining are 1 to 5.
_DRAW = 6

#: Which disturbances: dates and modalities are dropped, bands get gains, pictures other light. Of the dates of a long series
#: each step sees as many as in the pretraining: enough for a year's course, a fraction of the cost.
AUGMENTED = PretrainConfig(
    hr_brightness=0.2,
    hr_grey_chance=0.0,
    hr_solarise_chance=0.0,
)
#: None at all, for the features that a map is made from.
_STILL = replace(
    AUGMENTED,
    s2_dates=100_000,
    s1_dates=100_000,
    drop_modality=0.0,
    drop_date=0.0,
    date_jitter=0,
    s2_gain=0.0,
    s2_noise=0.0,
    s1_gain=0.0,
    s1_noise=0.0,
    hr_colour_chance=0.0,
    hr_noise=0.0,
    hr_blur=0.1,  # a kernel of one pixel
)
#: `pretrain.augment_optical` blurs its first view always, and the second one pixel in ten views.
_SECOND = 1


@dataclass(frozen=True)
class PixelView:
    """A view of a tile.

    Attributes:
        inputs: of the model, for a batch of one.
        places: (n,) of the pixels in `Pixels`.
        rows, cols: (n,) where they lie in the view, in compute pixels.
    """

    inputs: Inputs
    places: NDArray[np.int64]
    rows: NDArray[np.int64]
    cols: NDArray[np.int64]


class Viewer:
    """Makes views of a scene's tiles.

    Args:
        read: gives a tile's imagery; tiling: the scene's.
        seen_by: the modalities that the model sees.
        pixels: what is learned from.
        bands: what the model's encoders take.
    """

    def __init__(
        self,
        read: Callable[[Tile], Stacks],
        tiling: Tiling,
        seen_by: tuple[Modality, ...],
        pixels: Pixels,
        bands: EncoderBands,
    ) -> None:
        self._bands = bands
        self._read, self._tiling, self._modalities, self._pixels = read, tiling, seen_by, pixels

    def augmented(self, weight: NDArray[np.float64], seed: tuple[int, ...]) -> PixelView:
        """A view around a pixel, turned and disturbed.

        Args:
            weight: (N,) how often each pixel is drawn, from `pixels.weights`.
            seed: the same one gives the same bits.
        """
        rng, pixels, scale = np.random.default_rng((_DRAW, *seed)), self._pixels, self._tiling.scale
        pick = int(rng.choice(len(weight), p=weight))
        whole = self._tiling.side
        side = min(whole, max(_HR_SIDE // scale, PATCH) if "hr" in self._modalities else _SIDE)
        place = (int(pixels.rows[pick]) // scale, int(pixels.cols[pick]) // scale)
        crop, size = around(place, side, side, (whole, whole), rng), side * scale
        rows, cols = pixels.rows - crop.row * scale, pixels.cols - crop.col * scale
        inside = (pixels.tile == pixels.tile[pick]) & (weight > 0)
        inside &= (rows >= 0) & (rows < size) & (cols >= 0) & (cols < size)
        choice = np.flatnonzero(inside)
        if len(choice) > _PIXELS:
            share = weight[choice] / weight[choice].sum()
            choice = np.sort(rng.choice(choice, _PIXELS, replace=False, p=share))
        inputs = self._inputs(pixels.tiles[pixels.tile[pick]], crop, AUGMENTED, rng)
        return PixelView(inputs, choice, *turned(crop, rows[choice], cols[choice], size))

    def still(self, places: NDArray[np.int64]) -> Iterator[PixelView]:
        """Every tile with some of the pixels, whole and undisturbed, as a map's features are made from it."""
        pixels, side = self._pixels, self._tiling.side
        for number in np.unique(pixels.tile[places]).tolist():
            own = places[pixels.tile[places] == number]
            whole = Crop(0, 0, side, side)
            inputs = self._inputs(pixels.tiles[number], whole, _STILL, np.random.default_rng(0))
            yield PixelView(inputs, own, pixels.rows[own], pixels.cols[own])

    def _inputs(self, tile: Tile, crop: Crop, config: PretrainConfig, rng: np.random.Generator) -> Inputs:
        alone = self._tiling.layout.modalities == ("hr",)
        factor = None if alone or "hr" not in self._modalities else self._tiling.scale
        raw = RawWindow(self._read(tile), factor, self._place(tile), "")
        sample = Sample((view_of(raw, crop, _SECOND, config, rng, self._bands),), raw.place, "", factor)
        return collate([sample])[0].views[0]

    def _place(self, tile: Tile) -> tuple[float, float]:
        """Longitude and latitude of a tile's centre."""
        grid = self._tiling.layout.base.grid(tile.window)
        lon, lat = transformer(grid.crs, "EPSG:4326").transform(
            *grid.xy(tile.window.width / 2, tile.window.height / 2)
        )
        return lon, lat


def on_device(inputs: Inputs, device: torch.device) -> Inputs:
    """The same on a device."""
    moved: dict[str, Any] = {
        name: x.to(device) for name, x in vars(inputs).items() if isinstance(x, torch.Tensor)
    }
    return replace(inputs, **moved)


def turned(
    crop: Crop, rows: NDArray[np.int64], cols: NDArray[np.int64], size: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where pixels of the crop (`size` compute pixels along its side) are after `Crop.turn`."""
    for _ in range(crop.turns % 4):
        rows, cols = size - 1 - cols, rows  # out[i, j] = in[j, size - 1 - i]
    return (rows, size - 1 - cols) if crop.flip else (rows, cols)
