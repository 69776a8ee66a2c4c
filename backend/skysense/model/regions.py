"""Regions of the Earth for geo-context: an equal-area grid of 275 x 432 cells of 4,294 km2.

The paper fixes only the size of a region (about 4,294 km2; specification 1.7); this indexing is ours. Bands
are equal in the sine of the authalic latitude, columns equal in longitude, which makes every cell of the
ellipsoid equal in area; cells are about square at 45 degrees. Region id = row * 432 + column, row 0 at the
south pole, column 0 from 180 degrees west. Coordinates are WGS 84 degrees.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

BANDS, COLUMNS = 275, 432
EARTH_RADIUS_KM = 6371.0072  # sphere of the ellipsoid's area
#: A region trained farther away than this says nothing about a place.
NEAREST_LIMIT_KM = 1000.0

_E = math.sqrt(0.00669437999014)  # first eccentricity of WGS 84


def _area_sine(lat: float) -> float:
    """Sine of the authalic latitude of a geodetic latitude (degrees), Snyder 1987, eq. 3-11 and 3-12."""

    def q(sine: float) -> float:
        es = _E * sine
        return (1 - _E**2) * (sine / (1 - es**2) + math.atanh(es) / _E)

    return q(math.sin(math.radians(lat))) / q(1.0)


def region_id(lon: float, lat: float) -> int:
    """Region that holds a place; longitudes wrap, latitudes must lie within -90 to 90 (else ValueError)."""
    if not -90 <= lat <= 90 or not math.isfinite(lon):
        raise ValueError(f"not a place on Earth: lon {lon}, lat {lat}")
    row = min(int((_area_sine(lat) + 1) / 2 * BANDS), BANDS - 1)
    column = min(int(((lon + 180) % 360) / 360 * COLUMNS), COLUMNS - 1)
    return row * COLUMNS + column


def region_centre(region: int) -> tuple[float, float]:
    """(lon, lat) of a region's centre; its latitude is exact to about 10 m."""
    row, column = divmod(region, COLUMNS)
    beta = math.asin((row + 0.5) / BANDS * 2 - 1)
    e2, e4 = _E**2, _E**4  # authalic to geodetic latitude, Snyder 1987, eq. 3-18, to the second term
    lat = beta + (e2 / 3 + 31 * e4 / 180) * math.sin(2 * beta) + 23 * e4 / 360 * math.sin(4 * beta)
    return (column + 0.5) / COLUMNS * 360 - 180, math.degrees(lat)


def distance_km(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Great-circle distance of two (lon, lat)."""
    (lon_a, lat_a), (lon_b, lat_b) = ([math.radians(v) for v in place] for place in (a, b))
    half = math.sin((lat_b - lat_a) / 2) ** 2
    half += math.cos(lat_a) * math.cos(lat_b) * math.sin((lon_b - lon_a) / 2) ** 2
    return 2 * EARTH_RADIUS_KM * math.asin(min(1.0, math.sqrt(half)))


@dataclass(frozen=True)
class RegionMatch:
    """Which prototypes serve a place.

    Attributes:
        region: the trained region used, None for the learned constant.
        source: "own" (the place's own region is trained), "nearest" (another one within 1,000 km), or
            "constant".
        distance_km: from the place to the centre of the region used; 0 for "own", None for "constant".
    """

    region: int | None
    source: Literal["own", "nearest", "constant"]
    distance_km: float | None


def match_region(lon: float, lat: float, trained: Sequence[int]) -> RegionMatch:
    """The trained region for a place: its own, else the nearest within `NEAREST_LIMIT_KM`, else none."""
    own = region_id(lon, lat)
    if own in trained:
        return RegionMatch(own, "own", 0.0)
    ranked = sorted((distance_km((lon, lat), region_centre(region)), region) for region in trained)
    if ranked and ranked[0][0] <= NEAREST_LIMIT_KM:
        return RegionMatch(ranked[0][1], "nearest", ranked[0][0])
    return RegionMatch(None, "constant", None)


def match_note(matches: Sequence[RegionMatch]) -> str:
    """What the user must be told of the prototypes used; "" when every place has its own (or there are none)."""
    nearest = [match for match in matches if match.source == "nearest"]
    constant = sum(match.source == "constant" for match in matches)
    parts = []
    if nearest:
        farthest = max(match.distance_km or 0.0 for match in nearest)
        parts.append(
            f"{_share(len(nearest), len(matches))} of the area uses the nearest trained region, up to {farthest:.0f} km away"
        )
    if constant:
        parts.append(
            f"{_share(constant, len(matches))} of the area has no trained region within {NEAREST_LIMIT_KM:,.0f} km "
            "and uses none"
        )
    return f"Geo-context: {'; '.join(parts)}." if parts else ""


def _share(part: int, whole: int) -> str:
    return "all" if part == whole else f"{max(round(100 * part / whole), 1)} %"
