"""A town: streets, lots, and houses with gabled roofs."""

import math
from dataclasses import dataclass

import numpy as np
from shapely import LineString, Polygon, STRtree, affinity, box, unary_union
from shapely.geometry.base import BaseGeometry

from skysense.synthetic.noise import stream
from skysense.synthetic.parcels import long_axis, polygons, split
from skysense.synthetic.phenology import Kind


@dataclass(frozen=True)
class House:
    """A rectangular building in local metres.

    Attributes:
        outline: the walls.
        x, y: the centre.
        ridge: direction of the ridge (radians, x towards y).
        half_width: from the ridge to the eaves (metres).
        eaves: height of the eaves (metres).
        pitch: metres that the roof rises per metre towards the ridge.
        roof: what the roof is made of.
    """

    outline: Polygon
    x: float
    y: float
    ridge: float
    half_width: float
    eaves: float
    pitch: float
    roof: Kind


@dataclass(frozen=True)
class Town:
    """Blocks between the streets, paved yards among them, and the houses."""

    blocks: tuple[Polygon, ...]
    yards: tuple[Polygon, ...]
    houses: tuple[House, ...]


def _house(lot: Polygon, within: BaseGeometry, rng: np.random.Generator, *, hall: bool) -> House | None:
    """A building on a lot, turned like the lot; None where none fits."""
    angle, length, width = long_axis(lot)
    if hall:
        long, wide = 0.78 * length, 0.62 * width
    else:
        long = min(rng.uniform(0.45, 0.72) * length, 19.0)
        wide = min(rng.uniform(0.42, 0.6) * width, 11.5)
    x, y = lot.centroid.x + rng.uniform(-1.5, 1.5), lot.centroid.y + rng.uniform(-1.5, 1.5)
    if not hall and rng.random() < 0.35:  # ridge across the lot
        long, wide, angle = (
            max(long, wide),
            min(long, wide),
            angle + (math.pi / 2 if length < 1.4 * width else 0.0),
        )
    for smaller in (1.0, 0.8, 0.65):
        dx, dy = smaller * long / 2, smaller * wide / 2
        outline = affinity.rotate(box(x - dx, y - dy, x + dx, y + dy), angle, (x, y), use_radians=True)
        if dy >= 2.8 and within.contains(outline):
            break
        x, y = lot.centroid.x, lot.centroid.y
    else:
        return None
    if hall:
        flat: Kind = ("bright roof", "grey roof", "grey roof", "dark roof")[int(rng.integers(0, 4))]
        return House(outline, x, y, angle, dy, rng.uniform(7, 11), 0.02, flat)
    kinds: tuple[Kind, ...] = ("red roof", "red roof", "red roof", "red roof", "dark roof", "grey roof")
    return House(
        outline,
        x,
        y,
        angle,
        dy,
        rng.uniform(4, 6.5),
        rng.uniform(0.55, 0.85),
        kinds[int(rng.integers(0, len(kinds)))],
    )


def make_town(area: Polygon, roads: tuple[LineString, ...], seed: int, size: float) -> Town:
    """Fill `area` (local metres) with streets and houses.

    Args:
        area: the built-up area.
        roads: centre lines of the roads through the town.
        seed: decides every cut and house.
        size: side of the landscape; small landscapes get small blocks.
    """
    rng = stream(seed, "town")
    block_area = float(np.clip(0.006 * size * size, 2500, 8000))
    open_land = area.difference(unary_union([road.buffer(5) for road in roads]))
    blocks = [
        b for part in polygons(open_land, 300) for b in split(part, block_area, rng, gap=6.5, max_aspect=2.6)
    ]
    middle = area.centroid
    reach = math.sqrt(area.area / math.pi)
    yards: list[Polygon] = []
    houses: list[House] = []
    for block in blocks:
        far = block.centroid.distance(middle) / reach
        inner = block.buffer(-2.0)
        use = rng.random()
        if far > 0.55 and use < 0.16:
            yards.append(block)
            candidates = [_house(lot, inner, rng, hall=True) for lot in split(block, 2600, rng)]
        elif far > 0.35 and use < 0.22:
            continue  # a park
        else:
            if far < 0.4:
                yards.append(block)
            lots = split(block, 330 if far < 0.45 else 520, rng, max_aspect=2.0)
            candidates = [_house(lot, inner, rng, hall=False) for lot in lots]
        houses += [house for house in candidates if house is not None]
    return Town(tuple(blocks), tuple(yards), tuple(_apart(houses)))


def _apart(houses: list[House]) -> list[House]:
    """Drop the houses that stand within two metres of an earlier one."""
    tree = STRtree([house.outline for house in houses])
    kept: list[House] = []
    taken: set[int] = set()
    for i, house in enumerate(houses):
        near = {int(j) for j in tree.query(house.outline.buffer(2.0), predicate="intersects")}
        if not near & taken:
            taken.add(i)
            kept.append(house)
    return kept
