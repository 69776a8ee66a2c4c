"""The spectral series: a time series of acquisitions brought to fixed anchor dates, pixel by pixel.

Beside the model's features the head sees the normalised spectral values themselves. Its weights need the same
columns for every scene, whatever was cloudy and whenever the satellite passed; so each pixel's valid
observations are interpolated linearly in time to the anchor dates of the scene the head was trained on,
and what a cloud hid there is filled from the other dates (see `gaps.py`).

Shape legend: T acquisitions, A anchors, C bands, H x W pixels.
"""

import datetime
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skysense.finetune.gaps import Gaps
from skysense.raster.reader import Stack
from skysense.scene.acquisition import Scene
from skysense.scene.sensors import SENSORS, Modality

DAYS_A_YEAR = 365.2425
#: Days up to which an acquisition shows what was there at an anchor, and share of the anchors from which that is asked of it: the
#: others are then filled from these. In a scene of other dates only lines lead to the anchors. Trained on all dates and mapped with
#: every second, three crop scenes have a mIoU of 0.809, 0.672 and 0.686, with lines alone 0.727, 0.644 and 0.567.
_SAME_TIME, _MOSTLY_MET = 4, 0.25
#: The sensors that come as series.
SERIES: tuple[Modality, ...] = ("s2", "s1")


@dataclass(frozen=True)
class Anchors:
    """Which columns a series block has.

    Attributes:
        bands: band names that the training scene had.
        days: anchor dates as days since 1970-01-01; a single undated acquisition has the anchor 0.
        gaps: how the columns, bands of a day side by side, vary together; None: gaps are bridged by straight lines.
    """

    bands: tuple[str, ...]
    days: tuple[int, ...]
    gaps: Gaps | None = None

    @property
    def dim(self) -> int:
        return len(self.bands) * len(self.days)


def day_number(date: datetime.date | None) -> int:
    """Days since 1970-01-01; 0 where the date is unknown."""
    return 0 if date is None else (date - datetime.date(1970, 1, 1)).days


def whole_years_between(days: NDArray[np.int64], anchors: NDArray[np.int64]) -> int:
    """The whole number of years, in days, that brings the anchors nearest to the dates of another scene.

    A head trained on one year's series is so applied to the same seasons of another year.
    """
    years = round(float(days.mean() - anchors.mean()) / DAYS_A_YEAR)
    return round(years * DAYS_A_YEAR)


def series_of(modality: Modality, stack: Stack, anchors: Anchors) -> NDArray[np.float32]:
    """What a stack (T, C', H, W) of a sensor shows at the anchors, normalised: (A * C, H, W), C the anchors' bands; 0 where nothing was
    ever seen, or a band was not and there are no `gaps`."""
    values, seen = seen_series(modality, stack, anchors)
    if anchors.gaps is not None:
        flat, known = values.reshape(len(values), -1), seen.reshape(len(seen), -1)
        some = np.flatnonzero(known.any(axis=0) & ~known.all(axis=0))
        if len(some):
            flat[:, some] = anchors.gaps.fill(flat.take(some, axis=1), known.take(some, axis=1))
    return values


def seen_series(
    modality: Modality, stack: Stack, anchors: Anchors
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """`series_of` with straight lines alone, and where each column was seen, bool (A * C, H, W)."""
    sensor = SENSORS[modality]
    days = np.array([day_number(date) for date in stack.dates], np.int64)
    targets = np.array(anchors.days, np.int64)
    targets = targets + whole_years_between(days, targets)
    index = np.array([sensor.bands.index(band) for band in anchors.bands])
    mean, std = (np.array(numbers, np.float32)[:, None, None] for numbers in (sensor.mean, sensor.std))
    telling = _telling(days, targets)
    shape = (len(targets), len(index), *stack.valid.shape[1:])
    out, seen = np.empty(shape, np.float32), np.empty(shape, bool)
    # Bands that share the dates on which they exist are interpolated together.
    patterns, kind = np.unique(stack.band_present[:, index], axis=1, return_inverse=True)
    for number, pattern in enumerate(patterns.T):
        bands, valid = index[kind == number], stack.valid & pattern[:, None, None]
        values = stack.values[:, bands]
        values -= mean[bands]
        values /= std[bands]
        out[:, kind == number] = interpolate(values, valid, days, targets)
        seen[:, kind == number] = np.stack([valid[of].any(axis=0) for of in telling])[:, None]
    return out.reshape(-1, *shape[2:]), seen.reshape(-1, *shape[2:])


def _telling(days: NDArray[np.int64], anchors: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Which acquisitions tell of each anchor: those of its time, of several granules or orbits; none where the scene has others of the
    anchors' dates but not this one; the nearest where it has other dates altogether."""
    apart = np.abs(days[None] - anchors[:, None])
    near = apart <= _SAME_TIME
    if near.any(axis=1).mean() < _MOSTLY_MET:
        near = apart == apart.min(axis=1, keepdims=True)
    return [np.flatnonzero(row) for row in near]


def series_anchors(scene: Scene) -> dict[Modality, Anchors]:
    """The columns of each modality's series: the bands and dates that the scene has."""
    found: dict[Modality, Anchors] = {}
    for modality in SERIES:
        acquisitions = scene.modality(modality)
        if acquisitions:
            bands = tuple(
                band for band in SENSORS[modality].bands if any(band in item.bands for item in acquisitions)
            )
            found[modality] = Anchors(bands, tuple(sorted({day_number(item.date) for item in acquisitions})))
    return found


def interpolate(
    values: NDArray[np.float32], valid: NDArray[np.bool_], days: NDArray[np.int64], anchors: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Interpolate each pixel's valid observations linearly to the anchors; constant before the first and after the last.

    Args:
        values: (T, C, H, W).
        valid: (T, H, W).
        days: (T,) ascending.
        anchors: (A,), in the same day count.

    Returns:
        (A, C, H, W); 0 where a pixel has no valid observation.
    """
    dates = len(days)
    sometimes, always = valid.any(axis=0), valid.all(axis=0)
    out = np.zeros((len(anchors), *values.shape[1:]), np.float32)
    # Pixels that were seen at every date, mostly all of them: the same two dates serve all.
    starts, stops = _last_before(days, anchors).clip(0), _first_after(days, anchors).clip(None, dates - 1)
    for row, (anchor, start, stop) in enumerate(zip(anchors, starts, stops)):
        if days[start] < days[stop]:
            share = np.float32((anchor - days[start]) / (days[stop] - days[start]))
            np.subtract(values[stop], values[start], out=out[row])
            out[row] *= share
            out[row] += values[start]
        else:
            out[row] = values[start]
    if always.all():
        return out
    out[:, :, ~sometimes] = 0
    some = np.flatnonzero(sometimes & ~always)
    if len(some):
        # A pixel's bands side by side: they are picked together.
        picked = values.reshape(*values.shape[:2], -1).take(some, axis=2).swapaxes(1, 2)
        found = _between(picked, valid.reshape(dates, -1).take(some, axis=1), days, anchors)
        out.reshape(*out.shape[:2], -1)[:, :, some] = found.swapaxes(1, 2)
    return out


def _between(
    values: NDArray[np.float32], valid: NDArray[np.bool_], days: NDArray[np.int64], anchors: NDArray[np.int64]
) -> NDArray[np.float32]:
    """`interpolate` for pixels that were seen at least once, values (T, N, C) and valid (T, N): (A, N, C)."""
    dates = len(days)
    # Index of the last valid observation at or before each date, and of the first at or after it; of none before all and after all.
    steps = np.arange(-1, dates, dtype=np.int16)[:, None]
    before = np.maximum.accumulate(np.where(np.vstack([valid[:1] | True, valid]), steps, -1), axis=0)
    steps = np.arange(dates + 1, dtype=np.int16)[:, None]
    after = np.minimum.accumulate(np.where(np.vstack([valid, valid[:1] | True]), steps, dates)[::-1], axis=0)[
        ::-1
    ]
    earlier, later = before[_last_before(days, anchors) + 1], after[_first_after(days, anchors)]
    # One side missing: the other side's value is carried on.
    start = np.where(earlier >= 0, earlier, later)
    stop = np.where(later < dates, later, earlier)
    span = days[stop] - days[start]
    share = np.where(span > 0, (anchors[:, None] - days[start]) / np.maximum(span, 1), 0).astype(np.float32)
    pixels = valid.shape[1]
    flat = values.reshape(dates * pixels, -1)
    first, second = (
        flat.take(np.int64(pixels) * index + np.arange(pixels), axis=0) for index in (start, stop)
    )
    second -= first
    second *= share[..., None]
    return np.add(first, second, out=second)


def _last_before(days: NDArray[np.int64], anchors: NDArray[np.int64]) -> NDArray[np.int64]:
    """Index of the last date at or before each anchor, -1 where there is none."""
    return np.searchsorted(days, anchors, side="right") - 1


def _first_after(days: NDArray[np.int64], anchors: NDArray[np.int64]) -> NDArray[np.int64]:
    """Index of the first date at or after each anchor, the number of dates where there is none."""
    return np.searchsorted(days, anchors, side="left")
