"""The spectral series: a time series of acquisitions brought to fixed anchor dates, pixel by pixel.

Beside the model's features the head sees the normalised spectral values themselves. Its weights need the same
columns for every scene, whatever was cloudy and whenever the satellite passed; so each pixel's valid
observations are interpolated linearly in time to the anchor dates of the scene the head was trained on.

Shape legend: T acquisitions, A anchors, C bands, H x W pixels.
"""

import datetime
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DAYS_A_YEAR = 365.2425


@dataclass(frozen=True)
class Anchors:
    """Which columns a series block has.

    Attributes:
        bands: band names that the training scene had.
        days: anchor dates as days since 1970-01-01; a single undated acquisition has the anchor 0.
    """

    bands: tuple[str, ...]
    days: tuple[int, ...]

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
        out[row] = values[start]
        if days[start] < days[stop]:
            share = np.float32((anchor - days[start]) / (days[stop] - days[start]))
            out[row] += share * (values[stop] - values[start])
    if always.all():
        return out
    out[:, :, ~sometimes] = 0
    rows, cols = np.nonzero(sometimes & ~always)
    if len(rows):
        out[:, :, rows, cols] = _between(values[:, :, rows, cols], valid[:, rows, cols], days, anchors)
    return out


def _between(
    values: NDArray[np.float32], valid: NDArray[np.bool_], days: NDArray[np.int64], anchors: NDArray[np.int64]
) -> NDArray[np.float32]:
    """`interpolate` for pixels that were seen at least once, values (T, C, N) and valid (T, N): (A, C, N)."""
    dates, (_, bands, pixels) = len(days), values.shape
    # Index of the last valid observation at or before each date, and of the first at or after it; of none before all and after all.
    steps = np.arange(-1, dates)[:, None]
    before = np.maximum.accumulate(np.where(np.vstack([valid[:1] | True, valid]), steps, -1), axis=0)
    steps = np.arange(dates + 1)[:, None]
    after = np.minimum.accumulate(np.where(np.vstack([valid, valid[:1] | True]), steps, dates)[::-1], axis=0)[
        ::-1
    ]
    earlier, later = before[_last_before(days, anchors) + 1], after[_first_after(days, anchors)]
    # One side missing: the other side's value is carried on.
    start = np.where(earlier >= 0, earlier, later)
    stop = np.where(later < dates, later, earlier)
    span = days[stop] - days[start]
    share = np.where(span > 0, (anchors[:, None] - days[start]) / np.maximum(span, 1), 0).astype(np.float32)
    band, pixel = np.arange(bands)[:, None], np.arange(pixels)
    first, second = (values[index[:, None], band, pixel] for index in (start, stop))
    second -= first
    second *= share[:, None]
    return np.add(first, second, out=second)


def _last_before(days: NDArray[np.int64], anchors: NDArray[np.int64]) -> NDArray[np.int64]:
    """Index of the last date at or before each anchor, -1 where there is none."""
    return np.searchsorted(days, anchors, side="right") - 1


def _first_after(days: NDArray[np.int64], anchors: NDArray[np.int64]) -> NDArray[np.int64]:
    """Index of the first date at or after each anchor, the number of dates where there is none."""
    return np.searchsorted(days, anchors, side="left")
