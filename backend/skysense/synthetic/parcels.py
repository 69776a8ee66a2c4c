"""Cutting land into parcels and lots by straight lines, as land consolidation and street plans do."""

import math

import numpy as np
from shapely import Polygon
from shapely.geometry.base import BaseGeometry

#: Long enough to cut any landscape that can be made (metres).
FAR = 1e6


def polygons(geometry: BaseGeometry, min_area: float = 0.0) -> list[Polygon]:
    """The polygons of any geometry that are larger than `min_area` (square metres), in a stable order."""
    if isinstance(geometry, Polygon):
        return [geometry] if geometry.area > min_area else []
    return [p for part in getattr(geometry, "geoms", ()) for p in polygons(part, min_area)]


def long_axis(polygon: Polygon) -> tuple[float, float, float]:
    """Direction (radians, x towards y), length and width (metres) of the smallest rectangle around it."""
    corners = np.asarray(polygon.minimum_rotated_rectangle.exterior.coords)
    sides = corners[1:3] - corners[0:2]
    lengths = np.hypot(sides[:, 0], sides[:, 1])
    side = sides[int(np.argmax(lengths))]
    return math.atan2(side[1], side[0]), float(lengths.max()), float(lengths.min())


def _half_plane(x: float, y: float, angle: float) -> Polygon:
    """Everything on the left of the line through (x, y) in direction `angle`."""
    ux, uy = FAR * math.cos(angle), FAR * math.sin(angle)
    return Polygon(
        [(x - ux, y - uy), (x + ux, y + uy), (x + ux - uy, y + uy + ux), (x - ux - uy, y - uy + ux)]
    )


def split(
    polygon: Polygon, target: float, rng: np.random.Generator, *, gap: float = 0.0, max_aspect: float = 3.0
) -> list[Polygon]:
    """Cut a polygon into parcels of about `target` square metres.

    Args:
        polygon: in metres.
        target: typical area of a parcel (square metres); slivers under a tenth of it are dropped.
        rng: decides where the cuts fall.
        gap: width (metres) left free along every cut, for a street or a track.
        max_aspect: parcels stay shorter than about this many times their width.
    """
    if polygon.area < target * rng.uniform(0.75, 1.6):
        return [polygon]
    angle, length, width = long_axis(polygon)
    lengthwise = length / width < max_aspect / 2 and rng.random() < 0.6
    cut = angle + (0.0 if lengthwise else math.pi / 2) + rng.normal(0, 0.02)
    centre, at = (
        polygon.minimum_rotated_rectangle.centroid,
        rng.uniform(-0.12, 0.12) * (width if lengthwise else length),
    )
    nx, ny = -math.sin(cut), math.cos(cut)
    found: list[Polygon] = []
    for side, shift in ((0.0, at + gap / 2), (math.pi, at - gap / 2)):
        half = _half_plane(centre.x + nx * shift, centre.y + ny * shift, cut + side)
        for part in polygons(polygon.intersection(half), target / 10):
            found += split(part, target, rng, gap=gap, max_aspect=max_aspect)
    return found
