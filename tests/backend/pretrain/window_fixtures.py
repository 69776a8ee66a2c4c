"""Small windows with known values, for the tests of views, batches and correspondence."""

import datetime

import numpy as np
from skysense.pretrain.windows import RawWindow
from skysense.raster.reader import Stack


def stack(values, valid=None, first=datetime.date(2020, 1, 1), step=10):
    """Acquisitions `step` days apart from (T, C, h, w); values are 0 where invalid, as the reader gives them."""
    values = np.asarray(values, np.float32)
    dates, bands, height, width = values.shape
    valid = np.ones((dates, height, width), bool) if valid is None else np.asarray(valid, bool)
    days = tuple(first + datetime.timedelta(step * t) for t in range(dates))
    return Stack(values * valid[:, None], valid, np.ones((dates, bands), bool), days)


def window(place=(5.0, 50.0), scene="north field", hr_per_base=None, **stacks):
    return RawWindow(dict(stacks), hr_per_base, place, scene)


def random_stack(seed, dates, bands, side, scale=1.0, holes=0.0):
    random = np.random.default_rng(seed)
    values = random.random((dates, bands, side, side), np.float32) * scale
    return stack(values, random.random((dates, side, side)) >= holes)


def position_stack(dates, bands, side, scale=1.0):
    """The first two bands of every date are the row and the column of the pixel's centre times `scale`."""
    values = np.zeros((dates, bands, side, side), np.float32)
    values[:, 0] = (np.arange(side) + 0.5)[:, None] * scale
    values[:, 1] = (np.arange(side) + 0.5) * scale
    return stack(values)
