"""One row of the acquisition table: what the user stated, what the worker found, and whether it can be used."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

GREEN, AMBER, RED, WAITING = "green", "amber", "red", "waiting"

_DATE = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})")
_BAND = re.compile(r"\s*([^\s=:]+)\s*[=:\s]\s*(\S.*?)\s*")


class RowError(ValueError):
    """What the user typed cannot be used; the message is a sentence."""


@dataclass
class Row:
    """One acquisition.

    Attributes:
        path: raster file or product folder, absolute.
        modality: "hr", "s2", "s1" or None = not known yet.
        date: as typed; "" = unknown.
        bands: band name -> number or "file:number"; empty = as the worker finds out.
        extra: further keys of the scene file (units, mask, orbit, ...), kept as they are.
        stated: keys that the user or a scene file gave; the worker's findings do not replace them.
        layer_id: the QGIS layer it came from, "" = none.
        layer_name: how the layer is called there.
        described: the worker has answered for the row as it is now.
        found: the worker's description.
        checked: (status, reason) from checking the whole scene; None = it was not part of it.
    """

    path: str
    modality: str | None = None
    date: str = ""
    bands: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    stated: set[str] = field(default_factory=set)
    layer_id: str = ""
    layer_name: str = ""
    described: bool = False
    found: dict[str, Any] = field(default_factory=dict)
    checked: tuple[str, str] | None = None

    @property
    def title(self) -> str:
        return self.layer_name or Path(self.path).name

    def take_description(self, found: dict[str, Any]) -> None:
        """Fill what was not stated from the worker's description; one that tells of no image but of a failure fills nothing."""
        self.found, self.described = found, True
        if self.failed:
            return
        if "modality" not in self.stated:
            self.modality = found.get("modality")
        if "date" not in self.stated:
            self.date = found.get("date") or ""
        if "bands" not in self.stated:
            self.bands = dict(found.get("bands") or {})

    @property
    def failed(self) -> bool:
        """The worker could not be asked."""
        return bool(self.found.get("failed"))

    @property
    def verdict(self) -> tuple[str, str]:
        """(status, reason): of the typed date, else of the scene's check, else of the file alone."""
        try:
            parse_date(self.date)
        except RowError as error:
            return RED, str(error)
        if not self.described:
            return WAITING, "Looking at the file…"
        if self.modality is None or self.failed:
            return RED, self._plain(str(self.found.get("reason") or "")) or "Choose the sensor."
        if self.checked is not None:  # it knows what the user stated; the description of the file does not
            return self.checked[0], self._plain(self.checked[1])
        return str(self.found.get("status") or RED), self._plain(str(self.found.get("reason") or ""))

    def _plain(self, reason: str) -> str:
        """A reason without the file's name in front: the row shows it already."""
        prefix = f"{Path(self.path).name}: "
        if reason.startswith(prefix):
            reason = reason[len(prefix) :]
        return reason[:1].upper() + reason[1:]

    def to_scene(self) -> dict[str, Any]:
        """The row as an entry of a scene file, with an absolute path.

        Raises:
            RowError: the date cannot be read.
        """
        entry: dict[str, Any] = {"modality": self.modality, "path": self.path, "date": parse_date(self.date)}
        if self.bands:
            entry["bands"] = self.bands
        return {**entry, **self.extra}


def row_from_scene(entry: dict[str, Any], root: Path) -> Row:
    """A row from an entry of a scene file; relative paths count from `root`.

    Raises:
        RowError: it is no acquisition.
    """
    if not isinstance(entry, dict) or not isinstance(entry.get("path"), str):
        raise RowError("The scene file has an acquisition without a path.")
    known = ("modality", "path", "date", "bands")
    extra = {key: value for key, value in entry.items() if key not in known}
    if not isinstance(entry.get("bands") or {}, dict):
        raise RowError(f"The scene file gives {entry['path']} bands that are no list of name and number.")
    if isinstance(extra.get("mask"), str):
        extra["mask"] = absolute(extra["mask"], root)
    return Row(
        path=absolute(entry["path"], root),
        modality=entry.get("modality"),
        date=str(entry.get("date") or ""),
        bands=dict(entry.get("bands") or {}),
        extra=extra,
        stated={
            key for key in ("modality", "date", "bands") if key in entry and (key == "date" or entry[key])
        },
    )


def absolute(path: str, root: Path) -> str:
    """A path of a scene file, as GDAL opens it: what lies on a server or in a zip file has no folder here."""
    if path.startswith(("http://", "https://")):
        return f"/vsicurl/{path}"
    return path if path.startswith("/vsi") else str(root / path)


def parse_date(text: str) -> str | None:
    """The ISO date of what was typed; None for an empty cell.

    Raises:
        RowError: it is no date.
    """
    text = text.strip()
    if not text:
        return None
    match = _DATE.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        return datetime.date(*(int(part) for part in match.groups())).isoformat()
    except ValueError:
        raise RowError(
            f"“{text}” is not a date. Write it as year-month-day, for example 2023-05-17."
        ) from None


def parse_bands(text: str) -> dict[str, Any]:
    """Bands as typed, "R=1, G=2, B=3"; empty text = let them be found out.

    Raises:
        RowError: it cannot be read.
    """
    bands: dict[str, Any] = {}
    for part in filter(str.strip, text.split(",")):
        match = _BAND.fullmatch(part)
        if match is None:
            raise RowError(f"“{part.strip()}” names no band. Write name=number, for example R=1, G=2, B=3.")
        name, number = match.groups()
        bands[name] = int(number) if number.isdigit() else number
    return bands


def bands_text(bands: dict[str, Any], edit: bool) -> str:
    """Bands for the table (names only) or for editing (with numbers)."""
    if edit:
        return ", ".join(f"{name}={number}" for name, number in bands.items())
    return " ".join(bands)
