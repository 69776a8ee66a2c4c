"""Augmentation of HR pictures: scale, colour, grey, blur, solarisation and noise, after DINO (Caron et al. 2021).

Invalid pixels are 0 after every step that looks at neighbours or at the whole picture.

Near infrared, where an encoder takes it, is brightened and blurred with the picture and is no colour of it.

Shape legend: pictures are (C, n, n) float32 on 0..1: R, G, B, and perhaps NIR; valid (n, n) bool.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skysense.model.dates import UNKNOWN_DAY
from skysense.model.inputs import channel_statistics
from skysense.pretrain.augment_series import disturbed_days
from skysense.pretrain.config import PretrainConfig
from skysense.pretrain.crops import Crop
from skysense.raster.reader import Stack
from skysense.scene.sensors import SENSORS

#: DINO blurs the first global view always, the second rarely and local ones half of the time.
_BLUR_CHANCE = (1.0, 0.1, 0.5)
#: Brightness as people see it (ITU-R BT.601).
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)[:, None, None]

Picture = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class HrView:
    """The HR picture in one view.

    Attributes:
        x: (C, H, W) float32 normalised, 0 where invalid and in bands that the product lacks.
        valid: (H, W) bool.
        day: 0-based day of the year after the disturbance, -1 unknown.
    """

    x: Tensor
    valid: Tensor
    day: int


def hr_view(
    stack: Stack,
    crop: Crop,
    hr_per_base: int,
    number: int,
    config: PretrainConfig,
    rng: np.random.Generator,
    bands: Sequence[str] = SENSORS["hr"].bands,
) -> HrView | None:
    """One view of the HR picture; None where it saw nothing of the crop.

    Args:
        hr_per_base: HR pixels along a pixel of the lattice that `crop` counts in; more than 1 only where the
            crop is not scaled.
        number: 0 and 1 are the global views, which are blurred and solarised unequally.
        bands: what the encoder takes, one of `ENCODER_BANDS["hr"]`.
    """
    newest = newest_picture(stack, crop, hr_per_base, bands)
    if newest is None:
        return None
    picture, valid, present, date_index = newest
    size = crop.size * hr_per_base
    picture, present = resized(picture, valid, size), nearest(present, size)
    valid = nearest(valid, size)
    picture = np.ascontiguousarray(crop.turn(picture))
    valid, present = np.ascontiguousarray(crop.turn(valid)), crop.turn(present)

    picture = _coloured(picture, valid, config, rng)
    if rng.random() < _BLUR_CHANCE[min(number, 2)]:
        picture = blurred(picture, valid, float(rng.uniform(0.1, config.hr_blur)))
    if number == 1 and rng.random() < config.hr_solarise_chance:
        picture = np.where(picture < 0.5, picture, 1 - picture)
    picture = picture + np.float32(config.hr_noise) * rng.standard_normal(picture.shape, np.float32)

    mean, std = _statistics(bands)
    x = (picture - mean) / std
    x = np.where(valid & present, x, np.float32(0))
    date = stack.dates[date_index]
    day = UNKNOWN_DAY if date is None else int(disturbed_days([date], config.date_jitter, rng)[0])
    return HrView(torch.from_numpy(x), torch.from_numpy(valid), day)


def newest_picture(
    stack: Stack, crop: Crop, scale: int, bands: Sequence[str] = SENSORS["hr"].bands
) -> tuple[Picture, Mask, Mask, int] | None:
    """The newest valid pixels of the crop, None where there are none.

    Returns:
        The picture (0 where invalid, the mean of all imagery in a band that is missing), its validity, which of
        its bands are present (C, n, n), and the index of the newest acquisition in it.
    """
    values, valids = crop.cut(stack.values[:, : len(bands)], scale), crop.cut(stack.valid, scale)
    presents = stack.band_present[:, : len(bands)]
    lacking = len(bands) - values.shape[1]  # NIR, which no image of the scene has
    if lacking:
        values = np.pad(values, ((0, 0), (0, lacking), (0, 0), (0, 0)))
        presents = np.pad(presents, ((0, 0), (0, lacking)))
    picture = np.zeros(values.shape[1:], np.float32)
    present = np.zeros(values.shape[1:], bool)
    valid = np.zeros(valids.shape[1:], bool)
    newest = -1
    mean, _ = _statistics(bands)
    for t, ok in enumerate(valids):
        if not ok.any():
            continue
        there = presents[t, :, None, None]
        np.copyto(picture, values[t] if there.all() else np.where(there, values[t], mean), where=ok)
        np.copyto(present, there, where=ok)
        valid |= ok
        newest = t
    return None if newest < 0 else (picture, valid, present, newest)


def _statistics(bands: Sequence[str]) -> tuple[Picture, Picture]:
    """Mean and standard deviation as the encoder expects them, (C, 1, 1) each."""
    mean, std = channel_statistics("hr", torch.empty(0), bands)
    return mean.numpy()[:, None, None], std.numpy()[:, None, None]


def resized(picture: Picture, valid: Mask, size: int) -> Picture:
    """Bilinear from (C, s, s) to (C, size, size), over valid pixels only; 0 where none is near."""
    side = picture.shape[-1]
    if side == size:
        return picture
    position = np.clip((np.arange(size) + 0.5) * side / size - 0.5, 0, side - 1)
    low = np.minimum(position.astype(np.int64), side - 2)
    along = (position - low).astype(np.float32)

    def interpolated(x: Picture) -> Picture:
        rows = x[:, low] * (1 - along)[:, None] + x[:, low + 1] * along[:, None]
        return rows[:, :, low] * (1 - along) + rows[:, :, low + 1] * along

    if valid.all():
        return interpolated(picture)
    weight = interpolated(valid[None].astype(np.float32))
    total = interpolated(np.where(valid, picture, np.float32(0)))
    return np.divide(total, weight, out=np.zeros_like(total), where=weight > 0)


def nearest(mask: Mask, size: int) -> Mask:
    """(..., s, s) -> (..., size, size), each the pixel that the centre falls into."""
    side = mask.shape[-1]
    if side == size:
        return mask
    index = ((np.arange(size) + 0.5) * side / size).astype(np.int64)
    return np.asarray(mask[..., index[:, None], index])


def blurred(picture: Picture, valid: Mask, deviation: float) -> Picture:
    """Gaussian blur over valid pixels only; the picture's edge is an invalid pixel too. 0 where invalid."""
    radius = int(np.ceil(3 * deviation))
    kernel = np.exp(-0.5 * (np.arange(radius + 1) / deviation) ** 2).astype(np.float32)
    stacked = np.concatenate((picture * valid, valid[None].astype(np.float32)))
    stacked = _convolved_rows(_convolved_rows(stacked, kernel).swapaxes(1, 2), kernel).swapaxes(1, 2)
    # A valid pixel has at least its own weight, kernel[0]^2 = 1.
    return np.where(valid, stacked[:-1] / np.maximum(stacked[-1], 1), np.float32(0))


def _convolved_rows(x: Picture, kernel: Picture) -> Picture:
    """Sum of (C, H, W) along H with a symmetric kernel, given from its centre outwards; outside counts as 0."""
    out = x * kernel[0]
    for shift in range(1, min(len(kernel), x.shape[1])):
        out[:, shift:] += kernel[shift] * x[:, :-shift]
        out[:, :-shift] += kernel[shift] * x[:, shift:]
    return out


def _coloured(picture: Picture, valid: Mask, config: PretrainConfig, rng: np.random.Generator) -> Picture:
    """Brightness, contrast, saturation and perhaps grey, in this order, each clipped to 0..1; the last two of R, G, B alone."""
    if rng.random() < config.hr_colour_chance:
        brightness, contrast = rng.uniform(1 - config.hr_brightness, 1 + config.hr_brightness, 2)
        saturation = rng.uniform(1 - config.hr_saturation, 1 + config.hr_saturation)
        picture = np.clip(picture * np.float32(brightness), 0, 1)
        level = np.float32(_grey(picture)[valid].mean()) if valid.any() else np.float32(0)
        picture = np.clip(level + (picture - level) * np.float32(contrast), 0, 1)
        grey, colours = _grey(picture), picture[:3]
        picture[:3] = np.clip(grey + (colours - grey) * np.float32(saturation), 0, 1)
    if rng.random() < config.hr_grey_chance:
        picture = np.concatenate((np.repeat(_grey(picture)[None], 3, axis=0), picture[3:]))
    return picture


def _grey(picture: Picture) -> Picture:
    return np.asarray((picture[:3] * _LUMA).sum(axis=0))
