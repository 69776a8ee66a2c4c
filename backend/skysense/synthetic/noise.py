"""Smooth random fields and small resampling helpers that the synthetic landscape is made with.

Shapes: H, W = rows, columns. Lengths are metres. Everything is a function of its arguments and the generator.
"""

import zlib

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


def stream(seed: int, name: str) -> np.random.Generator:
    """An independent random stream per concept: a change to one leaves the others' pixels alone."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def _spline_weights(t: NDArray[np.floating]) -> tuple[NDArray[np.int64], Array]:
    """Lattice index (N,) and four cubic B-spline weights (4, N) at positions `t` (N,), in lattice cells."""
    k = np.floor(t).astype(np.int64)
    f = t - k
    w = np.stack([(1 - f) ** 3, 3 * f**3 - 6 * f**2 + 4, -3 * f**3 + 3 * f**2 + 3 * f + 1, f**3]) / 6
    return k, w.astype(np.float32)


def smooth_noise(shape: tuple[int, int], gsd: float, cell: float, rng: np.random.Generator) -> Array:
    """A field (H, W) of mean 0 and standard deviation about 1 whose features are about `cell` metres wide."""
    (ky, wy), (kx, wx) = (_spline_weights((np.arange(n) + 0.5) * gsd / cell) for n in shape)
    lattice = rng.standard_normal((int(ky[-1]) + 4, int(kx[-1]) + 4)).astype(np.float32)
    rows = np.zeros((shape[0], lattice.shape[1]), np.float32)
    for j in range(4):
        rows += wy[j][:, None] * lattice[ky + j]
    field = np.zeros(shape, np.float32)
    for j in range(4):
        field += wx[j][None, :] * rows[:, kx + j]
    return field / np.float32(0.48)  # the B-spline's average damping of white noise in two dimensions


def fractal_noise(
    shape: tuple[int, int],
    gsd: float,
    cell: float,
    rng: np.random.Generator,
    *,
    octaves: int = 4,
    gain: float = 0.5,
) -> Array:
    """Octaves of `smooth_noise` (H, W), each half as wide and `gain` times as strong; std about 1."""
    field = np.zeros(shape, np.float32)
    power = 0.0
    for octave in range(octaves):
        width = cell / 2**octave
        if octave and width < 1.5 * gsd:
            break
        field += np.float32(gain**octave) * smooth_noise(shape, gsd, width, rng)
        power += gain ** (2 * octave)
    return field / np.float32(np.sqrt(power))


def smoothstep(x: NDArray[np.floating]) -> Array:
    """0 below 0, 1 above 1, smooth between."""
    t: Array = np.clip(x, 0, 1).astype(np.float32)
    return t * t * (3 - 2 * t)


def block_mean(field: NDArray[np.floating], k: int) -> Array:
    """Mean of k x k blocks of the last two axes: (..., H, W) -> (..., H / k, W / k); k divides H and W."""
    *lead, h, w = field.shape
    mean: Array = (
        field.reshape(*lead, h // k, k, w // k, k).mean(axis=(-3, -1), dtype=np.float64).astype(np.float32)
    )
    return mean


def upsample(field: Array, k: int) -> Array:
    """Bilinear enlargement by an integer factor of the last two axes: (..., H, W) -> (..., H * k, W * k)."""
    for axis in (-2, -1):
        n = field.shape[axis]
        t = np.clip((np.arange(n * k) + 0.5) / k - 0.5, 0, n - 1)
        low = np.minimum(t.astype(np.int64), max(n - 2, 0))
        f = (t - low).astype(np.float32)
        if axis == -2:
            f = f[:, None]
        near, far = np.take(field, low, axis), np.take(field, np.minimum(low + 1, n - 1), axis)
        field = near * (1 - f) + far * f
    return field


def blur(field: Array, centre: float) -> Array:
    """Three-tap blur of the last two axes; `centre` is the weight that stays in the pixel along each axis."""
    side = np.float32((1 - centre) / 2)
    for axis in (-2, -1):
        pad = [(0, 0)] * field.ndim
        pad[axis] = (1, 1)
        p = np.pad(field, pad, mode="edge")
        n = field.shape[axis]
        a, b, c = (np.take(p, np.arange(i, i + n), axis) for i in range(3))
        field = side * (a + c) + np.float32(centre) * b
    return field
