"""Facts from the metadata files that come with satellite products. Standard library only.

XML is searched for the few items that matter, so that the many schema versions need no branches and no parser
resolves entities.
"""

import datetime
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Metadata files that describe the folder they lie in.
FOLDER_FILES = ("MTD_MSIL2A.xml", "MTD_MSIL1C.xml", "manifest.safe", "productInfo.json", "MTD_TL.xml")

_MAX_BYTES = 4_000_000

_MOMENT = re.compile(
    r"\s*([0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[T ]([0-9]{2}:[0-9]{2}(?::[0-9]{2})?)[0-9.,]*(Z|[+-][0-9]{2}:?[0-9]{2})?)?"
)

_STARTS = (
    "PRODUCT_START_TIME",
    "DATATAKE_SENSING_START",
    "SENSING_TIME",
    "startTime",
    "ACQUISITION_DATE",
    "DATE_ACQUIRED",
)


@dataclass(frozen=True)
class ProductMetadata:
    """What a metadata file says; None = it does not say.

    Attributes:
        date: first day of sensing (UTC).
        name: the product's name.
        level: "L1C", "L2A", "GRD", ...
        baseline: Sentinel-2 processing baseline, 4.0 for 04.00.
        offset: what to add to Sentinel-2 digital numbers (-1000 from baseline 04.00 on).
        orbit: "asc" or "des".
    """

    date: datetime.date | None = None
    name: str | None = None
    level: str | None = None
    baseline: float | None = None
    offset: float | None = None
    orbit: str | None = None


def read_metadata(path: Path) -> ProductMetadata | None:
    """Read one metadata file; None where it is not one that is understood (or cannot be read)."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            return None
        text = path.read_bytes().decode("utf-8", "replace")
    except OSError:
        return None
    if path.suffix.lower() in (".json", ".geojson"):
        return _from_json(text)
    if path.suffix.lower() in (".xml", ".safe"):
        return _from_xml(text)
    return None


def utc_day(text: str) -> datetime.date | None:
    """The UTC day of an ISO date or time ("2020-11-12T19:34:47.8741569+00:00"); None where it is none."""
    match = _MOMENT.match(text)
    if not match:
        return None
    try:
        day = datetime.date.fromisoformat(match[1])
        zone = match[3]
        if not zone or zone == "Z":
            return day
        moment = datetime.datetime.combine(day, datetime.time.fromisoformat(match[2]))
        sign = -1 if zone[0] == "+" else 1
        return (moment + sign * datetime.timedelta(hours=int(zone[1:3]), minutes=int(zone[-2:]))).date()
    except ValueError:
        return None


def _from_xml(text: str) -> ProductMetadata:
    date = next((day for tag in _STARTS for value in _items(text, tag) if (day := utc_day(value))), None)
    level = next(iter(_items(text, "PROCESSING_LEVEL")), None) or next(
        iter(_items(text, "productType")), None
    )
    offsets = [float(value) for value in _items(text, "BOA_ADD_OFFSET") + _items(text, "RADIO_ADD_OFFSET")]
    baseline = next(iter(_items(text, "PROCESSING_BASELINE")), None)
    name = next(iter(_items(text, "PRODUCT_URI")), None)
    orbit = next(iter(_items(text, "SENSING_ORBIT_DIRECTION") + _items(text, "pass")), None)
    return ProductMetadata(
        date=date,
        name=name,
        level=level and level.replace("Level-", "L"),
        baseline=float(baseline) if baseline and re.fullmatch(r"[0-9]+\.[0-9]+", baseline) else None,
        offset=offsets[0] if offsets else None,
        orbit=orbit_name(orbit),
    )


def orbit_name(text: str | None) -> str | None:
    """The orbit's direction, "asc" or "des", from the many ways to write it."""
    if not text:
        return None
    return {"A": "asc", "D": "des"}.get(text.strip()[:1].upper())


def _items(text: str, tag: str) -> list[str]:
    """The texts of all elements of that name, whatever their namespace prefix."""
    return [value.strip() for value in re.findall(rf"<(?:[\w.-]+:)?{tag}(?:\s[^>]*)?>([^<]*)<", text)]


def _from_json(text: str) -> ProductMetadata | None:
    try:
        data = json.loads(text)
    except ValueError:
        return None
    if not isinstance(data, dict):
        return None
    properties = data.get("properties")
    if isinstance(properties, dict) and ("stac_version" in data or "datetime" in properties):
        return _from_stac(data, properties)
    if (
        isinstance(data.get("startTime"), str) and "missionId" in data
    ):  # productInfo.json of the S1 RTC collections
        return ProductMetadata(
            date=utc_day(data["startTime"]), name=data.get("id"), level=data.get("productType")
        )
    return None


def _from_stac(item: dict[str, Any], properties: dict[str, Any]) -> ProductMetadata:
    """A STAC item; one that spans more than two days is a composite, which has no single day."""
    first, last, day = (
        utc_day(value) if isinstance(value := properties.get(key), str) else None
        for key in ("start_datetime", "end_datetime", "datetime")
    )
    composite = first is not None and last is not None and (last - first).days > 1
    name, orbit = item.get("id"), properties.get("sat:orbit_state")
    return ProductMetadata(
        date=None if composite else (first or day),
        name=name if isinstance(name, str) else None,
        orbit=orbit_name(orbit) if isinstance(orbit, str) else None,
    )
