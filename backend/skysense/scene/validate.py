"""Whether a scene can be computed: one status per row, errors and warnings, and a line that sums it up."""

import importlib.util
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from skysense.errors import InputError
from skysense.scene.acquisition import Labels, Scene
from skysense.scene.describe import Description, Status, describe_acquisition
from skysense.scene.header import Bounds, to_wgs84
from skysense.scene.metadata import orbit_name
from skysense.scene.scenefile import row_name
from skysense.scene.sensors import SENSORS, Modality

#: The modality whose images say where the scene is, first that occurs.
_REFERENCE: tuple[Modality, ...] = ("hr", "s2", "s1")


@dataclass(frozen=True)
class RowStatus:
    """Status of one acquisition, and the sentence that says why ("" if there is nothing to say)."""

    status: Status
    reason: str


@dataclass(frozen=True)
class Validation:
    """What is right and wrong with a scene.

    Attributes:
        rows: one per acquisition, in the scene's order.
        errors: sentences; with any, the scene cannot be computed.
        warnings: sentences; the scene can be computed all the same.
        summary: e.g. "1 HR, 12 Sentinel-2 dates, 6 Sentinel-1 dates; 2.4 x 2.4 km".
    """

    rows: list[RowStatus] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    summary: str = ""


def check(scene: Scene, note: Callable[[str], None]) -> None:
    """Stop a job whose scene cannot be computed.

    Args:
        note: is told every warning of `validate`, where there is no error, of many images once.

    Raises:
        InputError: the first error of `validate`.
    """
    found = validate(scene, labels=False)
    _raise_first(found.errors)
    images: dict[str, list[str]] = {}
    for warning in found.warnings:
        name, colon, text = warning.rpartition(": ")
        images.setdefault(text, []).append(name + colon)
    for text, names in images.items():
        others = len(names) - 1
        beside = f" and {others} other{'s' * (others > 1)}: " if others else ": "
        note(names[0].removesuffix(": ") + beside + text if names[0] else text)


def validate(scene: Scene, *, labels: bool) -> Validation:
    """Examine a scene's files, places, dates and (if `labels`) label layer. Never raises for what is wrong.

    Reads headers, one small sample and two blocks of each file.
    """
    return _Validator(scene, labels).run()


class _Validator:
    def __init__(self, scene: Scene, labels: bool) -> None:
        self.scene, self.labels = scene, labels
        self.found = [describe_acquisition(item) for item in scene.acquisitions]
        self.rows = [RowStatus(found.status, found.reason) for found in self.found]
        self.errors: list[str] = []
        self.warnings: list[str] = []

    def run(self) -> Validation:
        if not self.rows:
            self.errors.append("The scene has no images. Add at least one.")
        for index, row in enumerate(self.rows):
            if row.status == "red":
                self.errors.append(f"{self._row(index)}: {row.reason.partition(': ')[2]}")
        if self.found and all(found.empty for found in self.found):
            self._fail(0, "has no valid pixel, and no other image has", "Add imagery that shows something")
        self._check_places()
        self._check_dates()
        self._check_orbits()
        if self.labels:
            self._check_labels()
        self.warnings += [row.reason for row in self.rows if row.status == "amber" and row.reason]
        return Validation(self.rows, self.errors, list(dict.fromkeys(self.warnings)), self._summary())

    def _check_places(self) -> None:
        """Every row must meet a row of the reference modality, or of its own if it is the reference."""
        reference = self._reference()
        for index, found in enumerate(self.found):
            others = [other for other in reference if other != index]
            if found.bounds_wgs84 is None or self.rows[index].status == "red" or not others:
                continue
            margin = _pixel_degrees(found)  # neighbouring tiles touch
            if not any(_overlap(found.bounds_wgs84, self._bounds(other), margin) for other in others):
                name = self.scene.acquisitions[others[0]].path.name
                self._fail(
                    index,
                    f"does not overlap {self._row(others[0])}",
                    f"Remove one of them, or check the CRS of {name}",
                )

    def _check_dates(self) -> None:
        for modality, sensor in SENSORS.items():
            rows = [index for index, item in enumerate(self.scene.acquisitions) if item.modality == modality]
            if modality == "hr" or len(rows) < 2:
                continue
            for index in rows:
                if self.scene.acquisitions[index].date is None and self.rows[index].status != "red":
                    why = f"{sensor.title} has {len(rows)} images and this one has no date"
                    self._fail(index, why, "Enter the acquisition date (YYYY-MM-DD)")
        seen: dict[tuple[str, str], int] = {}
        for index, item in enumerate(self.scene.acquisitions):
            first = seen.setdefault((item.modality, str(item.path)), index)
            if first != index:
                self._caution(index, f"is the same file as row {first + 1}, remove one of them")

    def _check_orbits(self) -> None:
        radar = {
            index: orbit_name(item.orbit)
            for index, item in enumerate(self.scene.acquisitions)
            if item.modality == "s1"
        }
        if {"asc", "des"} <= set(radar.values()):
            counts = [sum(value == name for value in radar.values()) for name in ("asc", "des")]
            for index, orbit in radar.items():
                if orbit is not None and orbit == ("des" if counts[0] >= counts[1] else "asc"):
                    way = "descending" if orbit == "des" else "ascending"
                    self._caution(
                        index,
                        f"is of a {way} orbit while most Sentinel-1 images are not, better use one orbit",
                    )
            self.warnings.append(
                f"Sentinel-1 has {counts[0]} ascending and {counts[1]} descending images. Better use one."
            )

    def _check_labels(self) -> None:
        labels = self.scene.labels
        if labels is None:
            self.errors.append("The scene has no labels. Choose a polygon layer and its class field.")
            return
        if importlib.util.find_spec("pyogrio") is None and labels.path.exists():
            return  # only the base environment is installed; training reads the labels anyway
        try:
            bounds = _label_bounds(labels)
        except InputError as error:
            self.errors.append(error.sentence)
            return
        images = [found.bounds_wgs84 for found in self.found if found.bounds_wgs84 is not None]
        if images and not (bounds and any(_overlap(bounds, image, 0.0) for image in images)):
            self.errors.append(
                InputError(
                    "its features do not overlap the images",
                    f"labels {labels.path.name}",
                    "Check the layer and its CRS",
                ).sentence
            )

    def _summary(self) -> str:
        parts = []
        for modality, title in (("hr", "HR"), ("s2", "Sentinel-2"), ("s1", "Sentinel-1")):
            items = [item for item in self.scene.acquisitions if item.modality == modality]
            dates = {item.date for item in items if item.date}
            if items and (modality == "hr" or not dates):
                parts.append(
                    f"{len(items)} {title}" + ("" if modality == "hr" else _plural(len(items), " image"))
                )
            elif items:
                parts.append(f"{len(dates)} {title}{_plural(len(dates), ' date')}")
        text = ", ".join(parts) or "no images"
        places = [bounds for index in self._reference() if (bounds := self.found[index].bounds_wgs84)]
        size = _size_km(places)
        return f"{text}; {size}" if size else text

    def _reference(self) -> list[int]:
        """Rows of the reference modality whose place is known."""
        for modality in _REFERENCE:
            rows = [
                index
                for index, item in enumerate(self.scene.acquisitions)
                if item.modality == modality
                and self.found[index].ok
                and self.found[index].bounds_wgs84 is not None
            ]
            if rows:
                return rows
        return []

    def _bounds(self, index: int) -> Bounds:
        bounds = self.found[index].bounds_wgs84
        assert bounds is not None
        return bounds

    def _row(self, index: int) -> str:
        return row_name(index + 1, self.scene.acquisitions[index].path)

    def _fail(self, index: int, what: str, fix: str) -> None:
        self.errors.append(InputError(what, self._row(index), fix).sentence)
        if self.rows[index].status != "red":
            name = self.scene.acquisitions[index].path.name
            self.rows[index] = RowStatus("red", f"{name}: {what}; {fix[:1].lower()}{fix[1:]}.")

    def _caution(self, index: int, what: str) -> None:
        row = self.rows[index]
        if row.status == "red":
            return
        name = self.scene.acquisitions[index].path.name
        before = row.reason.rstrip(".") + "; " if row.reason else f"{name}: "
        self.rows[index] = RowStatus("amber", f"{before}{what}.")


def _label_bounds(labels: Labels) -> Bounds | None:
    """Bounds of the label layer in degrees, None where it has no place.

    Raises:
        InputError: no such file, layer or field, no features, or no CRS.
    """
    where = f"labels {labels.path.name}"
    if not labels.path.exists():
        raise InputError(f"there is no such file: {labels.path}", where, "Correct the path")
    import pyogrio

    try:
        # Tables without geometry, such as the styles that QGIS puts beside a layer, are no choice.
        layers = [str(name) for name, kind in pyogrio.list_layers(labels.path) if kind is not None]
        if labels.layer is not None and labels.layer not in layers:
            raise InputError(f"has no layer {labels.layer!r}", where, f"Choose one of {', '.join(layers)}")
        if labels.layer is None and len(layers) > 1:
            raise InputError(f"has {len(layers)} layers", where, f"Choose one of {', '.join(layers)}")
        info = pyogrio.read_info(
            labels.path,
            layer=labels.layer or next(iter(layers), None),
            force_feature_count=True,
            force_total_bounds=True,
        )
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError):
        raise InputError(
            "cannot be read as a vector layer", where, "Choose a GeoPackage, Shapefile or GeoJSON"
        ) from None
    fields = [str(name) for name in info["fields"]]
    if labels.field not in fields:
        raise InputError(
            f"has no field {labels.field!r} (its fields: {', '.join(fields) or 'none'})",
            where,
            "Choose the field that holds the class",
        )
    if not info["features"]:
        raise InputError("has no features", where, "Draw a few polygons for each class")
    if not info["crs"]:
        raise InputError("has no coordinate system (CRS)", where, "Assign one in Layer Properties")
    west, south, east, north = (float(value) for value in info["total_bounds"])
    return to_wgs84(str(info["crs"]), (west, south, east, north))


def _raise_first(errors: Sequence[str]) -> None:
    if errors:
        where, colon, what = errors[0].partition(": ")
        raise InputError(what if colon else where, where if colon else None)


def _overlap(first: Bounds, second: Bounds, margin: float) -> bool:
    return any(
        a[0] - margin < b[2] and b[0] < a[2] + margin and a[1] - margin < b[3] and b[1] < a[3] + margin
        for a in _parts(first)
        for b in _parts(second)
    )


def _parts(bounds: Bounds) -> Iterator[Bounds]:
    """Bounds that cross the 180 degree meridian, as two."""
    west, south, east, north = bounds
    if west <= east:
        yield bounds
    else:
        yield west, south, 180.0, north
        yield -180.0, south, east, north


def _pixel_degrees(found: Description) -> float:
    return (found.gsd_m or 0.0) / 111_000


def _size_km(places: list[Bounds]) -> str:
    if not places:
        return ""
    west, south, north = min(b[0] for b in places), min(b[1] for b in places), max(b[3] for b in places)
    # Across the 180 degree meridian, east counts on past 180.
    east = max(b[2] + (360 if b[2] < b[0] else 0) for b in places)
    degree_km = 111.32
    width = (east - west) * degree_km * math.cos(math.radians((south + north) / 2))
    height = (north - south) * degree_km
    if max(width, height) < 1:
        return f"{width * 1000:.0f} x {height * 1000:.0f} m"
    return f"{width:.1f} x {height:.1f} km"


def _plural(count: int, word: str) -> str:
    return word if count == 1 else word + "s"
