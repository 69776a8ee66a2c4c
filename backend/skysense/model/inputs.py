"""What goes into the model and what comes out of it.

Shapes: B tiles, T dates, h w pixel rows and columns at 10 m, H W those of HR, D channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from skysense.scene.sensors import SENSORS, Modality


@dataclass
class Series:
    """Acquisitions of one Sentinel: x (B, T, C, h, w), valid (B, T, h, w) or None, day (B, T) or None."""

    x: Tensor
    valid: Tensor | None
    day: Tensor | None


@dataclass
class Inputs:
    """A batch of tiles; every modality may be None. What lies under an invalid pixel never matters.

    Attributes:
        hr: (B, 3, H, W) normalised (`normalize`); an encoder may take other bands (`ModelConfig.bands`), S2's too.
        hr_valid: (B, H, W) bool; None means all valid, for the others too.
        hr_day: (B,) int64, 0-based day of the year, -1 unknown; None means unknown, for the others too.
        s2, s2_valid, s2_day: (B, T, 10, h, w), (B, T, h, w), (B, T).
        s1, s1_valid, s1_day: the same with 2 bands.
        region: int64 (B,) region ids or float (B, 2) lon, lat; used by geo-context only.
        hr_per_base: HR pixels per 10 m pixel side, a power of two; H = h * hr_per_base. None: HR is not
            fused.
    """

    hr: Tensor | None = None
    hr_valid: Tensor | None = None
    hr_day: Tensor | None = None
    s2: Tensor | None = None
    s2_valid: Tensor | None = None
    s2_day: Tensor | None = None
    s1: Tensor | None = None
    s1_valid: Tensor | None = None
    s1_day: Tensor | None = None
    region: Tensor | None = None
    hr_per_base: int | None = None

    def series(self, modality: Modality) -> Series | None:
        """The S2 or S1 part; None where there is none."""
        if modality == "s2" and self.s2 is not None:
            return Series(self.s2, self.s2_valid, self.s2_day)
        if modality == "s1" and self.s1 is not None:
            return Series(self.s1, self.s1_valid, self.s1_day)
        return None


@dataclass
class Features:
    """What the model makes of `Inputs`.

    Attributes:
        fused: (B, D, hf, wf) at 10 m, hf = h - 2 crop; zeros where `fused_valid` is False. None for HR alone.
        fused_valid: (B, hf, wf) bool, False where no token was valid.
        hr: Swin maps at strides 4, 8, 16, 32, each (B, C, H/s, W/s).
        s2, s1: maps (B, T, D, h, w) after UPHead, where asked for.
    """

    fused: Tensor | None = None
    fused_valid: Tensor | None = None
    hr: tuple[Tensor, ...] | None = None
    s2: Tensor | None = None
    s1: Tensor | None = None


def normalize(x: Tensor, modality: Modality, bands: Sequence[str] | None = None) -> Tensor:
    """(..., C, H, W) in `Sensor.units` -> normalised as the released weights expect (specification 4.1).

    Args:
        bands: see `channel_statistics`.
    """
    mean, std = channel_statistics(modality, x, bands)
    return (x - mean[:, None, None]) / std[:, None, None]


def channel_statistics(
    modality: Modality, like: Tensor, bands: Sequence[str] | None = None
) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation per band, (C,) each, on the device and in the dtype of `like`.

    Args:
        bands: C names; None: the sensor's. NIR, whose weights begin as red's, has red's.
    """
    sensor = SENSORS[modality]
    columns = [sensor.bands.index("R" if band == "NIR" else band) for band in bands or sensor.bands]
    mean, std = ([values[column] for column in columns] for values in (sensor.mean, sensor.std))
    return (
        torch.tensor(mean, dtype=like.dtype, device=like.device),
        torch.tensor(std, dtype=like.dtype, device=like.device),
    )
