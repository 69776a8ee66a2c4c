"""The landscape as rasters at the finest pixel: what covers each pixel, how high, how bright.

Shapes: H, W = rows and columns at the HR pixel size. Coordinates are local metres (see plan.py).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rasterio import Affine
from rasterio.features import rasterize
from shapely import distance, points, unary_union
from shapely.geometry.base import BaseGeometry

from skysense.synthetic.fields import deal_crops, field_texture
from skysense.synthetic.legend import CEREAL, FOREST, GRASS, MAIZE, TOWN, WATER
from skysense.synthetic.light import cast_shadows, slopes
from skysense.synthetic.noise import Array, fractal_noise, smooth_noise, smoothstep, stream, upsample
from skysense.synthetic.phenology import Kind
from skysense.synthetic.plan import Plan
from skysense.synthetic.town import Town
from skysense.synthetic.trees import crowns

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Stand:
    """A cover that is alike all over: its kind, its delay in the season (days) and its vigour."""

    kind: Kind
    delay: float = 0.0
    vigour: float = 1.0


@dataclass(frozen=True)
class Surface:
    """The landscape at the finest pixel.

    Attributes:
        gsd: pixel size (metres).
        stands: what `stand` counts.
        stand: index into `stands` (H, W).
        classes: class id (H, W), 0 = belongs to no class (roads in the open, hedges, river banks).
        bare: share of the plants that is missing (H, W).
        tone: brightness from slopes, shadows and texture (H, W), about 1.
        crop: class ids of the plan's parcels (N,).
        parcel: parcel number (H, W), 1..N, 0 where none is seen.
    """

    gsd: float
    stands: list[Stand]
    stand: NDArray[np.int32]
    classes: NDArray[np.uint8]
    bare: Array
    tone: Array
    crop: NDArray[np.uint8]
    parcel: NDArray[np.int32]


def burn(shapes: Iterable[tuple[BaseGeometry, int]], shape: tuple[int, int], gsd: float) -> NDArray[np.int32]:
    """Rasterise (geometry, value) pairs by pixel centres; 0 elsewhere, later shapes on top."""
    pairs = [(geometry, value) for geometry, value in shapes if not geometry.is_empty]
    if not pairs:
        return np.zeros(shape, np.int32)
    grid: NDArray[np.int32] = rasterize(pairs, shape, transform=Affine(gsd, 0, 0, 0, gsd, 0), dtype="int32")
    return grid


def _forest(plan: Plan, shape: tuple[int, int], gsd: float, seed: int) -> Mask:
    """Two forests with ragged edges: ellipses whose rim is bent by noise."""
    rng = stream(seed, "forest")
    rough = 0.2 * fractal_noise(shape, gsd, 0.16 * plan.size, rng, octaves=5, gain=0.55)
    y, x = ((np.arange(n) + 0.5) * gsd for n in shape)
    score = np.full(shape, -1.0, np.float32)
    for u, v, along_u, along_v in ((0.2, 0.12, 0.34, 0.23), (0.95, 0.9, 0.24, 0.2)):
        (cx, cy), (rx, ry) = plan.place(u, v), plan.place(u + along_u, v + along_v)
        far = np.hypot((x[None, :] - cx) / (rx - cx), (y[:, None] - cy) / (ry - cy))
        score = np.maximum(score, 1 - far)
    return score + rough > 0


def _shore_distance(plan: Plan, shape: tuple[int, int], gsd: float, step: int = 4) -> Array:
    """Distance (H, W) to the nearest shore in metres, on either side of it."""
    y, x = ((np.arange(n // step) + 0.5) * gsd * step for n in shape)
    xx, yy = np.meshgrid(x, y)
    return upsample(distance(points(xx, yy), plan.water.boundary).astype(np.float32), step)


def make_surface(plan: Plan, town: Town, gsd: float, seed: int) -> Surface:
    """Rasterise the plan and grow its trees.

    Args:
        plan: lines and polygons.
        town: streets and houses of the plan's town.
        gsd: pixel size (metres); the side of the area is a multiple of four of it.
        seed: decides textures, stands and trees.
    """
    rng = stream(seed, "surface")
    side = round(plan.size / gsd)
    shape = (side, side)

    def mask(*geometries: BaseGeometry) -> Mask:
        return burn(((g, 1) for g in geometries), shape, gsd) > 0

    roads = unary_union([road.buffer(3.5) for road in plan.roads])
    asphalt, wayside = mask(roads), mask(roads.buffer(7))
    water, in_town = mask(plan.water), mask(plan.town)
    bank = mask(plan.water.buffer(9)) & ~water
    bank |= mask(plan.water.buffer(20)) & ~water & (fractal_noise(shape, gsd, 90, rng, octaves=3) > 0.9)
    forest = _forest(plan, shape, gsd, seed) & ~water & ~wayside & ~mask(plan.town.buffer(12))
    tracks = mask(plan.tracks) & ~water & ~in_town & ~forest
    parcel = burn(((p, i + 1) for i, p in enumerate(plan.parcels)), shape, gsd)
    parcel[forest | wayside & asphalt | water | in_town] = 0

    # Crops by the land that is left of each parcel; meadows first along the river.
    visible = np.bincount(parcel.ravel(), minlength=len(plan.parcels) + 1)[1:]
    wet = -np.array([p.distance(plan.water) for p in plan.parcels]) / plan.size + rng.uniform(
        0, 0.3, len(plan.parcels)
    )
    crop = deal_crops(visible, wet, rng)

    stands = [Stand("verge"), Stand("water"), Stand("asphalt"), Stand("gravel"), Stand("lawn"), Stand("yard")]
    verge, river, road, gravel, lawn, yard = range(6)
    first_parcel = len(stands)
    kinds: dict[int, Kind] = {CEREAL: "cereal", MAIZE: "maize", GRASS: "grass"}
    spread = {CEREAL: 4.0, MAIZE: 6.0, GRASS: 9.0}
    stands += [Stand(kinds[int(c)], rng.normal(0, spread[int(c)]), rng.uniform(0.86, 1.04)) for c in crop]

    stand = np.where(parcel > 0, parcel + first_parcel - 1, verge).astype(np.int32)
    classes = np.concatenate([[0], crop])[parcel].astype(np.uint8)
    tone, bare = field_texture(parcel, list(plan.parcels), crop, gsd, seed)
    fine = smooth_noise(shape, gsd, max(2.5, 1.5 * gsd), rng)
    tone = np.where(parcel > 0, tone, 1 + 0.06 * fine).astype(np.float32)

    stand[tracks] = gravel
    classes[in_town] = TOWN
    stand[in_town] = road
    stand[in_town & mask(*town.blocks)] = lawn
    paved = mask(*town.yards) & in_town & (fractal_noise(shape, gsd, 16, rng, octaves=2) > -0.35)
    stand[paved] = yard
    stand[water], classes[water] = river, WATER
    stand[asphalt] = road
    classes[asphalt & ~in_town] = 0
    classes[forest] = FOREST
    shore = _shore_distance(plan, shape, gsd)
    depth = smoothstep(shore / 16)
    wet_tone = 1.3 - 0.35 * depth + 0.035 * fractal_noise(shape, gsd, 60, rng, octaves=5, gain=0.6)
    tone = np.where(stand == river, wet_tone, np.where(stand == road, 1 + 0.03 * fine, tone)).astype(
        np.float32
    )
    bare = np.where(stand == river, 0.16 * (1 - depth), bare).astype(np.float32)

    height = np.zeros(shape, np.float32)
    house = burn(((h.outline, i + 1) for i, h in enumerate(town.houses)), shape, gsd)
    _add_houses(town, house, stand, stands, height, tone, gsd, rng)
    trees_allowed = ~water & ~asphalt & (house == 0) & (stand != road)
    thicket = smoothstep(0.5 + 0.9 * fractal_noise(shape, gsd, 60, rng, octaves=2))
    clearing = smoothstep((fractal_noise(shape, gsd, 70, rng, octaves=3) - 1.9) / 0.3)
    hedge = mask(*(h.buffer(2.2) for h in plan.hedges)) & ~tracks & ~in_town
    density = (
        np.select(
            [forest, bank, hedge, stand == lawn, stand == yard],
            [0.97 - 0.6 * clearing, 0.75 * thicket, 0.75, 0.1 + 0.25 * (mask(*_parks(town))), 0.03],
        )
        * trees_allowed
    )
    mixture = fractal_noise(shape, gsd, 130, rng, octaves=3)
    canopy, tint, needles = crowns(
        density.astype(np.float32),
        forest & (mixture > 0.35),
        gsd,
        stream(seed, "trees"),
        spacing=6.8,
        height=21.0,
    )
    canopy[(house > 0) | (water & (canopy < 9))] = 0
    leafy = canopy > 0
    first_tree = len(stands)
    stands += [Stand("conifer", 0, 1.0), Stand("deciduous", 0, 0.55)]
    stands += [Stand("deciduous", delay, vigour) for delay, vigour in ((-6, 1.0), (0, 0.94), (7, 0.88))]
    variety = first_tree + 2 + np.digitize(tint + 0.8 * mixture, [-0.6, 0.6])
    stand[forest] = first_tree + 1  # the floor, where no crown closes
    stand[leafy] = np.where(needles, first_tree, variety)[leafy]
    classes[leafy & ~forest & ~in_town] = 0
    parcel[leafy] = 0
    bare[leafy | forest] = 0

    leaf_tone = 1 + 0.15 * tint + 0.1 * fine + 0.06 * mixture
    tone = np.where(leafy, leaf_tone, tone).astype(np.float32)
    height = np.maximum(height, canopy)
    tone *= slopes(height, gsd)
    tone *= np.where(cast_shadows(height, gsd), np.where(leafy, 0.62, 0.42), 1).astype(np.float32)
    return Surface(gsd, stands, stand, classes, bare, np.clip(tone, 0.2, 1.9), crop, parcel)


def _parks(town: Town) -> list[BaseGeometry]:
    """Blocks of the town without a house."""
    built = unary_union([h.outline for h in town.houses])
    return [b for b in town.blocks if not b.intersects(built)]


def _add_houses(
    town: Town,
    house: NDArray[np.int32],
    stand: NDArray[np.int32],
    stands: list[Stand],
    height: Array,
    tone: Array,
    gsd: float,
    rng: np.random.Generator,
) -> None:
    """Put roofs on `stand`, `height` and `tone`, in place: gables rise to the ridge, halls are flat."""
    if not town.houses:
        return
    roofs = sorted({h.roof for h in town.houses})
    first = len(stands)
    stands += [Stand(roof) for roof in roofs]
    row, col = np.nonzero(house)
    which = house[row, col] - 1
    table = np.array([(h.x, h.y, h.ridge, h.half_width, h.eaves, h.pitch) for h in town.houses])
    x, y, ridge, half, eaves, pitch = table[which].T
    across = np.abs(((row + 0.5) * gsd - y) * np.cos(ridge) - ((col + 0.5) * gsd - x) * np.sin(ridge))
    height[row, col] = eaves + np.maximum(half - across, 0) * pitch
    stand[row, col] = np.array([first + roofs.index(h.roof) for h in town.houses])[which]
    tone[row, col] = rng.uniform(0.82, 1.18, len(town.houses))[which]
