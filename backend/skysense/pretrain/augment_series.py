"""Augmentation of the Sentinel series: sub-sequences, lost and shifted dates, gains and noise.

Shape legend: T acquisitions, C bands, h w pixels of the view.
"""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skysense.finetune.series import day_number
from skysense.model.dates import DAYS, UNKNOWN_DAY
from skysense.pretrain.config import PretrainConfig
from skysense.pretrain.crops import Crop
from skysense.raster.reader import Stack
from skysense.scene.sensors import SENSORS, Modality

#: Days, more than between any two dates.
_BEFORE_ALL = 2**40


@dataclass(frozen=True)
class SeriesView:
    """Acquisitions in one view, ascending in time.

    Attributes:
        x: (T, C, h, w) float32 normalised, of the bands that were asked for; 0 where invalid and in bands that the product lacks.
        valid: (T, h, w) bool.
        day: (T,) int64, 0-based day of the year after the disturbance, -1 unknown.
        order: (T,) int64 days since 1970-01-01 before the disturbance; where unknown, `undated`.
    """

    x: Tensor
    valid: Tensor
    day: Tensor
    order: Tensor


def series_view(
    stack: Stack,
    modality: Modality,
    crop: Crop,
    config: PretrainConfig,
    rng: np.random.Generator,
    bands: Sequence[str] | None = None,
) -> SeriesView | None:
    """One view of a Sentinel series; None where it saw nothing of the crop.

    At most `s2_dates` or `s1_dates` acquisitions, drawn without replacement in proportion to how much of the crop
    they saw; then each is dropped with `drop_date`, but never all of them.

    Args:
        bands: some of the sensor's, which the encoder takes; None: all.
    """
    most = config.s2_dates if modality == "s2" else config.s1_dates
    valid = crop.cut(stack.valid)
    chosen = _draw_dates(valid.mean(axis=(1, 2)), most, config.drop_date, rng)
    if not len(chosen):
        return None
    order = np.array(
        [day_number(date) if (date := stack.dates[t]) else undated(int(t)) for t in chosen], np.int64
    )
    ascending = np.argsort(order, kind="stable")
    chosen, order = chosen[ascending], order[ascending]

    own = SENSORS[modality].bands
    values = crop.cut(stack.values[:, : len(own)])[chosen]
    valid = valid[chosen]
    x = _normalised(_disturbed(values, modality, config, rng), modality)
    # A band that a product lacks is at the mean of all imagery: neither dark nor bright.
    x = np.where(valid[:, None] & stack.band_present[chosen, : len(own), None, None], x, np.float32(0))
    if bands is not None and tuple(bands) != own:
        x = x[:, [own.index(band) for band in bands]]
    days = disturbed_days([stack.dates[t] for t in chosen], config.date_jitter, rng)
    return SeriesView(
        torch.from_numpy(np.ascontiguousarray(crop.turn(x))),
        torch.from_numpy(np.ascontiguousarray(crop.turn(valid))),
        torch.from_numpy(days),
        torch.from_numpy(order),
    )


def undated(place: int) -> int:
    """What stands for the day of an acquisition without one: before all days, in the order of the stack.

    Args:
        place: in the window's stack, which all views are drawn from.
    """
    return place - _BEFORE_ALL


def _draw_dates(
    share: NDArray[np.float64], most: int, drop: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Indices of at most `most` dates with a share above 0."""
    seen = np.flatnonzero(share)
    # Efraimidis and Spirakis 2006: the largest u^(1/w) are a sample without replacement with weights w.
    keys = rng.random(len(seen)) ** (1 / share[seen])
    chosen = seen[np.argsort(-keys, kind="stable")[:most]]
    kept = chosen[rng.random(len(chosen)) >= drop]
    return kept if len(kept) else chosen[:1]


def disturbed_days(
    dates: list[datetime.date | None], jitter: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """0-based days of the year, each shifted by up to `jitter` days round the year (1 January - 3 is 362); -1 unknown.

    31 December of a leap year counts as the day before, as in `model.dates`.
    """
    shifts = rng.integers(-jitter, jitter + 1, len(dates))
    days = [
        UNKNOWN_DAY if date is None else (min(date.timetuple().tm_yday, DAYS) - 1 + int(shift)) % DAYS
        for date, shift in zip(dates, shifts, strict=True)
    ]
    return np.array(days, np.int64)


def _disturbed(
    values: NDArray[np.float32], modality: Modality, config: PretrainConfig, rng: np.random.Generator
) -> NDArray[np.float32]:
    """(T, C, h, w) in `Sensor.units` with a gain per acquisition and band, and noise per pixel.

    Noise of S1 is added in dB, which is how multiplicative speckle looks there.
    """
    gain = rng.standard_normal((*values.shape[:2], 1, 1), np.float32)
    noise = rng.standard_normal(values.shape, np.float32)
    if modality == "s2":
        return values * (1 + np.float32(config.s2_gain) * gain) + np.float32(config.s2_noise) * noise
    return values + np.float32(config.s1_gain) * gain + np.float32(config.s1_noise) * noise


def _normalised(values: NDArray[np.float32], modality: Modality) -> NDArray[np.float32]:
    """The same as `model.inputs.normalize`, in NumPy."""
    sensor = SENSORS[modality]
    mean = np.array(sensor.mean, np.float32)[:, None, None]
    return (values - mean) / np.array(sensor.std, np.float32)[:, None, None]
