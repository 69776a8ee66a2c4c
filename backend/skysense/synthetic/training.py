"""Training polygons as a person would digitise them, and the mask of the pixels that are fair to score on."""

import math

import numpy as np
from numpy.typing import NDArray
from shapely import Point, Polygon, box, distance, unary_union

from skysense.errors import InputError
from skysense.synthetic.legend import CLASSES
from skysense.synthetic.surface import burn

#: Fewest polygons of a class; a larger landscape gets more.
FEWEST = 4


def _outline(x: float, y: float, radius: float, rng: np.random.Generator) -> Polygon:
    """A hand-drawn looking ring of five to eight corners around (x, y)."""
    corners = int(rng.integers(5, 9))
    angle = (np.arange(corners) + rng.uniform(-0.3, 0.3, corners)) * 2 * math.pi / corners
    r = radius * rng.uniform(0.75, 1.15, corners)
    squeeze = rng.uniform(0.7, 1.0)
    return Polygon(np.stack([x + r * np.cos(angle), y + squeeze * r * np.sin(angle)], 1))


def _inside(truth: NDArray[np.uint8], value: int, margin: int) -> NDArray[np.bool_]:
    """Pixels of a class whose whole neighbourhood within `margin` pixels is of that class too."""
    same = np.pad(truth == value, margin)
    h, w = truth.shape
    keep = np.ones((h, w), bool)
    for dy in range(2 * margin + 1):
        for dx in range(2 * margin + 1):
            keep &= same[dy : dy + h, dx : dx + w]
    return keep


def _order(
    rows: NDArray[np.int64],
    cols: NDArray[np.int64],
    parcels: NDArray[np.int32],
    spread: bool,
    rng: np.random.Generator,
) -> list[int]:
    """An order to try candidates in: far from those before and in new parcels, or else close together."""
    pool = rng.permutation(len(rows))[:400]
    r, c, p = rows[pool].astype(float), cols[pool].astype(float), parcels[pool]
    nearest = np.full(len(pool), np.inf)
    used = np.zeros(len(pool))
    order: list[int] = []
    pick = 0
    for _ in range(min(len(pool), 60)):
        order.append(int(pool[pick]))
        nearest = np.minimum(nearest, np.hypot(r - r[pick], c - c[pick]))
        used += (p == p[pick]) & (p > 0)
        # Half of the spread is chance: people do not place polygons as far apart as they can.
        score = nearest * rng.uniform(0.3, 1.0, len(pool)) / (1 + 2 * used) if spread else -nearest
        score[nearest == 0] = -np.inf
        pick = int(np.argmax(score))
    return order


def draw_training(
    truth: NDArray[np.uint8], parcel: NDArray[np.int32], rng: np.random.Generator
) -> list[tuple[int, Polygon]]:
    """Digitise small polygons well inside every class.

    Args:
        truth: class ids (h, w) of 10 m pixels, 0 = unlabelled.
        parcel: parcel number (h, w), 0 = none; polygons prefer different parcels.
        rng: decides places and shapes.

    Returns:
        Class id and polygon in local metres, at least four of each class of the legend, ordered by class.

    Raises:
        InputError: the area is too small to hold four polygons of a class.
    """
    drawn: list[tuple[int, Polygon]] = []
    for value in CLASSES:
        total = int((truth == value).sum())
        wanted = FEWEST if total < 900 else 6
        radius = float(np.clip(math.sqrt(total) * 0.75, 8.0, 19.0))
        found: list[Polygon] = []
        # Away from borders first; in a narrow river or a small field that leaves little, so anywhere then.
        for margin in (1, 0):
            rows, cols = np.nonzero(_inside(truth, value, margin))
            if len(found) >= wanted or not len(rows):
                continue
            for i in _order(rows, cols, parcel[rows, cols], total > 60 * wanted, rng):
                x, y = 10 * (cols[i] + rng.uniform(0.35, 0.65)), 10 * (rows[i] + rng.uniform(0.35, 0.65))
                rings = [_outline(x, y, radius * s * rng.uniform(0.8, 1.0), rng) for s in (1.0, 0.75, 0.5)]
                fitting = [
                    r for r in rings if _fits(r, truth, value) and not any(r.distance(f) < 4 for f in found)
                ]
                if len(found) < wanted and fitting:
                    found.append(fitting[0])
        if len(found) < FEWEST:
            raise InputError(
                f"the landscape is too small for {FEWEST} training polygons of {CLASSES[value][0]}",
                "size_m",
                "Make it larger or take another seed",
            )
        drawn += [(value, ring) for ring in found]
    return drawn


def _fits(ring: Polygon, truth: NDArray[np.uint8], value: int) -> bool:
    """Whether a polygon touches pixels of its class only and holds the centre of one."""
    west, north, east, south = (math.floor(v / 10) for v in ring.bounds)
    if west < 0 or north < 0 or east >= truth.shape[1] or south >= truth.shape[0]:
        return False
    touched = [(row, col) for row in range(north, south + 1) for col in range(west, east + 1)]
    touched = [(r, c) for r, c in touched if ring.intersects(box(10 * c, 10 * r, 10 * c + 10, 10 * r + 10))]
    holds = any(ring.contains(Point(10 * c + 5, 10 * r + 5)) for r, c in touched)
    return holds and all(truth[r, c] == value for r, c in touched)


def evaluation_mask(truth: NDArray[np.uint8], training: list[tuple[int, Polygon]]) -> NDArray[np.uint8]:
    """1 where the truth is known and any training polygon is more than two pixels (20 m) away."""
    rows, cols = np.nonzero(truth)
    pixels = box(10.0 * cols, 10.0 * rows, 10.0 * cols + 10, 10.0 * rows + 10)
    mask = np.zeros(truth.shape, np.uint8)
    mask[rows, cols] = distance(pixels, unary_union([ring for _, ring in training])) > 20
    # A pixel that a polygon crosses without its centre counts from the pixel, not from the polygon's rim.
    touched = burn([(ring, 1) for _, ring in training], truth.shape, 10.0)
    for row, col in zip(*np.nonzero(touched), strict=True):
        mask[max(row - 2, 0) : row + 3, max(col - 2, 0) : col + 3] = 0
    return mask
