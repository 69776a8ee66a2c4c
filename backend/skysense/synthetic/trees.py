"""Tree crowns: a height field of domes and cones on a jittered grid."""

import numpy as np
from numpy.typing import NDArray

from skysense.synthetic.noise import Array


def crowns(
    density: Array,
    conifer: NDArray[np.bool_],
    gsd: float,
    rng: np.random.Generator,
    *,
    spacing: float,
    height: float,
) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Grow trees where `density` allows them.

    Args:
        density: (H, W) probability 0..1 that a place on the planting grid holds a tree.
        conifer: (H, W) where trees are cones with dark needles instead of broad domes.
        gsd: pixel size (metres).
        spacing: mean distance between stems (metres); crowns reach at most as far.
        height: height of the tallest trees (metres).

    Returns:
        Canopy height (H, W) in metres, 0 without a tree; the tint (H, W) of the crown on top, mean 0 and
        standard deviation 1; whether that crown is a conifer's (H, W).
    """
    h, w = density.shape
    rows, cols = int(np.ceil(h * gsd / spacing)) + 2, int(np.ceil(w * gsd / spacing)) + 2
    # Stems, in metres, on a grid that starts one cell before the area.
    y = (np.arange(rows)[:, None] - 1 + rng.uniform(0.05, 0.95, (rows, cols))) * spacing
    x = (np.arange(cols)[None, :] - 1 + rng.uniform(0.05, 0.95, (rows, cols))) * spacing
    radius = spacing * rng.uniform(0.45, 0.98, (rows, cols))
    tall = height * rng.uniform(0.65, 1.0, (rows, cols))
    tint = rng.standard_normal((rows, cols)).astype(np.float32)
    at = np.clip((y / gsd).astype(int), 0, h - 1), np.clip((x / gsd).astype(int), 0, w - 1)
    stands = rng.random((rows, cols)) < density[at]
    cone = conifer[at]

    py, px = (np.arange(h) + 0.5) * gsd, (np.arange(w) + 0.5) * gsd
    cell_y, cell_x = (py / spacing).astype(int) + 1, (px / spacing).astype(int) + 1
    top = np.zeros((h, w), np.float32)
    colour = np.zeros((h, w), np.float32)
    needles = np.zeros((h, w), bool)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            cell = np.ix_(cell_y + dy, cell_x + dx)
            distance = np.hypot(py[:, None] - y[cell], px[None, :] - x[cell]) / radius[cell]
            inside = np.clip(1 - distance, 0, 1)
            # A cone falls off evenly; a dome stays high until near its rim.
            shape = np.where(cone[cell], inside, np.sqrt(1 - (1 - inside) ** 2))
            crown = np.where(stands[cell] & (inside > 0), tall[cell] * (0.45 + 0.55 * shape), 0).astype(
                np.float32
            )
            higher = crown > top
            top = np.where(higher, crown, top)
            colour = np.where(higher, tint[cell], colour)
            needles = np.where(higher, cone[cell], needles)
    return top, colour, needles
