"""Sunlight on a height field: slopes and cast shadows."""

import math

import numpy as np
from numpy.typing import NDArray

from skysense.synthetic.noise import Array

#: The sun at the overpass, about half past ten: azimuth from north over east, and elevation (degrees).
AZIMUTH, ELEVATION = 148.0, 52.0


def toward_sun() -> tuple[float, float]:
    """Unit vector (x to the right, y downwards) along the ground towards the sun."""
    return math.sin(math.radians(AZIMUTH)), -math.cos(math.radians(AZIMUTH))


def slopes(height: Array, gsd: float) -> Array:
    """Brightness (H, W) of each facet relative to level ground, kept within 0.45..1.45."""
    sx, sy = toward_sun()
    dy, dx = np.gradient(height, gsd)
    elevation = math.radians(ELEVATION)
    facing = (math.sin(elevation) - math.cos(elevation) * (dx * sx + dy * sy)) / np.sqrt(
        1 + dx * dx + dy * dy
    )
    bright: Array = np.clip(facing / math.sin(elevation), 0.45, 1.45).astype(np.float32)
    return bright


def cast_shadows(height: Array, gsd: float, tallest: float = 26.0) -> NDArray[np.bool_]:
    """Where something towards the sun hides it (H, W): one-pixel steps over a height field in metres."""
    h, w = height.shape
    sx, sy = toward_sun()
    rise = math.tan(math.radians(ELEVATION))
    reach = int(min(tallest, float(height.max())) / rise / gsd) + 1
    padded = np.pad(height, reach + 1)
    dark = np.zeros((h, w), bool)
    for step in range(1, reach + 1):
        dy, dx = round(sy * step), round(sx * step)
        view = padded[reach + 1 + dy : reach + 1 + dy + h, reach + 1 + dx : reach + 1 + dx + w]
        dark |= view > height + rise * gsd * step
    return dark
