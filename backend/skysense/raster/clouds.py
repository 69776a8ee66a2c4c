"""Clouds: those that a scene classification names, and a test on the series for images that come without one.

The test looks at one pixel through time and at no neighbour, so it does not depend on tiles. A cloud is
bright, and much brighter than the same pixel usually is:

    blue > bright  and  blue > usual + rise

where "blue" is B2 (or, where that is missing, the next band of the table below) in reflectance x 10,000 and
"usual" is the pixel's lower quartile over its valid dates. White roofs and sand are bright on every date and
stay; snow that lies for less than most of the series is taken for cloud. With less than four valid dates
"usual" is the darkest of them, and a cloud must be brighter than 3,000 and than twice that; so a pixel with
one date is never dropped. Shadows and thin haze are left to the model.

Shape legend: T dates, C bands, H x W pixels.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skysense.scene.sensors import SENSORS

#: Band -> (bright, rise), bluest first. The red edge varies more with the crops than the visible bands do.
THRESHOLDS = {
    "B2": (1500.0, 1000.0),
    "B3": (1800.0, 1100.0),
    "B4": (2200.0, 1500.0),
    "B5": (2800.0, 1600.0),
}
_ENOUGH_DATES = 4
_USUAL = 0.25
_FEW_DATES_BRIGHT, _FEW_DATES_RATIO = 3000.0, 2.0

#: Scene classification (SCL) of Sentinel-2 L2A: no data, saturated or defective, cloud shadow, cloud (medium
#: and high probability), thin cirrus.
_SCL_INVALID = np.isin(np.arange(256), (0, 1, 3, 8, 9, 10))


def series_clouds(
    values: NDArray[np.float32], valid: NDArray[np.bool_], band_present: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Where the series shows clouds, (T, H, W).

    Args:
        values: (T, C, H, W) reflectance x 10,000, bands as in `SENSORS["s2"]`.
        valid: (T, H, W).
        band_present: (T, C).
    """
    bands = SENSORS["s2"].bands
    clouds = np.zeros(valid.shape, bool)
    if not len(values):
        return clouds
    # The band that most dates have; of equals the first, the bluest.
    name = max(THRESHOLDS, key=lambda band: int(band_present[:, bands.index(band)].sum()))
    dates = np.flatnonzero(band_present[:, bands.index(name)])
    if len(dates) < 2:
        return clouds
    bright, rise = THRESHOLDS[name]
    blue = values[dates, bands.index(name)]
    known = valid[dates]
    ordered = np.sort(np.where(known, blue, np.inf), axis=0)
    count = known.sum(axis=0)
    quartile = np.floor(_USUAL * np.maximum(count - 1, 0)).astype(np.int64)
    usual = np.take_along_axis(ordered, quartile[None], axis=0)
    many = (blue > bright) & (blue > usual + rise)
    few = (blue > _FEW_DATES_BRIGHT) & (blue > _FEW_DATES_RATIO * ordered[:1])
    clouds[dates] = known & np.where(count >= _ENOUGH_DATES, many, few)
    return clouds


def mask_invalid(mask: NDArray[Any], classification: bool) -> NDArray[np.bool_]:
    """Which pixels a mask file (any shape) marks as invalid: by SCL class, or wherever it is not 0."""
    if not classification:
        return np.asarray(mask != 0)
    return np.asarray(_SCL_INVALID[np.clip(np.nan_to_num(mask), 0, 255).astype(np.uint8)])


def is_classification(name: str, sample: NDArray[Any]) -> bool:
    """Whether a mask file is a scene classification: by its name, or since it holds SCL's classes 4..11."""
    if "scl" in name.lower():
        return True
    return bool(sample.size and sample.max() <= 11 and (sample >= 4).any())
