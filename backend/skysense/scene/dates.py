"""The acquisition date that a product's metadata, file name or folder name gives. Standard library only.

In this order: metadata files, tags inside the image, the file's name (of a folder that has no date in its
name, its images' names), its folders' names. A name is read by the producers' conventions first
(`product_dates`); else by any one date written in it. A name that holds two different days (a range, or
stamps of unknown meaning) has no single day, and none is invented.
"""

import datetime
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from skysense.scene.metadata import FOLDER_FILES, ProductMetadata, read_metadata, utc_day
from skysense.scene.product_dates import CREATION_ONLY, RULES, calendar, compact
from skysense.scene.remote import is_remote

#: Tags inside images that state the time of sensing (TIFFTAG_DATETIME states when the file was written).
_TAGS = (
    "ACQUISITIONDATETIME",
    "ACQUISITION_DATE",
    "PRODUCT_START_TIME",
    "DATATAKE_1_DATATAKE_SENSING_START",
    "SENSING_TIME",
    "START_TIME",
    "DATE_ACQUIRED",
    "DATETIME",
    "DATE",
)

#: How images' files end.
RASTER_SUFFIXES = (".tif", ".tiff", ".jp2", ".vrt", ".img")

#: How many folders above a file are looked at (a SAFE's bands lie four levels below it).
_LEVELS = 5

_YEAR = r"(?:19[5-9][0-9]|20[0-7][0-9])"
_MONTH_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
#: Months as people write them, whole: "marsh" and "deciduous" are none. English, and what is spelt alike elsewhere.
_MONTHS = (
    "(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)"
    "(?:(?<=jan)(?:uary|uari|uar|vier|v)|(?<=feb)(?:ruary|ruari|ruar|rero)|(?<=mar)(?:ch|s|zo)|(?<=apr)(?:il|ile)"
    "|(?<=jun)(?:e|i|io)|(?<=jul)(?:y|i|io)|(?<=aug)(?:ust|ustus)"
    "|(?<=sep)(?:tember|tembre|tiembre|t)|(?<=oct)(?:ober|obre)|(?<=nov)(?:ember|embre|iembre)"
    "|(?<=dec)(?:ember|embre))?(?![a-z])"
)


@dataclass(frozen=True)
class _Reading:
    """What a name says: `stated` is True where it states dates, even if no single day follows from them."""

    day: datetime.date | None
    stated: bool
    product: bool = False


def date_from_name(name: str) -> datetime.date | None:
    """The acquisition date in a product's file or folder name.

    Args:
        name: a name; of a path its last part counts.

    Returns:
        The day of sensing (its start where the name gives start and stop); None where the name has no date,
        an impossible one, or several without a convention that tells which is meant.
    """
    return _read(PureWindowsPath(_without_query(name).rstrip("/\\")).name).day


def acquisition_date(path: Path, tags: Mapping[str, str] | None = None) -> tuple[datetime.date | None, str]:
    """The acquisition date of a file or folder, and where it was found.

    Args:
        path: an image, a product's folder or a metadata file. It need not exist: then its names are read.
        tags: the image's own metadata tags, for an image that is open already.

    Returns:
        The day and its source in words ("metadata file manifest.safe", "file name"); (None, "") if unknown.
    """
    path = Path(_without_query(str(path)))
    reading = _read(path.name)
    for file, metadata in metadata_of(path):
        if metadata.date is None:
            continue
        # A folder's metadata speaks of this file only if the file's own name does not say otherwise.
        elsewhere = (
            file.name in FOLDER_FILES
            and reading.day is not None
            and abs((metadata.date - reading.day).days) > 1
        )
        if not elsewhere:
            return metadata.date, f"metadata file {file.name}"
    day = _from_tags(tags or {})
    if day is not None:
        return day, "tag in the file"
    if reading.stated:
        return (reading.day, "folder name" if path.is_dir() else "file name") if reading.day else (None, "")
    if day := _shared_day(path):
        return day, "names of its files"
    for level, folder in enumerate(list(path.parents)[:_LEVELS]):
        reading = _read(folder.name)
        # The folder that holds the file may be named freely; further up only a product's name concerns it.
        if reading.stated and (reading.product or level == 0):
            return (reading.day, f"folder name {folder.name}") if reading.day else (None, "")
    return None, ""


def _without_query(text: str) -> str:
    """An address without what follows the file's name: a signed one says there from when to when it may be used."""
    return re.split("[?#]", text, maxsplit=1)[0] if is_remote(Path(text)) else text


def _shared_day(folder: Path) -> datetime.date | None:
    """The day in the names of a folder's images, where it is one and the same in all names that have any."""
    if not folder.is_dir():
        return None
    readings = [_read(file.name) for file in folder.iterdir() if file.suffix.lower() in RASTER_SUFFIXES]
    days = {reading.day for reading in readings if reading.stated}
    return days.pop() if len(days) == 1 else None


def metadata_of(path: Path) -> Iterator[tuple[Path, ProductMetadata]]:
    """The metadata files that speak of this file or folder, nearest first, with what they say."""
    for file in metadata_files(path):
        found = read_metadata(file)
        if found is not None:
            yield file, found


def metadata_files(path: Path) -> Iterator[Path]:
    """The metadata files that may speak of this file or folder, nearest first; those that are there."""
    if path.is_dir():
        yield from (file for name in FOLDER_FILES if (file := path / name).is_file())
        yield from (file for file in (path / f"{path.name}.json",) if file.is_file())
        if "GRANULE" in path.parts[-4:]:  # a granule, or its bands of one pixel size: of a SAFE all the same
            yield from _above(path)
        return
    if path.suffix.lower() in (".xml", ".safe", ".json", ".geojson"):
        yield path
        return
    if not path.is_file():
        return
    endings = ("_MTD.xml", ".json", "_stac.json", ".stac.json")
    yield from (file for end in endings if (file := path.with_name(path.stem + end)).is_file())
    yield from _above(path)


def _above(path: Path) -> Iterator[Path]:
    for folder in list(path.parents)[:_LEVELS]:
        yield from (file for name in FOLDER_FILES if (file := folder / name).is_file())


def _from_tags(tags: Mapping[str, str]) -> datetime.date | None:
    upper = {key.upper(): value for key, value in tags.items()}
    for key in _TAGS:
        value = upper.get(key, "")
        day = utc_day(value) or (compact(value) if re.match(rf"{_YEAR}[0-9]{{4}}(?![0-9])", value) else None)
        if day is not None:
            return day
    milliseconds = upper.get("SYSTEM:TIME_START", "")  # Earth Engine
    if re.fullmatch(r"[0-9]{12,13}", milliseconds):
        epoch = datetime.datetime(1970, 1, 1)
        return (epoch + datetime.timedelta(milliseconds=int(milliseconds))).date()
    return None


def _read(name: str) -> _Reading:
    for rule in RULES:
        match = rule.pattern.search(name)
        if match:
            return _Reading(rule.day(*match.groups()), stated=True, product=True)
    if CREATION_ONLY.search(name):
        return _Reading(None, stated=False)
    return _read_freely(name)


def _read_freely(name: str) -> _Reading:
    """A name without a convention: any date as people write it, if it is the only one."""
    moments = re.findall(rf"(?<![0-9])({_YEAR}[0-9]{{4}})[T_-]?[0-9]{{6}}(?![0-9])", name)
    days = [day for text in moments if (day := compact(text))]
    if len(days) == 2 and 0 <= (days[1] - days[0]).days <= 1 and not _written(name, moments):
        return _Reading(days[0], stated=True)  # start and stop of one pass
    every = {*days, *_written(name, moments)}
    if len(every) == 1:
        return _Reading(every.pop(), stated=True)
    return _Reading(None, stated=bool(every))


def _written(name: str, moments: list[str]) -> set[datetime.date]:
    """The days written in a name, besides those of time stamps."""
    found: list[datetime.date | None] = []
    for year, month, day in re.findall(
        rf"(?<![0-9])({_YEAR})[-_. ]([0-9]{{2}})[-_. ]([0-9]{{2}})(?![0-9])", name
    ):
        found.append(calendar(year, month, day))
    for first, second, year in re.findall(
        rf"(?<![0-9])([0-9]{{2}})[-_. ]([0-9]{{2}})[-_. ]({_YEAR})(?![0-9])", name
    ):
        found.append(_day_or_month_first(first, second, year))
    for text in re.findall(r"(?<![0-9])([0-9]{8})(?![0-9])", name):
        if text in moments:
            continue
        if re.match(_YEAR, text) and (day := compact(text)):
            found.append(day)
        elif re.match(_YEAR, text[4:]) and int(text[:2]) > 12:  # 21062020: only the day can stand first
            found.append(calendar(text[4:], text[2:4], text[:2]))
    # A number that ends a word belongs to it, unless the month follows at once: S2_Mar_2019, UAV21Jun2020.
    words = re.findall(
        rf"(?<![0-9])([0-9]{{1,2}})(?:(?<![a-z][0-9])(?<![a-z][0-9]{{2}})[-_. ])?{_MONTHS}[-_. ]?({_YEAR})(?![0-9])",
        name,
        re.IGNORECASE,
    )
    words += [
        (day, month, year)
        for year, month, day in re.findall(  # 2019_mar_10m is a month and a pixel size
            rf"(?<![0-9])({_YEAR})[-_. ]?{_MONTHS}[-_. ]?([0-9]{{1,2}})(?![0-9]|m(?![a-z]))",
            name,
            re.IGNORECASE,
        )
    ]
    for day, month, year in words:
        found.append(calendar(year, str(_MONTH_NAMES.index(month.lower()) + 1), day))
    return {day for day in found if day}


def _day_or_month_first(first: str, second: str, year: str) -> datetime.date | None:
    """21-06-2020 and 06-21-2020 are clear; 05-06-2020 is not, and gives None."""
    readings = {calendar(year, second, first), calendar(year, first, second)} - {None}
    return readings.pop() if len(readings) == 1 else None
