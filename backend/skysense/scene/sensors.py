"""The three modalities: their bands, plausible pixel sizes and normalisation. Standard library only.

Band order and normalisation are those of the released SkySense weights (see docs/architecture.md, "The model"):
HR on 0..1 with ImageNet statistics; S2 as reflectance x 10,000; S1 as dB.
"""

from dataclasses import dataclass
from typing import Literal

Modality = Literal["hr", "s2", "s1"]


@dataclass(frozen=True)
class Sensor:
    """What the model expects of one modality.

    Attributes:
        title: the name shown to people.
        bands: band names in the model's order.
        gsd_m: smallest and largest pixel size (metres) that is accepted without a warning.
        mean, std: normalisation per band, in `units`.
        units: what the reader delivers: HR 0..1, S2 reflectance x 10,000, S1 dB.
    """

    title: str
    bands: tuple[str, ...]
    gsd_m: tuple[float, float]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    units: str


SENSORS: dict[Modality, Sensor] = {
    "hr": Sensor(
        "High resolution",
        ("R", "G", "B"),
        (0.01, 8.0),
        (0.485, 0.456, 0.406),
        (0.229, 0.224, 0.225),
        "0..1",
    ),
    "s2": Sensor(
        "Sentinel-2",
        ("B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B11", "B12"),
        (9.0, 61.0),
        (
            884.29673756,
            1144.16202635,
            1297.47289228,
            1624.90992062,
            2194.6423161,
            2422.21248945,
            2517.76053101,
            2581.64687018,
            2368.51236873,
            1805.06846033,
        ),
        (
            1155.15170768,
            1183.6292542,
            1368.11351514,
            1370.265037,
            1355.55390699,
            1416.51487101,
            1474.78900051,
            1439.3086061,
            1455.52084939,
            1343.48379601,
        ),
        "reflectance x 10000",
    ),
    "s1": Sensor(
        "Sentinel-1",
        ("VV", "VH"),
        (9.0, 45.0),
        (-12.54847273, -20.19237134),
        (5.25697717, 5.91150917),
        "dB",
    ),
}

#: Bands that a file may carry and that are recognised, in any modality; only `Sensor.bands` reach the encoders.
#: HR's NIR feeds the head beside the model's features.
EXTRA_BANDS: dict[Modality, tuple[str, ...]] = {"hr": ("NIR",), "s2": ("B1", "B9", "B10"), "s1": ()}
