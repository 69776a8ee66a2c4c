"""How each kind of surface looks to Sentinel-2 through the year.

A vegetated surface is a mixture of green leaves, dry matter and bare soil whose shares follow the season;
everything else keeps its spectrum. Spectra and calendars are round figures for temperate Europe, chosen to be
plausible; they are measurements of nothing.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from skysense.scene.sensors import SENSORS

Kind = Literal[
    "water", "deciduous", "conifer", "cereal", "maize", "grass", "lawn", "verge",
    "asphalt", "gravel", "yard", "red roof", "grey roof", "dark roof", "bright roof",
]  # fmt: skip

BANDS = SENSORS["s2"].bands

#: Reflectance in the order of `BANDS`: B2, B3, B4, B5, B6, B7, B8, B8A, B11, B12.
SPECTRA: dict[str, tuple[float, ...]] = {
    "crop leaves": (0.026, 0.062, 0.026, 0.100, 0.320, 0.420, 0.450, 0.470, 0.200, 0.090),
    "maize leaves": (0.024, 0.058, 0.027, 0.095, 0.270, 0.350, 0.385, 0.400, 0.185, 0.085),
    "grass leaves": (0.030, 0.068, 0.036, 0.115, 0.290, 0.360, 0.385, 0.400, 0.225, 0.110),
    "tree leaves": (0.020, 0.045, 0.022, 0.075, 0.270, 0.360, 0.390, 0.400, 0.170, 0.075),
    "needles": (0.017, 0.030, 0.019, 0.046, 0.140, 0.180, 0.200, 0.210, 0.092, 0.042),
    "straw": (0.080, 0.120, 0.160, 0.190, 0.220, 0.240, 0.270, 0.290, 0.330, 0.240),
    "soil": (0.072, 0.098, 0.128, 0.155, 0.175, 0.190, 0.210, 0.225, 0.290, 0.250),
    "litter": (0.042, 0.058, 0.070, 0.092, 0.120, 0.140, 0.160, 0.172, 0.205, 0.140),
    "water": (0.036, 0.043, 0.027, 0.022, 0.016, 0.015, 0.013, 0.012, 0.007, 0.005),
    "asphalt": (0.085, 0.095, 0.102, 0.108, 0.114, 0.118, 0.124, 0.128, 0.145, 0.135),
    "gravel": (0.140, 0.170, 0.195, 0.210, 0.222, 0.230, 0.240, 0.250, 0.290, 0.270),
    "yard": (0.120, 0.135, 0.148, 0.156, 0.164, 0.170, 0.178, 0.184, 0.205, 0.190),
    "red roof": (0.066, 0.085, 0.150, 0.190, 0.220, 0.230, 0.250, 0.260, 0.300, 0.280),
    "grey roof": (0.130, 0.140, 0.148, 0.152, 0.158, 0.162, 0.168, 0.172, 0.190, 0.180),
    "dark roof": (0.060, 0.065, 0.072, 0.076, 0.080, 0.084, 0.090, 0.094, 0.110, 0.105),
    "bright roof": (0.235, 0.240, 0.245, 0.250, 0.252, 0.255, 0.258, 0.260, 0.270, 0.255),
}


@dataclass(frozen=True)
class Calendar:
    """A plant cover's year: (day of year, share) knots of green leaves and dry matter, and its spectra.

    The background shows through wherever neither covers the ground.
    """

    leaves: str
    green: tuple[tuple[float, float], ...]
    dry: tuple[tuple[float, float], ...]
    background: str = "soil"


CALENDARS: dict[str, Calendar] = {
    # Sown in October, full cover in May, golden in late June, harvested about 25 July, ploughed in September.
    "cereal": Calendar(
        "crop leaves",
        ((1, 0.28), (60, 0.35), (100, 0.75), (130, 0.96), (155, 0.85), (172, 0.40), (190, 0.04), (285, 0.0),
         (330, 0.22)),
        ((150, 0.02), (172, 0.48), (190, 0.92), (206, 0.90), (210, 0.50), (245, 0.42), (252, 0.03)),
    ),
    # Bare in spring, sown early in May, full cover in July, harvested at the end of September.
    "maize": Calendar(
        "maize leaves",
        ((140, 0.0), (162, 0.16), (185, 0.72), (205, 0.95), (240, 0.88), (262, 0.45), (270, 0.05),
         (300, 0.0)),
        ((1, 0.10), (100, 0.08), (115, 0.0), (240, 0.05), (262, 0.40), (270, 0.35), (330, 0.15)),
    ),
    # Green all year, with cuts in late May, in July and in September.
    "grass": Calendar(
        "grass leaves",
        ((1, 0.52), (75, 0.58), (115, 0.86), (143, 0.93), (147, 0.45), (175, 0.84), (196, 0.86), (200, 0.45),
         (230, 0.78), (252, 0.80), (256, 0.50), (285, 0.74), (340, 0.55)),
        ((1, 0.30), (75, 0.25), (115, 0.08), (143, 0.06), (147, 0.35), (175, 0.12), (200, 0.38), (230, 0.17),
         (256, 0.34), (285, 0.18), (340, 0.28)),
    ),
    "lawn": Calendar(
        "grass leaves",
        ((1, 0.50), (120, 0.82), (200, 0.66), (280, 0.70), (340, 0.52)),
        ((1, 0.25), (120, 0.12), (200, 0.25)),
    ),
    "verge": Calendar(
        "grass leaves",
        ((1, 0.35), (130, 0.80), (200, 0.50), (300, 0.40)),
        ((1, 0.45), (130, 0.12), (200, 0.42)),
    ),
    # Leaves out in late April, gone in early November.
    "deciduous": Calendar(
        "tree leaves",
        ((100, 0.05), (135, 0.95), (265, 0.88), (295, 0.45), (315, 0.05)),
        ((1, 0.0), (265, 0.04), (295, 0.25), (315, 0.05)),
        "litter",
    ),
    "conifer": Calendar("needles", ((1, 0.94), (180, 0.97)), ((1, 0.0),), "litter"),
}  # fmt: skip


def _share(knots: tuple[tuple[float, float], ...], day: float) -> float:
    days, shares = zip(*knots, strict=True)
    return float(np.interp(day, days, shares, period=365))


def reflectance(kind: Kind, day: float, *, delay: float = 0.0, vigour: float = 1.0) -> NDArray[np.float64]:
    """Reflectance (10,), 0..1, in the order of `BANDS`.

    Args:
        kind: what covers the ground.
        day: day of the year, 1..366.
        delay: days by which this stand lags behind the calendar.
        vigour: multiplies the share of green leaves.
    """
    calendar = CALENDARS.get(kind)
    if calendar is None:
        return np.asarray(SPECTRA[kind])
    green = min(1.0, vigour * _share(calendar.green, day - delay))
    dry = min(1.0 - green, _share(calendar.dry, day - delay))
    parts = ((green, calendar.leaves), (dry, "straw"), (1.0 - green - dry, calendar.background))
    mixed: NDArray[np.float64] = np.sum([share * np.asarray(SPECTRA[name]) for share, name in parts], axis=0)
    return mixed


def soil() -> NDArray[np.float64]:
    """Reflectance (10,) of bare soil, which shows in wheel tracks and thin spots."""
    return np.asarray(SPECTRA["soil"])


def green_share(kind: Kind, day: float, *, delay: float = 0.0, vigour: float = 1.0) -> float:
    """Share of green leaves, 0..1; 0 for what does not grow."""
    calendar = CALENDARS.get(kind)
    return 0.0 if calendar is None else min(1.0, vigour * _share(calendar.green, day - delay))
