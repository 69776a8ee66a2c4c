"""Two augmented global views of a window, and local ones: what student and teacher compare.

A view is a crop, turned and mirrored, of everything that the window holds; each modality is then disturbed in its
own way (`augment_series`, `augment_optical`). HR that stands alone is scaled as well.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skysense.errors import InputError
from skysense.model.config import USUAL_BANDS, EncoderBands
from skysense.pretrain.augment_optical import HrView, hr_view
from skysense.pretrain.augment_series import SeriesView, series_view
from skysense.pretrain.config import PretrainConfig
from skysense.pretrain.crops import Crop, Frame, draw_crops
from skysense.pretrain.windows import RawWindow
from skysense.scene.sensors import Modality

#: In no region: the geo-context's constant serves there.
UNKNOWN_PLACE = (math.nan, math.nan)
_PATCH, _HR_STRIDE = 4, 32  # sides of local views are whole patches of the encoders


@dataclass(frozen=True)
class View:
    """One augmented view of one window; a modality that saw nothing or was dropped is None, never all of them.

    Attributes:
        to_window: (2, 3) float64, (row, col) of a point in view pixels (centres at + 0.5; of the base lattice,
            HR alone: HR pixels) to window pixels.
    """

    s2: SeriesView | None
    s1: SeriesView | None
    hr: HrView | None
    to_window: Tensor


@dataclass(frozen=True)
class Sample:
    """A window's views.

    Attributes:
        views: two global ones, then `config.local_views` local ones, which only the student sees.
        place: lon, lat of the window's centre; `UNKNOWN_PLACE` where it was dropped.
        scene: name for messages.
        hr_per_base: HR pixels along a base pixel where HR is fused, else None.
    """

    views: tuple[View, ...]
    place: tuple[float, float]
    scene: str
    hr_per_base: int | None


def make_sample(
    raw: RawWindow, config: PretrainConfig, rng: np.random.Generator, bands: EncoderBands = USUAL_BANDS
) -> Sample:
    """Draw the views of a window, with the bands that the encoders take; the same generator state gives the same bits.

    Raises:
        InputError: no pixel of the window is valid, or it is smaller than a view.
    """
    alone = set(raw.stacks) == {"hr"}
    seen = _seen(raw)
    side = min(seen.shape)
    whole, local = _frames(side, alone, config)
    if whole.most > side:
        raise InputError(
            f"a view of {whole.most} pixels does not fit a window of {side}",
            raw.scene,
            "Choose a smaller crop",
        )
    if not seen.any():
        raise InputError("the window has no valid pixel", raw.scene, "Leave such places out")
    crops = draw_crops(seen, whole, local, config.local_views, rng)
    views = tuple(view_of(raw, crop, number, config, rng, bands) for number, crop in enumerate(crops))
    place = UNKNOWN_PLACE if rng.random() < config.drop_place else raw.place
    return Sample(views, place, raw.scene, raw.hr_per_base)


def _frames(side: int, alone: bool, config: PretrainConfig) -> tuple[Frame, Frame]:
    """Sizes of global and local views in a window of `side` pixels."""
    size = config.hr_crop if alone else config.crop
    patch = _HR_STRIDE if alone else _PATCH
    small = max(patch, round(size / 2 / patch) * patch)
    if not alone:  # at their own resolution, so that tokens lie on pixels
        return Frame(size, size, size), Frame(small, small, small)
    least = round(side * config.hr_scale)
    return Frame(size, least, side), Frame(small, least // 2, side // 2)


def _seen(raw: RawWindow) -> NDArray[np.float64]:
    """(h, w) on the lattice of the views: the mean over modalities of the share of a pixel that was ever valid."""
    shares = []
    for modality, stack in raw.stacks.items():
        valid = np.asarray(stack.valid.any(axis=0))
        factor = raw.hr_per_base if modality == "hr" else None
        if factor is not None:
            height, width = valid.shape
            shares.append(valid.reshape(height // factor, factor, width // factor, factor).mean(axis=(1, 3)))
        else:
            shares.append(valid.astype(np.float64))
    return np.asarray(np.mean(shares, axis=0))


def view_of(
    raw: RawWindow,
    crop: Crop,
    number: int,
    config: PretrainConfig,
    rng: np.random.Generator,
    bands: EncoderBands,
) -> View:
    """One view of a window: what the crop shows of each modality, disturbed; a modality is dropped now and then, never the last.

    Args:
        number: see `augment_optical.hr_view`.
    """
    factor = raw.hr_per_base or 1
    present: list[Modality] = [
        modality
        for modality, stack in raw.stacks.items()
        if crop.cut(stack.valid, factor if modality == "hr" else 1).any()
    ]
    kept = [modality for modality in present if rng.random() >= config.drop_modality]
    if not kept:
        kept = [present[rng.integers(len(present))]]
    return View(
        s2=series_view(raw.stacks["s2"], "s2", crop, config, rng, bands["s2"]) if "s2" in kept else None,
        s1=series_view(raw.stacks["s1"], "s1", crop, config, rng, bands["s1"]) if "s1" in kept else None,
        hr=hr_view(raw.stacks["hr"], crop, factor, number, config, rng, bands["hr"])
        if "hr" in kept
        else None,
        to_window=torch.from_numpy(crop.to_window()),
    )
