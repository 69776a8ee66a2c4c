"""The plan of the landscape as lines and polygons: river, lake, roads, town and the blocks of open land.

Coordinates are local metres: x to the right, y downwards, (0, 0) the upper left corner of the area.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from shapely import LineString, Polygon, box, unary_union
from shapely.geometry.base import BaseGeometry

from skysense.synthetic.noise import stream
from skysense.synthetic.parcels import polygons, split

#: From the unit square (river across the middle, forest upper left, town upper right) to local metres.
Place = Callable[[float, float], tuple[float, float]]


@dataclass(frozen=True)
class Plan:
    """What stands where, in local metres.

    Attributes:
        size: side of the square area.
        place: turns the unit-square composition into local metres (mirrored or transposed by the seed).
        water: river and lake.
        roads: asphalt roads, as centre lines.
        tracks: gravel tracks between blocks of fields.
        town: the built-up area, without water.
        parcels: fields and meadows, with straight borders.
        hedges: centre lines of hedges along some parcels.
    """

    size: float
    place: Place
    water: BaseGeometry
    roads: tuple[LineString, ...]
    tracks: BaseGeometry
    town: Polygon
    parcels: tuple[Polygon, ...]
    hedges: tuple[LineString, ...]


def _placement(size: float, rng: np.random.Generator) -> Place:
    mirror_x, mirror_y, transpose = (bool(b) for b in rng.integers(0, 2, 3))

    def place(u: float, v: float) -> tuple[float, float]:
        u, v = (1 - u if mirror_x else u), (1 - v if mirror_y else v)
        return (v * size, u * size) if transpose else (u * size, v * size)

    return place


def _curve(points: list[tuple[float, float]], rounds: int = 4) -> LineString:
    """A smooth line through the neighbourhood of the points (Chaikin's corner cutting); the ends are kept."""
    p = np.asarray(points, float)
    for _ in range(rounds):
        cut = np.empty((2 * len(p) - 2, 2))
        cut[0::2], cut[1::2] = 0.75 * p[:-1] + 0.25 * p[1:], 0.25 * p[:-1] + 0.75 * p[1:]
        p = np.concatenate([p[:1], cut, p[-1:]])
    return LineString(p)


def _blob(x: float, y: float, radius: float, rng: np.random.Generator, roughness: float) -> Polygon:
    """A closed smooth outline around (x, y)."""
    angle = np.linspace(0, 2 * math.pi, 97)[:-1]
    r = np.ones_like(angle)
    for k in range(2, 6):
        r += roughness / k * rng.normal() * np.cos(k * angle + rng.uniform(0, 2 * math.pi))
    r = radius * np.clip(r, 0.6, 1.5)
    return Polygon(np.stack([x + r * np.cos(angle), y + r * np.sin(angle)], 1))


def _river(size: float, place: Place, rng: np.random.Generator) -> BaseGeometry:
    """A meandering river: a sine-generated curve (direction swings as a sine of the way along it)."""
    s = np.linspace(0, 1, 160)
    bends = rng.uniform(2.3, 2.9)
    phase = 2 * math.pi * (bends * s + 0.12 * np.sin(2 * math.pi * (s + rng.uniform()))) + rng.uniform(
        0, 2 * math.pi
    )
    direction = (0.85 + 0.25 * np.sin(2 * math.pi * (0.7 * s + rng.uniform()))) * np.sin(phase)
    way = np.stack([np.cumsum(np.cos(direction)), np.cumsum(np.sin(direction))], 1)
    way -= way[0]
    # Turn and stretch the curve so that it enters on one side of the unit square and leaves on the other.
    start, end = complex(-0.06, rng.uniform(0.56, 0.62)), complex(1.06, rng.uniform(0.5, 0.56))
    z = start + (way[:, 0] + 1j * way[:, 1]) * (end - start) / complex(*way[-1])
    width = max(38.0, 0.034 * size) * (1 + 0.16 * np.sin(2 * math.pi * (3.3 * s + rng.uniform())))
    line = [place(p.real, p.imag) for p in z]
    reaches = [LineString(line[i : i + 2]).buffer(width[i] / 2) for i in range(len(line) - 1)]
    smooth: BaseGeometry = unary_union(reaches).buffer(6).buffer(-6)
    return smooth


def make_plan(size: float, seed: int) -> Plan:
    """Lay out the landscape.

    Args:
        size: side of the area (metres), 320 or more.
        seed: decides the shapes and how the composition is mirrored.
    """
    rng = stream(seed, "plan")
    place = _placement(size, rng)
    area = box(0, 0, size, size)

    def jitter(u: float, v: float) -> tuple[float, float]:
        return place(u + rng.uniform(-0.02, 0.02), v + rng.uniform(-0.02, 0.02))

    lake = _blob(*jitter(0.2, 0.84), max(0.075 * size, 32.0), rng, 0.35)
    water = unary_union([_river(size, place, rng), lake])
    centre = jitter(0.7, 0.23)
    roads = (
        _curve(
            [
                place(-0.05, 0.42),
                jitter(0.2, 0.4),
                jitter(0.45, 0.36),
                centre,
                jitter(0.85, 0.2),
                place(1.05, 0.1),
            ]
        ),
        _curve([centre, jitter(0.7, 0.42), jitter(0.62, 0.6), jitter(0.6, 0.8), place(0.52, 1.05)]),
    )
    asphalt = unary_union([road.buffer(3.5) for road in roads])
    town = max(
        polygons(_blob(*centre, 0.18 * size, rng, 0.3).difference(water.buffer(18))), key=lambda p: p.area
    )

    # Open land: first large blocks with tracks between them, then parcels without; both with straight cuts.
    land = area.difference(unary_union([water.buffer(9), asphalt.buffer(2.5), town.buffer(3)]))
    target = min(max(0.013 * size * size, 4000.0), 26000.0)
    blocks = [
        b for part in polygons(land, 600) for b in split(part, 7 * target, rng, gap=5.0, max_aspect=2.0)
    ]
    tracks = land.difference(unary_union(blocks).buffer(0.6, join_style="mitre"))
    parcels = [p for b in blocks for p in split(b, target, rng, max_aspect=4.0)]
    hedges = tuple(
        LineString([corners[i], corners[i + 1]])
        for corners in (list(p.minimum_rotated_rectangle.exterior.coords) for p in parcels)
        for i in (int(rng.integers(0, 4)),)
        if rng.random() < 0.22
    )
    inner = tuple(p for parcel in parcels for p in polygons(parcel.buffer(-1.1, join_style="mitre"), 500))
    return Plan(size, place, water, roads, tracks, town, inner, hedges)
