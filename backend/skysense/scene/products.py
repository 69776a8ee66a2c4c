"""What product names and folders tell: sensor, platform, level, orbit, and which file holds which band."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from skysense.scene.bands import is_landsat_band, polarisation, s2_code
from skysense.scene.dates import RASTER_SUFFIXES, metadata_of
from skysense.scene.metadata import FOLDER_FILES, orbit_name
from skysense.scene.sensors import Modality

_NOT_WORD = r"(?<![A-Za-z0-9])"
_S2 = re.compile(rf"{_NOT_WORD}(?:S2([A-D])?(?:[12][AC])?|SENTINEL-?2([A-D])?)(?![0-9A-Za-z])", re.IGNORECASE)
_S1 = re.compile(rf"{_NOT_WORD}(?:S1([A-D])?|SENTINEL-?1([A-D])?)(?![0-9A-Za-z])", re.IGNORECASE)
_S2_BAND_FILE = re.compile(rf"{_NOT_WORD}T[0-9]{{2}}[A-Z]{{3}}_[0-9]{{8}}T[0-9]{{6}}|HLS\.S30\.")
_LEVEL = re.compile(r"MSI_?(L[12][ABC])|(?<![A-Za-z])(L1C|L2A)(?![A-Za-z])|S2[A-D]([12][AC])_", re.IGNORECASE)
_BASELINE = re.compile(r"_N([0-9]{2})([0-9]{2})_R[0-9]{3}")
_S1_LEVEL = re.compile(r"S1[A-D][_-][A-Z0-9]{2}[_-](GRD|SLC|RAW|OCN)", re.IGNORECASE)
_LANDSAT = re.compile(
    # The second is how Earth Engine's exports are called.
    rf"{_NOT_WORD}(?:L[COTEM]0[1-9]_L|L[COTEM]0[1-9]_[0-9]{{6}}_[0-9]{{8}}(?![0-9])"
    r"|L[COTEM][1-9][0-9]{13}[A-Z]{3}[0-9]{2}|HLS\.L30\.)"
)
_ORBIT = re.compile(r"_(ASC|DSC|DES|DESC)(?:ENDING|CENDING)?(?![A-Z])", re.IGNORECASE)

#: Layers that come with the images and are no image: name part -> what it is.
_SIDE_LAYERS = {
    "SCL": "a scene classification: use it as the mask of its image",
    "QA60": "a cloud mask: use it as the mask of its image",
    "CLDPRB": "a cloud probability: it is not reflectance, remove it",
    "CLD": "a cloud mask: use it as the mask of its image",
    "SNWPRB": "a snow probability: it is not reflectance, remove it",
    "FMASK": "a cloud mask: use it as the mask of its image",
    "NDVI": "a vegetation index: it is not reflectance, use the product it was made from",
    "EVI": "a vegetation index: it is not reflectance, use the product it was made from",
    "NDWI": "a water index: it is not reflectance, use the product it was made from",
    "ATB": "aerosol thickness and water vapour: it is not reflectance, remove it",
    "AOT": "aerosol thickness: it is not reflectance, remove it",
    "WVP": "water vapour: it is not reflectance, remove it",
    "TCI": "an 8-bit picture for viewing: it is not reflectance, use the product's band files",
    "DEM": "an elevation model: it is not an image, remove it",
    "DSM": "an elevation model: it is not an image, remove it",
}
#: Share of digital numbers below 900 above which the 1000 of baseline 04.00 has been taken off already.
_DARK = 0.01
_PICTURE = re.compile(r"RGB[0-9]{3}B?", re.IGNORECASE)

#: sen2r's stacks: with 10 m pixels they hold B8, with coarser ones B8A.
_SEN2R = re.compile(r"S2[A-D](?:1C|2A)_[0-9]{8}_[0-9]{3}_.*_(BOA|TOA)_(10|20|60)(?![0-9])")


@dataclass(frozen=True)
class Product:
    """What names and metadata files tell of an image; None = nothing.

    Attributes:
        modality: the sensor.
        platform: "Sentinel-2A", ...
        level: "L1C", "L2A", "GRD", ...
        orbit: "asc" or "des".
        dn_offset: what must be added to Sentinel-2 digital numbers if they are still as delivered (-1000 from
            processing baseline 04.00 on).
        offset_stated: the product's own metadata state `dn_offset`; else its name only lets one expect it.
        side_layer: what the file is, if it is a by-product and no image.
        foreign: name of a sensor that is none of the three.
    """

    modality: Modality | None = None
    platform: str | None = None
    level: str | None = None
    orbit: str | None = None
    dn_offset: float | None = None
    side_layer: str | None = None
    foreign: str | None = None
    offset_stated: bool = False

    def offset_left(self, dark: float) -> float | None:
        """What must be added to the digital numbers of a file of this product; None where nothing tells.

        A file that merely bears the product's name may have been harmonised since: its numbers decide.

        Args:
            dark: share of its numbers below 900, which are hardly any as long as the 1000 is in them.
        """
        if self.dn_offset is None or self.offset_stated or dark < _DARK:
            return self.dn_offset
        return 0.0


@dataclass(frozen=True)
class ProductFolder:
    """A folder with one file per band.

    Attributes:
        modality: the sensor.
        files: band name -> file, the finest where a band exists at several pixel sizes.
        mask: the scene classification, if there is one.
        raw: Sentinel-1 as delivered, neither calibrated nor geocoded.
        granules: names of the granules (tiles of an old SAFE) that the files lie in.
    """

    modality: Modality
    files: dict[str, Path]
    mask: Path | None = None
    raw: bool = False
    granules: tuple[str, ...] = ()


def product_of(path: Path) -> Product:
    """What the names and metadata files of an image (file or folder) tell."""
    own, names = path.name, _names(path)
    text = "/".join(names)
    s2, s1 = _S2.search(text), _S1.search(text)
    # The file's own name decides before its folders' names do.
    if _S1.search(own) or (s1 and not _S2.search(own)):
        s2 = None
    modality: Modality | None = None
    platform = None
    if s2 or _S2_BAND_FILE.search(own):
        modality = "s2"
        platform = f"Sentinel-2{(s2[1] or s2[2] or '').upper()}" if s2 else "Sentinel-2"
    elif s1:
        modality = "s1"
        platform = f"Sentinel-1{(s1[1] or s1[2] or '').upper()}"
    level, orbit = _level(names, modality), None
    offset = _offset_by_name(names) if modality == "s2" else None
    stated = False
    if ascending := _ORBIT.search(own):
        orbit = orbit_name(ascending[1])
    if modality is not None:
        for file, metadata in metadata_of(path):
            level = level or metadata.level
            orbit = orbit or (metadata.orbit if modality == "s1" else None)
            if modality == "s2" and metadata.offset is not None and not stated:
                offset, stated = metadata.offset, _is_its_own(path, file)
    return Product(
        modality=modality,
        platform=platform,
        level=level,
        orbit=orbit if modality == "s1" else None,
        dn_offset=offset,
        side_layer=_side_layer(own) if not path.is_dir() else None,
        foreign="Landsat" if _LANDSAT.search(text) else None,
        offset_stated=stated,
    )


def product_folder(folder: Path) -> ProductFolder | None:
    """The one-file-per-band product that a folder holds; None if it is none."""
    measurement = folder / "measurement"
    if measurement.is_dir():
        files = _by_name(_rasters(measurement), polarisation)
        return ProductFolder("s1", files, raw=True) if files else None
    deep = [
        file
        for pattern in ("GRANULE/*/IMG_DATA/*", "GRANULE/*/IMG_DATA/*/*", "IMG_DATA/*", "IMG_DATA/*/*")
        for file in folder.glob(pattern)
    ]
    rasters = sorted((file for file in deep if _is_raster(file)), key=_named_resolution) or _rasters(folder)
    mask = next((file for file in rasters if "SCL" in _words(file.stem)), None)
    rasters = _of_one_correction([file for file in rasters if _side_layer(file.name) is None])
    if not rasters or _LANDSAT.search(folder.name) or any(_is_landsat(file) for file in rasters):
        return None
    if not deep and len({_product_key(file.stem) for file in rasters}) > 1:
        return None  # several products in one folder
    bands = _by_name(rasters, s2_code)
    if len(bands) > 1 or (deep and bands):
        return ProductFolder("s2", bands, mask, granules=_granules(folder, rasters))
    polarisations = {
        key: file for key, file in _by_name(rasters, polarisation).items() if key in ("VV", "VH")
    }
    if polarisations and len(rasters) > 1:
        return ProductFolder("s1", polarisations)
    return None


def rasters_in(folder: Path) -> list[Path]:
    """The raster files directly in a folder, by name."""
    return _rasters(folder)


def sen2r_bands(name: str) -> tuple[str, ...] | None:
    """The band order of a stack written by sen2r, by its file name."""
    match = _SEN2R.search(name)
    if not match:
        return None
    near_infrared = "B8" if match[2] == "10" else "B8A"
    cirrus = ("B10",) if match[1] == "TOA" else ()
    return ("B1", "B2", "B3", "B4", "B5", "B6", "B7", near_infrared, "B9", *cirrus, "B11", "B12")


def _product_key(stem: str) -> str:
    """A file's name without what tells one band of a product from another."""
    words = re.split(r"[_.\- ]", stem)
    return "_".join(
        word for word in words if not (s2_code(word) or polarisation(word) or re.fullmatch(r"[126]0m", word))
    )


def _is_its_own(path: Path, metadata: Path) -> bool:
    """Whether metadata state how an image is stored: made from a product, it may lie beside that one's metadata."""
    return metadata.name not in FOLDER_FILES or path.is_dir() or _S2_BAND_FILE.match(path.name) is not None


def _is_landsat(file: Path) -> bool:
    return _LANDSAT.search(file.name) is not None or is_landsat_band(file.stem)


def _of_one_correction(files: list[Path]) -> list[Path]:
    """Without Theia's surface reflectance (SRE) where the same corrected for slopes (FRE) lies beside it."""
    if not any("FRE" in _words(file.stem) for file in files):
        return files
    return [file for file in files if "SRE" not in _words(file.stem)]


def _granules(folder: Path, files: Iterable[Path]) -> tuple[str, ...]:
    parts = [file.relative_to(folder).parts for file in files]
    return tuple(sorted({part[1] for part in parts if part[0] == "GRANULE"}))


def _names(path: Path) -> list[str]:
    """The file's name, then its folders' names as far up as a product folder may be."""
    folders = [folder.name for folder in list(path.parents)[:5]]
    return [
        path.name,
        *(name for name in folders if re.search(r"_MSIL[12]|\.SAFE$|S1[A-D]_(IW|EW)", name, re.IGNORECASE)),
    ]


def _level(names: Iterable[str], modality: Modality | None) -> str | None:
    pattern = {"s2": _LEVEL, "s1": _S1_LEVEL}.get(modality or "")
    match = next((found for name in names if (found := pattern.search(name))), None) if pattern else None
    if match is None:
        return None
    level = next(group for group in match.groups() if group).upper()
    return level if level[0] == "L" or modality == "s1" else f"L{level}"


def _offset_by_name(names: Iterable[str]) -> float | None:
    """By the processing baseline in a product's name; N99.. marks products of unknown processing."""
    match = next((found for name in names if (found := _BASELINE.search(name))), None)
    return -1000.0 if match and 4 <= int(match[1]) < 99 else None


def _side_layer(name: str) -> str | None:
    words = _words(name)
    for word in words:
        if word in _SIDE_LAYERS:
            return _SIDE_LAYERS[word]
        if word == "MSK" or _PICTURE.fullmatch(word):
            return _SIDE_LAYERS["CLD" if word == "MSK" else "TCI"]
    return None


def _words(name: str) -> list[str]:
    return [word.upper() for word in re.split(r"[^A-Za-z0-9]+", name)]


def _by_name(files: Iterable[Path], band: Callable[[str], str | None]) -> dict[str, Path]:
    """The first file of each band, by what `band` makes of the file's name."""
    found: dict[str, Path] = {}
    for file in files:
        name = band(file.stem)
        if name is not None:
            found.setdefault(name, file)
    return found


def _named_resolution(file: Path) -> tuple[int, str]:
    match = re.search(r"_([126]0)m\.", file.name)
    return (int(match[1]) if match else 0, file.name)


def _rasters(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if _is_raster(file))


def _is_raster(file: Path) -> bool:
    return file.suffix.lower() in RASTER_SUFFIXES and file.is_file()
