"""Fair-weather clouds with soft edges, and their shadows."""

from dataclasses import dataclass

import numpy as np

from skysense.synthetic.light import toward_sun
from skysense.synthetic.noise import Array, fractal_noise, smoothstep

#: Reflectance of a thick cloud, and the light that is left in full shadow, per band (B2 .. B12).
CLOUD = (0.62, 0.60, 0.60, 0.61, 0.62, 0.63, 0.63, 0.62, 0.42, 0.34)
SHADE = (0.62, 0.55, 0.50, 0.46, 0.43, 0.42, 0.41, 0.40, 0.36, 0.35)


@dataclass(frozen=True)
class Clouds:
    """Opacity and shadow (h, w), 0..1, and the clouds' own brightness (h, w), about 1."""

    opacity: Array
    shadow: Array
    bright: Array

    def over(self, ground: Array) -> Array:
        """Ground reflectance (10, h, w) as seen through the clouds."""
        shade = 1 - self.shadow * (1 - np.array(SHADE, np.float32))[:, None, None]
        cloud = self.bright * np.array(CLOUD, np.float32)[:, None, None]
        return (ground * shade * (1 - self.opacity) + cloud * self.opacity).astype(np.float32)


def make_clouds(
    shape: tuple[int, int], cover: float, rng: np.random.Generator, *, gsd: float = 10.0
) -> Clouds:
    """Clouds over about `cover` (0..1) of a field (h, w) of `gsd` metres; shadows fall in from outside."""
    size = min(shape) * gsd
    fall = min(330.0, 0.22 * size)  # metres along the ground between a cloud and its shadow
    sx, sy = toward_sun()
    dy, dx = round(fall * sy / gsd), round(fall * sx / gsd)
    pad = max(abs(dy), abs(dx))
    wide = (shape[0] + 2 * pad, shape[1] + 2 * pad)
    puffs = fractal_noise(wide, gsd, min(330.0, 0.3 * size), rng, octaves=5, gain=0.5)
    inner = puffs[pad : pad + shape[0], pad : pad + shape[1]]
    rim = np.float32(np.quantile(inner, 1 - cover))
    opacity = smoothstep((puffs - rim) / 0.9 + 0.4)
    bright = np.clip(0.8 + 0.28 * (puffs - rim), 0.75, 1.35).astype(np.float32)
    shadow = opacity[pad + dy : pad + dy + shape[0], pad + dx : pad + dx + shape[1]]
    centre = np.s_[pad : pad + shape[0], pad : pad + shape[1]]
    return Clouds(opacity[centre], shadow, bright[centre])
