"""Where product naming conventions put the acquisition date. Standard library only.

One rule per convention; a rule captures the day (or day of year) of sensing and leaves alone the stamps of
processing, publication and the like that stand beside it. The conventions are those the producers document.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta

_DAY = r"([0-9]{8})"
_ISO = r"([0-9]{4}-[0-9]{2}-[0-9]{2})"
_TIME = r"[0-9]{6}"
_TILE = r"[0-9]{2}[A-Z]{3}"
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")


@dataclass(frozen=True)
class Rule:
    """A naming convention: its pattern (matched anywhere in a name, any case) and the day from its groups."""

    product: str
    pattern: re.Pattern[str]
    day: Callable[..., date | None]


def compact(text: str) -> date | None:
    """YYYYMMDD, or None where the calendar has no such day."""
    return calendar(text[:4], text[4:6], text[6:8])


def calendar(year: str, month: str, day: str) -> date | None:
    """A day from texts, or None where the calendar has no such day."""
    try:
        return date(int(year), int(month), int(day))
    except ValueError:
        return None


def ordinal(year: str, day: str) -> date | None:
    """A day from year and day of year (1..365 or 366)."""
    first = calendar(year, "1", "1")
    found = first + timedelta(int(day) - 1) if first and int(day) else None
    return found if found and found.year == int(year) else None


def _named_month(year: str, month: str, day: str) -> date | None:
    return calendar("20" + year, str(_MONTHS.index(month.upper()) + 1), day)


def _one_day(first: str, last: str) -> date | None:
    """EO Browser writes the time range asked for: a day only if it starts and ends on it."""
    return date.fromisoformat(first) if first == last and calendar(*first.split("-")) else None


def _rule(product: str, pattern: str, day: Callable[..., date | None] = compact) -> Rule:
    return Rule(product, re.compile(rf"(?<![A-Za-z0-9]){pattern}", re.IGNORECASE), day)


#: Parts of Sentinel-2 products before 2016, whose stamp is the day on which they were made; see `RULES` for those that state
#: the day of sensing too.
CREATION_ONLY = re.compile(r"(?<![A-Za-z0-9])S2[A-D]_(?:OPER|USER|TEST)_[A-Z0-9]{3}_", re.IGNORECASE)

#: In order: a name that fits two conventions is read by the first.
RULES: tuple[Rule, ...] = (
    _rule("Sentinel-2", rf"S2[A-D]_MSIL[12][ABC]_{_DAY}T{_TIME}(?![0-9])"),
    _rule("Sentinel-2, format before 2016", rf"V{_DAY}T{_TIME}_[0-9]{{8}}T{_TIME}(?![0-9])"),
    _rule("Sentinel-2 datastrip", rf"DS_[A-Z0-9_]+_[0-9]{{8}}T{_TIME}_S{_DAY}T{_TIME}"),
    _rule("Sentinel-2 granule", rf"L[12][ABC]_T{_TILE}_A[0-9]{{6}}_{_DAY}T{_TIME}"),
    _rule("Sentinel-2 band", rf"T{_TILE}_{_DAY}T{_TIME}"),
    _rule("Sentinel-2, Earth Engine", rf"{_DAY}T{_TIME}_[0-9]{{8}}T{_TIME}_T{_TILE}"),
    _rule("Sentinel-2, Theia", rf"SENTINEL2[A-D]_{_DAY}-{_TIME}"),
    _rule("Sentinel-2, Earth Search", rf"S2[A-D]_{_TILE}_{_DAY}_[0-9]+_L[12]"),
    _rule("Sentinel-2, sen2r", rf"S2[A-D][12][AC]_{_DAY}_[0-9]{{3}}_"),
    _rule(
        "Sentinel-1",
        r"S1[A-D]_(?:IW|EW|WV|S[M1-6])_(?:SLC|GRD|RAW|OCN)[FHM_]_"
        rf"[0-2][SAN](?:SH|SV|DH|DV|HH|HV|VV|VH)_{_DAY}T{_TIME}",
    ),
    _rule(
        "Sentinel-1 measurement", rf"S1[A-D]-(?:IW|EW|WV|S[M1-6])[0-9]?-[A-Z]{{3}}-[VH]{{2}}-{_DAY}T{_TIME}"
    ),
    _rule("Sentinel-1, ASF HyP3", rf"S1[A-D]_(?:IW|EW|S[M1-6])_{_DAY}T{_TIME}_[DS][VH][A-Z]_"),
    _rule("Sentinel-1, OPERA", rf"OPERA_L[0-9]_[A-Z0-9-]+_T[0-9]{{3}}-[0-9]{{6}}-[A-Z0-9]+_{_DAY}T{_TIME}Z"),
    _rule("Sentinel-1, RTC collection", rf"S1[A-D]_{_DAY}_{_TILE}_(?:ASC|DSC|DES)"),
    _rule("Landsat collection", rf"L[COTEM]0[1-9]_[A-Z0-9]{{4}}_[0-9]{{6}}_{_DAY}_[0-9]{{8}}"),
    _rule(
        "Landsat before collections", r"L[COTEM][1-9][0-9]{6}([0-9]{4})([0-9]{3})[A-Z]{3}[0-9]{2}", ordinal
    ),
    _rule("HLS", rf"HLS\.[SL]30\.T{_TILE}\.([0-9]{{4}})([0-9]{{3}})T{_TIME}", ordinal),
    _rule("MODIS, VIIRS", r"(?:M[OCY]D|V[NJ]P)[A-Z0-9]+\.A([0-9]{4})([0-9]{3})\.", ordinal),
    _rule(
        "ASTER",
        r"AST_L[0-9][A-Z0-9]*_[0-9]{3}([0-9]{2})([0-9]{2})([0-9]{4})[0-9]{6}_",
        lambda m, d, y: calendar(y, m, d),
    ),
    _rule(
        "PlanetScope, SkySat",
        rf"{_DAY}_{_TIME}_(?:[0-9]{{2}}_[0-9a-f]{{4}}|[0-9a-f]{{4}}|ssc?[0-9]+d?[0-9]*)_",
    ),
    _rule("Satellogic", rf"{_DAY}_{_TIME}_SN[0-9]+_"),
    _rule("Pleiades, SPOT", rf"IMG_(?:PHR1[AB]|SPOT[67]|PNEO[0-9])_[A-Z-]+_{_DAY}[0-9]{{6,7}}_"),
    _rule(
        "WorldView, GeoEye", rf"([0-9]{{2}})({'|'.join(_MONTHS)})([0-9]{{2}})[0-9]{{6,8}}-[MPS]", _named_month
    ),
    _rule("Gaofen", rf"GF[0-9][A-Z0-9]*_[A-Z0-9]+_[EW][0-9.]+_[NS][0-9.]+_{_DAY}_L[0-9]"),
    _rule("KOMPSAT", rf"K[2357]A?_{_DAY}{_TIME}_[0-9]+_[0-9]+"),
    _rule("NAIP", rf"m_[0-9]{{7}}_[ns][ew]_[0-9]{{2}}_[0-9a-z]+_{_DAY}(?:_[0-9]{{8}})?(?![0-9])"),
    _rule("EnMAP", rf"ENMAP[0-9]{{2}}-____L[0-9][A-Z]-DT[0-9]+_{_DAY}T{_TIME}Z"),
    _rule(
        "EO Browser",
        rf"{_ISO}-[0-9]{{2}}[:_]?[0-9]{{2}}_{_ISO}-[0-9]{{2}}[:_]?[0-9]{{2}}(?![0-9])",
        _one_day,
    ),
)
