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
    for row, anchor in enumerate(anchors):
        start, stop = max(_last_before(days, anchor), 0), min(_first_after(days, anchor), dates - 1)
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
    dates = len(days)
    steps = np.arange(dates)[:, None]
    # Index of the last valid observation at or before each date, and of the first at or after it.
    before = np.maximum.accumulate(np.where(valid, steps, -1), axis=0)
    after = np.minimum.accumulate(np.where(valid, steps, dates)[::-1], axis=0)[::-1]
    out = np.empty((len(anchors), *values.shape[1:]), np.float32)
    for row, anchor in enumerate(anchors):
        left, right = _last_before(days, anchor), _first_after(days, anchor)
        earlier = before[left] if left >= 0 else np.full_like(before[0], -1)
        later = after[right] if right < dates else np.full_like(after[0], dates)
        # One side missing: the other side's value is carried on.
        start = np.where(earlier >= 0, earlier, later)
        stop = np.where(later < dates, later, earlier)
        span = days[stop] - days[start]
        share = np.where(span > 0, (anchor - days[start]) / np.maximum(span, 1), 0).astype(np.float32)
        first = np.take_along_axis(values, start[None, None], axis=0)[0]
        second = np.take_along_axis(values, stop[None, None], axis=0)[0]
        out[row] = first + share * (second - first)
    return out


def _last_before(days: NDArray[np.int64], anchor: int) -> int:
    """Index of the last date at or before an anchor, -1 where there is none."""
    return int(np.searchsorted(days, anchor, side="right")) - 1


def _first_after(days: NDArray[np.int64], anchor: int) -> int:
    """Index of the first date at or after an anchor, the number of dates where there is none."""
    return int(np.searchsorted(days, anchor, side="left"))
