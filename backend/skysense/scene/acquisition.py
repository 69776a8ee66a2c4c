"""What the user picked: acquisitions of three sensors, and labelled polygons. Standard library only."""

import dataclasses
import datetime
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from skysense.scene.sensors import Modality

#: What an image's numbers are: "dn" as the producer ships them (S2: reflectance x 10,000; HR: any number),
#: "reflectance" 0..1, "db" and "linear" S1 backscatter.
Units = Literal["dn", "reflectance", "db", "linear"]


@dataclass(frozen=True)
class BandRef:
    """One band of a raster file; `index` counts from 1."""

    path: Path
    index: int


@dataclass(frozen=True)
class Acquisition:
    """One image of one sensor on one day.

    Attributes:
        modality: "hr", "s2" or "s1".
        path: raster file, or the folder of a product with one file per band.
        date: day of acquisition (UTC); None = unknown.
        bands: by canonical name (see `sensors`), where each band lies. Empty = not known.
        units: see `Units`; None = not known.
        scale, offset: physical value = stored * scale + offset; for S2 the physical value is reflectance 0..1
            (baseline 04.00 and later: scale 1e-4, offset -0.1). None = none declared.
        nodata: stored value of empty pixels; may be NaN. None = as the file declares.
        mask: raster of invalid pixels (an SCL, or nonzero = invalid).
        orbit: "asc", "des", or as the user wrote it.
        level: processing level ("L1C", "L2A", ...).
        alpha: number of the alpha band in `path`; where it is 0 the image is invalid.
        extra: keys of the scene file that this version does not know.
        assumed: what nobody stated and no file says, but was assumed ("bands"); not written to scene files.
    """

    modality: Modality
    path: Path
    date: datetime.date | None
    bands: dict[str, BandRef]
    units: Units | None = None
    scale: float | None = None
    offset: float | None = None
    nodata: float | None = None
    mask: Path | None = None
    orbit: str | None = None
    level: str | None = None
    alpha: int | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    assumed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Labels:
    """A polygon layer whose `field` holds the class; `layer` is needed where the file has several.

    `date_field` holds the day on which a polygon is true; None: it is true on all dates.
    """

    path: Path
    field: str
    layer: str | None = None
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)
    date_field: str | None = None


@dataclass(frozen=True)
class Scene:
    """Acquisitions in the user's order, and labels if any; relative paths start from the folder `root`."""

    name: str
    acquisitions: tuple[Acquisition, ...]
    labels: Labels | None
    root: Path
    extra: dict[str, Any] = field(default_factory=dict)

    def modality(self, modality: Modality) -> tuple[Acquisition, ...]:
        """The acquisitions of one modality by date, those without a date first."""
        chosen = (item for item in self.acquisitions if item.modality == modality)
        return tuple(sorted(chosen, key=lambda item: (item.date is not None, item.date or datetime.date.min)))
