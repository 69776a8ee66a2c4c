"""Band names as people and programs write them, brought to the names of `sensors`. Standard library only."""

import re
from collections.abc import Sequence

from skysense.scene.sensors import EXTRA_BANDS, SENSORS, Modality

_CODE = re.compile(r"B0?([1-9]|1[0-2]|8A)", re.IGNORECASE)
_LANDSAT_BAND = re.compile(r"(?:SR|ST)_B[0-9]+|QA_PIXEL", re.IGNORECASE)
_POLARISATIONS = ("VV", "VH", "HH", "HV")

#: Colour words (letters and digits only, lower case) to HR and Sentinel-2 bands; the latter are the "common
#: names" of STAC as the large catalogues use them.
_HR_WORDS = {
    "r": "R",
    "red": "R",
    "g": "G",
    "green": "G",
    "b": "B",
    "blue": "B",
    "n": "NIR",
    "nir": "NIR",
    "ir": "NIR",
    "nearinfrared": "NIR",
    "infrared": "NIR",
}
_S2_WORDS = {
    "coastal": "B1",
    "coastalaerosol": "B1",
    "blue": "B2",
    "green": "B3",
    "red": "B4",
    "rededge1": "B5",
    "rededge2": "B6",
    "rededge3": "B7",
    "nir": "B8",
    "nir08": "B8A",
    "nir09": "B9",
    "cirrus": "B10",
    "swir16": "B11",
    "swir1": "B11",
    "swir22": "B12",
    "swir2": "B12",
}

#: Words that make another band of the colour that they stand beside: "red edge", "green I" (SuperDove), "coastal blue".
_OTHER_BAND = {"edge", "rededge", "yellow", "i"}

#: Unnamed Sentinel-2 stacks by number of bands: the orders in which they are commonly written.
_TEN = SENSORS["s2"].bands
_L2A = ("B1", *_TEN[:8], "B9", *_TEN[8:])
_L1C = (*_L2A[:10], "B10", *_L2A[10:])
S2_ORDERS: dict[int, tuple[str, ...]] = {10: _TEN, 12: _L2A, 13: _L1C}
#: Every band name of a modality, in the order in which bands are listed.
BAND_ORDER: dict[Modality, tuple[str, ...]] = {
    "hr": SENSORS["hr"].bands + EXTRA_BANDS["hr"],
    "s2": _L1C,
    "s1": SENSORS["s1"].bands + EXTRA_BANDS["s1"],
}


def s2_code(text: str) -> str | None:
    """The Sentinel-2 band that a name states ("S2-L2A-B02" -> "B2"); None if none or several."""
    found = {f"B{match[1].upper()}" for token in _tokens(text) if (match := _CODE.fullmatch(token))}
    return found.pop() if len(found) == 1 else None


def polarisation(text: str) -> str | None:
    """VV, VH, HH or HV where a name states one ("Gamma0_VV" -> "VV")."""
    found = {token.upper() for token in _tokens(text) if token.upper() in _POLARISATIONS}
    return found.pop() if len(found) == 1 else None


def colour(text: str) -> str | None:
    """R, G, B or NIR where a name is such a word ("Red", "near infrared")."""
    return _whole(text, _HR_WORDS) or _only_word(text, _HR_WORDS)


def is_landsat_band(text: str) -> bool:
    """Whether a name is one that only bands of Landsat's Collection 2 have ("SR_B4", "QA_PIXEL")."""
    return _LANDSAT_BAND.fullmatch(text.strip()) is not None


def canonical_band(text: str, modality: Modality) -> str | None:
    """The name in `sensors` for a band name as written, None where it is none of this modality's bands."""
    return _exact_band(text, modality) or _loose_band(text, modality)


def recognise(names: Sequence[str | None], modality: Modality) -> dict[str, int]:
    """Band name -> number (from 1) for a file's band names; the first of a repeated name counts.

    A description that merely holds a band's word counts only where no band is called so outright.
    """
    bands: dict[str, int] = {}
    for reading in (_exact_band, _loose_band):
        for number, text in enumerate(names, start=1):
            name = reading(text, modality) if text and number not in bands.values() else None
            if name is not None:
                bands.setdefault(name, number)
    return bands


def repeated(names: Sequence[str | None]) -> bool:
    """Whether band names occur more than once, as in files that stack several dates."""
    given = [name.lower() for name in names if name]
    return len(given) > len(set(given))


def _exact_band(text: str, modality: Modality) -> str | None:
    """The band that a name is, as a whole or by its code."""
    if modality == "s1":
        name = polarisation(text)
        return name if name in BAND_ORDER["s1"] else None
    if modality == "hr":
        return _whole(text, _HR_WORDS)
    return s2_code(text) or _whole(text, _S2_WORDS)


def _loose_band(text: str, modality: Modality) -> str | None:
    """The band whose word stands in a longer name."""
    return None if modality == "s1" else _only_word(text, _HR_WORDS if modality == "hr" else _S2_WORDS)


def _whole(text: str, words: dict[str, str]) -> str | None:
    return words.get("".join(_tokens(text)).lower())


def _tokens(text: str) -> list[str]:
    return re.findall(r"[A-Za-z0-9]+", text)


def _only_word(text: str, words: dict[str, str]) -> str | None:
    """The band whose word (three letters or more) stands in a longer description, if it is just one."""
    tokens = {token.lower() for token in _tokens(text)}
    # "Coastal" is a band of Sentinel-2's own; of the others it makes no blue one.
    if tokens & _OTHER_BAND or ("coastal" in tokens and "coastal" not in words):
        return None
    found = {words[token] for token in tokens if len(token) > 2 and token in words}
    return found.pop() if len(found) == 1 else None
