"""The landscape as Sentinel-1 sees it: mean backscatter per cover and season, and speckle."""

import numpy as np
from numpy.typing import NDArray

from skysense.synthetic.coarse import Coarse
from skysense.synthetic.noise import Array, fractal_noise, stream
from skysense.synthetic.phenology import green_share
from skysense.synthetic.surface import Stand, Surface

#: Equivalent number of looks of a Sentinel-1 IW GRD product.
LOOKS = 4.4
#: Mean backscatter in dB (VV, VH) of covers that keep it through the year.
STEADY = {
    "water": (-20.0, -27.5),
    "conifer": (-9.6, -14.6),
    "asphalt": (-14.5, -22.5),
    "gravel": (-13.0, -21.0),
    "yard": (-11.0, -19.0),
    "red roof": (-1.5, -9.5),
    "dark roof": (-1.8, -9.8),
    "grey roof": (0.5, -8.5),
    "bright roof": (1.5, -8.0),
}
#: dB (VV, VH) without and with full green cover. Stems of cereals dampen VV; broad maize leaves scatter more.
SEASONAL = {
    "cereal": ((-10.2, -18.2), (-15.0, -19.5)),
    "maize": ((-10.8, -19.0), (-8.8, -14.2)),
    "grass": ((-12.4, -19.8), (-11.2, -17.6)),
    "lawn": ((-11.5, -18.5), (-11.0, -17.5)),
    "verge": ((-12.0, -19.0), (-11.2, -17.5)),
    "deciduous": ((-9.8, -15.6), (-9.2, -14.4)),
}
#: Noise floor of the product (dB).
FLOOR = -29.0


def _linear(db: Array | NDArray[np.float64] | float) -> NDArray[np.float64]:
    return np.asarray(10 ** (np.asarray(db, np.float64) / 10))


def backscatter(stand: Stand, day: float) -> NDArray[np.float64]:
    """Mean backscatter in dB (2,): VV, VH."""
    if stand.kind in STEADY:
        return np.array(STEADY[stand.kind])
    without, with_cover = (np.array(v) for v in SEASONAL[stand.kind])
    green = green_share(stand.kind, day, delay=stand.delay, vigour=stand.vigour)
    mean: NDArray[np.float64] = without + green * (with_cover - without)
    return mean


def sentinel1(surface: Surface, coarse: Coarse, day: float, seed: int, rng: np.random.Generator) -> Array:
    """One Sentinel-1 date (2, h, w) float32 in dB: VV, VH on the 10 m grid.

    Args:
        surface: the landscape at the finest pixel.
        coarse: what its 10 m pixels hold.
        day: day of the year.
        seed: decides what stays from date to date (roughness of the ground, corners of houses).
        rng: decides what changes: moisture, wind and speckle.
    """
    per_stand = _linear(np.stack([backscatter(s, day) for s in surface.stands]))
    moisture = rng.normal(0, 0.5)
    wind = rng.normal(0, 1.2)
    for i, stand in enumerate(surface.stands):
        per_stand[i] *= _linear(
            wind if stand.kind == "water" else moisture if stand.kind in SEASONAL else 0.0
        )
    share, shape = coarse.share, coarse.truth.shape
    power = (share @ per_stand).T.reshape(2, *shape)

    lasting = stream(seed, "roughness")
    power *= _linear(0.5 * fractal_noise(shape, 10, 140, lasting, octaves=4))
    # Houses send the beam straight back where walls face the radar: strong, patchy, the same on every date.
    built = share @ np.array([float(s.kind.endswith("roof")) for s in surface.stands])
    corners = lasting.gamma(0.7, 1 / 0.7, shape)
    power *= 1 + np.clip(3 * built.reshape(shape), 0, 1) * (np.clip(corners, 0.1, 8) - 1)
    power += _linear(FLOOR)
    speckle = rng.gamma(LOOKS, 1 / LOOKS, power.shape)
    return (10 * np.log10(power * speckle)).astype(np.float32)
