"""What one sees inside a parcel: rows, wheel tracks, headlands, swaths and poor spots."""

import math

import numpy as np
from numpy.typing import NDArray
from shapely import Polygon

from skysense.synthetic.legend import CEREAL, GRASS, MAIZE
from skysense.synthetic.noise import Array, fractal_noise, smooth_noise, smoothstep, stream
from skysense.synthetic.parcels import long_axis

#: Distance between the wheel tracks of a cereal field, and depth of the strip where machines turn (metres).
TRACKS, HEADLAND = 18.0, 14.0


def deal_crops(
    area: NDArray[np.int64], wetness: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Give every parcel a crop, each crop about a third of the land.

    Args:
        area: visible pixels per parcel (N,).
        wetness: larger where meadows are likelier (N,).

    Returns:
        Class ids (N,).
    """
    crops = np.zeros(len(area), np.uint8)
    total = float(area.sum())
    grown = {CEREAL: 0.0, MAIZE: 0.0}
    meadow = 0.0
    for i in np.argsort(-wetness, kind="stable"):
        if meadow < 0.3 * total:
            crops[i], meadow = GRASS, meadow + float(area[i])
    for i in rng.permutation(np.flatnonzero(crops == 0)):
        crop = min(grown, key=lambda c: grown[c])
        crops[i] = crop
        grown[crop] += float(area[i])
    return crops


def field_texture(
    parcel: NDArray[np.int32], outlines: list[Polygon], crops: NDArray[np.uint8], gsd: float, seed: int
) -> tuple[Array, Array]:
    """Brightness and bareness inside the parcels.

    Args:
        parcel: parcel number (H, W), 1..N, 0 outside.
        outlines: the N parcels in local metres.
        crops: class ids (N,).
        gsd: pixel size (metres).

    Returns:
        tone: factor on the reflectance (H, W), about 1.
        bare: share of the plants that is missing (H, W), 0..1; soil shows there.
    """
    rng = stream(seed, "fields")
    shape = parcel.shape
    n = len(outlines)
    axes = [long_axis(p) for p in outlines]
    angle = np.array([0.0] + [a for a, _, _ in axes])
    length = np.array([0.0] + [side for _, side, _ in axes])
    middle = np.array([(0.0, 0.0)] + [(p.centroid.x, p.centroid.y) for p in outlines])
    crop = np.concatenate([[0], crops])[parcel]
    mown = np.concatenate([[False], rng.random(n) < 0.5])[parcel]
    offset = np.concatenate([[0.0], rng.uniform(0, 900, n)])[parcel]

    y, x = ((np.arange(k) + 0.5) * gsd for k in shape)
    dx, dy = x[None, :] - middle[parcel, 0], y[:, None] - middle[parcel, 1]
    cos, sin = np.cos(angle)[parcel], np.sin(angle)[parcel]
    along, across = dx * cos + dy * sin, dy * cos - dx * sin
    turning = np.abs(along) > length[parcel] / 2 - HEADLAND
    over = np.where(turning, along, across)  # metres across the rows

    # Rows: one-dimensional noise across the direction of work, fading in and out along it.
    profile = rng.standard_normal(4096).astype(np.float32)
    t = (over + offset + 2000.0) / 1.9
    low = t.astype(np.int64)
    rows = profile[low % 4096] * (1 - (t - low)) + profile[(low + 1) % 4096] * (t - low)
    rows = rows * (0.7 + 0.3 * smooth_noise(shape, gsd, 25, rng))
    strength = np.select([crop == MAIZE, crop == CEREAL, crop == GRASS], [0.075, 0.035, 0.018])
    grain = smooth_noise(shape, gsd, max(2.2, 1.2 * gsd), rng)
    patches = fractal_noise(shape, gsd, 110, rng, octaves=4, gain=0.55)
    tone = 1 + strength * rows + 0.025 * grain + 0.055 * patches + np.where(turning, -0.03, 0)

    swath = np.sign(np.sin(2 * math.pi * (over + offset) / 11.0))
    tone = tone + np.where((crop == GRASS) & mown, 0.04 * swath, 0)
    wheel = np.abs((over + offset) % TRACKS - TRACKS / 2)
    tracks = smoothstep((1.9 - np.abs(wheel - 1.0)).astype(np.float32)) * (crop == CEREAL)
    poor = smoothstep((patches - 1.0).astype(np.float32) / 2.2) * np.where(crop == GRASS, 0.25, 0.5)
    bare = np.clip(0.3 * tracks + poor + 0.03 * np.abs(grain), 0, 0.8)
    inside = parcel > 0
    return np.where(inside, tone, 1).astype(np.float32), np.where(inside, bare, 0).astype(np.float32)
