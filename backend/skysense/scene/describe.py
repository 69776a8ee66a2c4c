"""What a file or folder is: sensor, bands, date, units, grid, and whether it can be used.

Every part of the program asks here. Reads headers, one small sample and two blocks, never a whole file; what
is wrong is told in `reason`.
"""

import datetime
import functools
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from skysense.errors import InputError
from skysense.scene.acquisition import Acquisition, Units
from skysense.scene.archives import archive_of, gdal_name
from skysense.scene.bands import BAND_ORDER
from skysense.scene.dates import acquisition_date, metadata_files
from skysense.scene.header import (
    Bounds,
    RasterHeader,
    no_such_file,
    pixel_sides_m,
    probe,
    read_header,
    wgs84_bounds,
)
from skysense.scene.products import Product, ProductFolder, product_folder, product_of, rasters_in
from skysense.scene.recognition import Recognition, assign_bands, check_single, decide_modality, no_bands
from skysense.scene.remote import exists, stamp
from skysense.scene.sensors import SENSORS, Modality
from skysense.scene.structure import check_structure
from skysense.scene.values import Values, examine_values

Status = Literal["green", "amber", "red"]

#: Pixels so many times larger than a sensor's largest are refused: computed at 10 m, every one would be hundreds.
_FAR_TOO_COARSE = 4.0
_S2_INFRARED = {"B8", "B8A", "B11", "B12"}


@dataclass(frozen=True)
class Description:
    """What is known of a file or folder.

    Attributes:
        path: as given.
        status: "green" usable, "amber" usable with a caution, "red" not usable as it is; `ok` = not red.
        reason: one sentence that names the file and says what to do; "" where there is nothing to say.
        modality: None where it cannot be told.
        date, date_source: day of acquisition, and where it was found.
        bands: canonical name -> band number, or file (relative to the folder `path`), as in a scene file.
        assumed: what was assumed and not read from the file ("bands").
        band_count: bands in the file, or band files in the folder.
        crs: "EPSG:n" or WKT.
        gsd_m: ground size of a pixel in metres; of a folder, of its finest band.
        bounds_wgs84: (west, south, east, north); west > east across the 180 degree meridian.
        units, scale, offset, nodata, alpha, mask, level, orbit: as in `Acquisition`.
        platform: "Sentinel-2A", ...
        empty: no pixel is valid.
    """

    path: Path
    status: Status = "green"
    reason: str = ""
    modality: Modality | None = None
    date: datetime.date | None = None
    date_source: str = ""
    bands: dict[str, int | str] = field(default_factory=dict)
    assumed: tuple[str, ...] = ()
    band_count: int = 0
    crs: str | None = None
    gsd_m: float | None = None
    width: int | None = None
    height: int | None = None
    bounds_wgs84: Bounds | None = None
    units: Units | None = None
    scale: float | None = None
    offset: float | None = None
    nodata: float | None = None
    alpha: int | None = None
    mask: str | None = None
    level: str | None = None
    orbit: str | None = None
    platform: str | None = None
    empty: bool = False

    @property
    def ok(self) -> bool:
        """Whether it can be used as it is."""
        return self.status != "red"

    def to_json(self) -> dict[str, Any]:
        """The description for the worker protocol; a nodata of NaN is written "nan"."""
        nodata = self.nodata
        return {
            **vars(self),
            "path": gdal_name(self.path) if archive_of(self.path) else str(self.path),
            "ok": self.ok,
            "bands": dict(self.bands),
            "date": self.date.isoformat() if self.date else None,
            "assumed": list(self.assumed),
            "bounds_wgs84": list(self.bounds_wgs84) if self.bounds_wgs84 else None,
            "nodata": nodata if nodata is None or math.isfinite(nodata) else str(nodata),
        }


def describe(path: Path, modality: Modality | None = None) -> Description:
    """Describe a raster file or a product's folder. Never raises for a bad file: that is status "red".

    Args:
        path: what the user picked.
        modality: the sensor, where the user says so; None = find out.
    """
    path = Path(path)
    try:
        changed, size = stamp(path)
    except OSError:
        return _red(Description(path, modality=modality), no_such_file(path))
    return _describe(path, modality, changed, size, _stamps_within(path))


def _stamps_within(path: Path) -> tuple[str, ...]:
    """When the files that a folder's description is made from were changed, which its own stamp does not tell."""
    if not path.is_dir():
        return ()
    folder = product_folder(path)
    if folder is not None:
        files = [*folder.files.values(), *([folder.mask] if folder.mask else [])]
    else:
        images = rasters_in(path)
        files = images if len(images) == 1 else []
    found = []
    for file in sorted({*files, *metadata_files(path)}):
        try:
            found.append(f"{file} {stamp(file)}")
        except OSError:
            found.append(f"{file} is gone")
    return tuple(found)


def describe_acquisition(item: Acquisition) -> Description:
    """Describe an acquisition as it stands in a scene: what the scene states is taken as given.

    Looks for damage in every file of the acquisition; once, as long as neither they nor what is stated change.
    """
    if not exists(item.path):
        problem = InputError("there is no such file", fix="Correct the path or remove the row")
        return _red(Description(item.path, modality=item.modality), problem)
    key = [repr(item)]
    for path in sorted({item.path, item.mask or item.path, *(band.path for band in item.bands.values())}):
        try:
            key.append(f"{path} {stamp(path)}")
        except OSError:
            key.append(f"{path} is gone")
    return _examine_stated(_Keyed("|".join(key), item))


@dataclass(frozen=True)
class _Keyed:
    """An acquisition, equal to another where the key is."""

    key: str
    item: Acquisition = field(compare=False)


@functools.lru_cache(maxsize=4096)
def _examine_stated(stated: _Keyed) -> Description:
    return _examine(stated.item.path, stated.item.modality, stated.item)


@functools.lru_cache(maxsize=4096)
def _describe(
    path: Path, modality: Modality | None, changed: int | str, size: int, within: tuple[str, ...]
) -> Description:
    return _examine(path, modality, None)


def _examine(path: Path, modality: Modality | None, stated: Acquisition | None) -> Description:
    found = Description(path, modality=modality)
    folder = None
    try:
        if path.is_dir():
            folder = product_folder(path)
            files = {band.path for band in stated.bands.values()} if stated else set()
            files = files or set(folder.files.values() if folder else ())
            if not files:
                return _describe_folder(path, modality)
            # Of several bands equally fine the first by name, so that the answer is always the same.
            header = min(
                (read_header(file) for file in sorted(files)), key=lambda band: abs(band.transform[0])
            )
        elif path.suffix.lower() in (".xml", ".safe", ".json"):
            raise InputError(
                "is a metadata file, not an image", fix="Choose its product's folder, or the image"
            )
        elif path.suffix.lower() in (".zip", ".tar", ".gz", ".tgz", ".7z"):
            raise InputError("is an archive", fix="Unpack it and choose the folder or image inside")
        else:
            header = read_header(path)
    except InputError as error:
        return _red(found, error)
    return _Examiner(found, header, product_of(path), folder, stated).run()


def _describe_folder(path: Path, modality: Modality | None) -> Description:
    """A folder that is no product: its only image if it has just one."""
    rasters = rasters_in(path)
    if len(rasters) == 1:
        found = describe(rasters[0], modality)
        return replace(
            found,
            path=path,
            bands={name: f"{rasters[0].name}:{number}" for name, number in found.bands.items()},
        )
    if (path / "scene.json").is_file():
        problem = InputError("is the folder of a scene", fix="Open its scene.json instead")
    elif rasters:
        problem = InputError(
            f"holds {len(rasters)} images that are not the bands of one product",
            fix="Add the image files themselves",
        )
    else:
        problem = InputError(
            "holds no image that can be read", fix="Choose the image file or the product's folder"
        )
    return _red(Description(path, modality=modality), problem)


class _Examiner:
    """Fills one description step by step; collects cautions, stops at the first thing that prevents use."""

    def __init__(
        self,
        found: Description,
        header: RasterHeader,
        product: Product,
        folder: ProductFolder | None,
        stated: Acquisition | None,
    ) -> None:
        self.found, self.header, self.product, self.folder, self.stated = (
            found,
            header,
            product,
            folder,
            stated,
        )
        self.modality = folder.modality if folder and found.modality is None else found.modality
        self.in_folder = found.path != header.path
        self.cautions: list[str] = []

    def run(self) -> Description:
        sides = pixel_sides_m(self.header)
        try:
            self._set_facts(sides)
            check_structure(self.header, self.product, self.folder, bands_stated=self._stated_bands)
            if sides is None or self.found.bounds_wgs84 is None:
                raise InputError(
                    "has edges without a place on the Earth",
                    fix="Assign the right CRS, or warp it to one that covers it (Raster > Projections > Warp)",
                )
            recognition = self._set_sensor(sides)
            for header in self._headers():
                probe(header)
            self._set_values(recognition)
            self._check_sensor(sides)
        except InputError as error:
            return _red(self.found, error)
        if not self.cautions:
            return self.found
        return replace(
            self.found, status="amber", reason=f"{self.found.path.name}: {'; '.join(self.cautions)}."
        )

    def _set_facts(self, sides: tuple[float, float] | None) -> None:
        header = self.header
        date, source = acquisition_date(self.found.path, header.tags)
        if self.stated is not None:
            date, source = self.stated.date, "scene"
        self.found = replace(
            self.found,
            modality=self.modality or self.product.modality,
            date=date,
            date_source=source,
            band_count=len(self.folder.files) if self.folder else header.count,
            crs=f"EPSG:{header.epsg}" if header.epsg else header.crs,
            gsd_m=round(math.sqrt(sides[0] * sides[1]), 6) if sides else None,
            width=header.width,
            height=header.height,
            bounds_wgs84=wgs84_bounds(header),
            nodata=header.nodata,
            alpha=next((n for n, kind in enumerate(header.colours, start=1) if kind == "alpha"), None),
            level=self.product.level,
            orbit=self.product.orbit or _tagged_orbit(header.tags),
            platform=self.product.platform,
        )

    @property
    def _stated_bands(self) -> bool:
        return self.stated is not None and bool(self.stated.bands) and "bands" not in self.stated.assumed

    def _headers(self) -> list[RasterHeader]:
        """Of the files to be probed: for a quick description one, for a scene's row all that it uses."""
        if self.stated is None or not self.stated.bands:
            return [self.header]
        return [read_header(file) for file in sorted({band.path for band in self.stated.bands.values()})]

    def _set_sensor(self, sides: tuple[float, float] | None) -> Recognition:
        assert sides is not None
        if not self._stated_bands:
            check_single(self.header)
        modality = self.modality or decide_modality(self.header, self.product, sides)
        self.found = replace(self.found, modality=modality)
        bands: dict[str, int | str]
        if self._stated_bands:
            assert self.stated is not None
            _check_numbers(self.stated)
            recognition = Recognition({name: band.index for name, band in self.stated.bands.items()})
            bands = dict(recognition.bands)
        elif self.folder is not None:
            files, mask = self.folder.files, self.folder.mask
            recognition = Recognition(dict.fromkeys(files, 1))
            bands = {name: self._relative(files[name]) for name in BAND_ORDER[modality] if name in files}
            self.found = replace(self.found, mask=self._relative(mask) if mask else None)
        else:
            recognition = assign_bands(self.header, modality, self.found.path.name)
            bands = dict(recognition.bands)
        alpha = self.stated.alpha if self.stated else None
        declared = (
            self.found.alpha if self.found.alpha not in bands.values() else None
        )  # a band's name says more
        self.found = replace(
            self.found,
            bands=bands,
            assumed=("bands",) if recognition.caution else (),
            alpha=alpha or declared or recognition.alpha,
        )
        if not set(bands) & set(BAND_ORDER[modality]):
            raise no_bands(self.header, modality)
        if recognition.caution:
            self.cautions.append(recognition.caution)
        return recognition

    def _relative(self, file: Path) -> str:
        return file.relative_to(self.found.path).as_posix()

    def _set_values(self, recognition: Recognition) -> None:
        """Units, scale and offset, and cautions that only the values show."""
        assert self.found.modality is not None
        values: Values = examine_values(
            self.header, self.found.modality, recognition.bands, self.product, self.stated, self.in_folder
        )
        self.found = replace(
            self.found, units=values.units, scale=values.scale, offset=values.offset, empty=values.empty
        )
        self.cautions += values.cautions

    def _check_sensor(self, sides: tuple[float, float] | None) -> None:
        """Cautions on pixel size, missing bands, level and date.

        Raises:
            InputError: the pixels are far too coarse.
        """
        found, modality = self.found, self.found.modality
        assert modality is not None and sides is not None and found.gsd_m is not None
        sensor = SENSORS[modality]
        low, high = sensor.gsd_m
        usual = f"{sensor.title} ({low:g} to {high:g} m)"
        names = [name for name in sensor.bands if name not in found.bands]
        # Without any band beyond the red edge it may be another satellite's, whose bands are called the same.
        tells = names and (
            modality != "s2" or 2 * len(names) >= len(sensor.bands) or set(names) >= _S2_INFRARED
        )
        missing = f"{_listed(names)} missing" if tells else ""
        if found.gsd_m > _FAR_TOO_COARSE * high:
            raise InputError(
                f"has pixels of {_metres(found.gsd_m)}, too coarse for {usual}"
                + f", and {missing}" * bool(missing),
                fix="Use the product at its full resolution",
            )
        if found.gsd_m > high or max(sides) < low * 0.9:
            self.cautions.append(f"pixels of {_metres(found.gsd_m)} are unusual for {usual}, check it")
        if missing:
            self.cautions.append(f"{missing}, add a product that has all bands if you can")
        if found.level == "L1C":
            self.cautions.append("Level-1C (top of atmosphere), prefer Level-2A")
        if modality != "hr" and found.date is None:
            self.cautions.append("no acquisition date in its name or metadata, enter it")


def _red(found: Description, error: InputError) -> Description:
    name = found.path.name or str(found.path)
    part = f"{error.where} " if error.where and error.where != name else ""  # a band's file in a folder
    fix = f"; {error.fix[:1].lower()}{error.fix[1:]}" if error.fix else ""
    return replace(found, status="red", reason=f"{name}: {part}{error.what}{fix}.")


def _check_numbers(item: Acquisition) -> None:
    for name, band in item.bands.items():
        count = read_header(band.path).count
        if band.index > count:
            bands = "1 band" if count == 1 else f"{count} bands"
            raise InputError(
                f"band {name} is given as number {band.index}, but {band.path.name} has {bands}",
                fix="Correct the band number",
            )
    if item.mask is not None:
        if not exists(item.mask):
            raise InputError(f"there is no such mask: {item.mask}", fix="Correct the path or remove the mask")
        read_header(item.mask)


def _tagged_orbit(tags: dict[str, str]) -> str | None:
    text = next((value for key, value in tags.items() if key.upper() in ("ORBIT_DIRECTION", "PASS")), "")
    return {"A": "asc", "D": "des"}.get(text[:1].upper())


def _listed(names: list[str]) -> str:
    return ", ".join(names)


def _metres(size: float) -> str:
    return f"{size:.3g} m" if size < 1000 else f"{size / 1000:.3g} km"
