"""The landscape as the optical sensors see it: an orthophoto in four bands and Sentinel-2 dates."""

import numpy as np
from numpy.typing import NDArray

from skysense.synthetic.clouds import Clouds
from skysense.synthetic.coarse import Coarse
from skysense.synthetic.noise import block_mean, blur, fractal_noise, upsample
from skysense.synthetic.phenology import BANDS, reflectance, soil
from skysense.synthetic.surface import Surface

#: HR bands and the Sentinel-2 bands whose reflectance they show.
HR_BANDS = {"R": "B4", "G": "B3", "B": "B2", "NIR": "B8"}
#: Reflectance that fills the eight bits, and the exponent of the tone curve of an orthophoto.
WHITE = {"R": 0.27, "G": 0.27, "B": 0.27, "NIR": 0.62}
TONE_CURVE = 0.72
#: Sentinel-2 bands that are measured at 20 m.
COARSE = ("B5", "B6", "B7", "B8A", "B11", "B12")


def spectra(surface: Surface, day: float) -> NDArray[np.float64]:
    """Reflectance (len(stands), 10) of every stand on a day of the year."""
    return np.stack([reflectance(s.kind, day, delay=s.delay, vigour=s.vigour) for s in surface.stands])


def orthophoto(surface: Surface, day: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The HR picture (4, H, W) uint8: R, G, B, NIR, as a photo laboratory would have it."""
    look, ground = spectra(surface, day), soil()
    picture = np.empty((len(HR_BANDS), *surface.stand.shape), np.uint8)
    for i, (band, like) in enumerate(HR_BANDS.items()):
        b = BANDS.index(like)
        seen = look[:, b].astype(np.float32)[surface.stand]
        seen = (seen + surface.bare * (np.float32(ground[b]) - seen)) * surface.tone
        if band != "NIR":
            seen = seen + np.float32({"R": 0.003, "G": 0.005, "B": 0.009}[band])  # light scattered by the air
        seen = blur(seen, 0.74)  # the lens
        value = 255 * np.clip(seen / np.float32(WHITE[band]), 0, 1) ** np.float32(TONE_CURVE)
        noise = 1.6 * rng.standard_normal(value.shape, dtype=np.float32)
        picture[i] = np.clip(np.rint(value + noise), 1, 255)
    return picture


def sentinel2(
    surface: Surface, coarse: Coarse, day: float, clouds: Clouds | None, rng: np.random.Generator
) -> NDArray[np.uint16]:
    """One Sentinel-2 date (10, h, w) uint16: surface reflectance x 10,000 on the 10 m grid, never 0.

    Args:
        surface: the landscape at the finest pixel.
        coarse: what its 10 m pixels hold.
        day: day of the year.
        clouds: what hides the ground, if anything does.
        rng: haze and sensor noise.
    """
    seen = (coarse.share @ spectra(surface, day)).T.reshape(len(BANDS), *coarse.bare.shape).astype(np.float32)
    ground = soil().astype(np.float32)[:, None, None]
    seen = (seen + coarse.bare * (ground - seen)) * coarse.tone
    # Residues of the atmospheric correction: a veil that is strongest in blue, and a gain per date.
    veil = np.array([1.0, 0.7, 0.45, 0.35, 0.25, 0.2, 0.15, 0.12, 0.05, 0.03], np.float32) * np.float32(
        np.clip(rng.normal(0.004, 0.003), 0, 0.012)
    )
    patchy = 1 + 0.15 * fractal_noise(coarse.bare.shape, 10, 600, rng, octaves=2)
    seen = seen * np.float32(rng.normal(1, 0.015)) + veil[:, None, None] * patchy
    seen = blur(seen, 0.8)  # neighbours' light
    if clouds is not None:
        seen = clouds.over(seen)
    for b, band in enumerate(BANDS):
        if band in COARSE:
            seen[b] = upsample(block_mean(seen[b], 2), 2)
    seen = seen * (1 + 0.008 * rng.standard_normal(seen.shape, dtype=np.float32))
    seen = seen + 0.0008 * rng.standard_normal(seen.shape, dtype=np.float32)
    return np.clip(np.rint(10_000 * seen), 1, 20_000).astype(np.uint16)
