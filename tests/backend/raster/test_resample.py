import numpy as np
import pyproj
import pytest
from affine import Affine
from skysense.raster.grid import Grid, Lattice, Window
from skysense.raster.resample import OUTSIDE, Sampler

UTM = Lattice("EPSG:32631", 10.0)


def sampled(sampler, values, window, state=None):
    """A window of the lattice, reading of the source only what is asked for."""
    spots = sampler.spots(window)
    rows, cols = sampler.source.window.slices(spots.part)
    state = np.zeros(values.shape[1:], np.uint8) if state is None else state
    return spots.sample(values[:, rows, cols], state[rows, cols])


def test_twenty_metre_pixels_are_interpolated_to_ten():
    source = Grid(UTM.crs, Affine(20, 0, 0, 0, -20, 40), 2, 2)
    values = np.array([[[0.0, 4.0], [8.0, 12.0]]], np.float32)
    got, state = sampled(Sampler.between(source, UTM), values, Window(-4, 0, 4, 4))
    expected = np.add.outer(np.array([0, 2, 6, 8]), np.array([0, 1, 3, 4]))
    np.testing.assert_allclose(got[0], expected, atol=1e-6)
    assert not state.any()


def test_a_half_pixel_shift_is_interpolated():
    source = Grid(UTM.crs, Affine(10, 0, 5, 0, -10, 30), 4, 3)
    values = np.tile(np.arange(4, dtype=np.float32), (1, 3, 1))
    got, state = sampled(Sampler.between(source, UTM), values, Window(-3, 1, 3, 3))
    np.testing.assert_allclose(got[0], np.tile([0.5, 1.5, 2.5], (3, 1)), atol=1e-6)
    assert not state.any()


@pytest.mark.parametrize("ratio", [2, 4])
def test_finer_pixels_are_averaged(ratio):
    side = 10 / ratio
    source = Grid(UTM.crs, Affine(side, 0, 0, 0, -side, 30), 3 * ratio, 3 * ratio)
    values = np.random.default_rng(0).random((2, 3 * ratio, 3 * ratio), np.float32)
    got, _ = sampled(Sampler.between(source, UTM), values, Window(-3, 0, 3, 3))
    expected = values.reshape(2, 3, ratio, 3, ratio).mean((2, 4))
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_an_average_needs_half_its_pixels():
    source = Grid(UTM.crs, Affine(5, 0, 0, 0, -5, 10), 4, 2)
    values = np.array([[[1, 9, 1, 9], [3, 9, 9, 9]]], np.float32)
    state = np.array([[0, 1, 0, 1], [0, 1, 1, 1]], np.uint8)
    got, states = sampled(Sampler.between(source, UTM), values, Window(-1, 0, 1, 2), state)
    assert got.tolist() == [[[2.0, 0.0]]] and states.tolist() == [[0, 1]]


def test_unusable_neighbours_do_not_count():
    source = Grid(UTM.crs, Affine(20, 0, 0, 0, -20, 40), 2, 2)
    values = np.array([[[5.0, 1e30], [5.0, 1e30]]], np.float32)
    state = np.array([[0, 2], [0, 2]], np.uint8)
    got, states = sampled(Sampler.between(source, UTM), values, Window(-4, 0, 4, 4), state)
    np.testing.assert_allclose(got[0], np.tile([5.0, 5.0, 0.0, 0.0], (4, 1)), rtol=1e-6)
    assert (states == [0, 0, 2, 2]).all()


def test_beyond_the_source_is_outside():
    source = Grid(UTM.crs, Affine(20, 0, 0, 0, -20, 40), 2, 2)
    got, states = sampled(Sampler.between(source, UTM), np.ones((1, 2, 2), np.float32), Window(-5, -1, 6, 6))
    inside = np.zeros((6, 6), bool)
    inside[1:5, 1:5] = True
    assert (states[~inside] == OUTSIDE).all() and not states[inside].any()
    assert (got[0] == inside).all()
    assert Sampler.between(source, UTM).spots(Window(100, 100, 4, 4)) is None


def test_across_coordinate_systems_a_plane_stays_a_plane():
    """A source that holds its own coordinates gives, on the lattice, the coordinates of the lattice's pixels."""
    side = 1e-4
    source = Grid("EPSG:4326", Affine(side, 0, 2.79, 0, -side, 42.36), 120, 100)
    lon = (np.arange(120) + 0.5) * side
    lat = -(np.arange(100) + 0.5) * side
    values = np.stack(np.broadcast_arrays(lon[None], lat[:, None])).astype(np.float32)
    window = UTM.window_of(
        pyproj.Transformer.from_crs(4326, 32631, always_xy=True).transform_bounds(*source.bounds)
    )
    got, state = sampled(Sampler.between(source, UTM), values, window)
    inner = state == 0
    rows, cols = np.indices(state.shape)
    x, y = (window.col + cols + 0.5) * 10, -(window.row + rows + 0.5) * 10
    true_lon, true_lat = pyproj.Transformer.from_crs(32631, 4326, always_xy=True).transform(x, y)
    assert inner.mean() > 0.9
    # The outermost half pixel carries the edge's values on.
    clear = inner & (true_lon > 2.7901) & (true_lon < 2.79 + 119 * side) & (true_lat < 42.3599)
    clear &= true_lat > 42.36 - 99 * side
    error = np.hypot((got[0] - (true_lon - 2.79))[clear], (got[1] - (true_lat - 42.36))[clear]) / side
    assert error.max() < 1e-3


@pytest.mark.parametrize(
    "source",
    [
        Grid("EPSG:4326", Affine(1e-4, 0, 2.79, 0, -1e-4, 42.36), 300, 260),
        Grid("EPSG:4326", Affine(3e-5, 0, 2.79, 0, -3e-5, 42.36), 1000, 900),
        Grid("EPSG:32631", Affine(20, 0, 482663, 0, -20, 4690013), 150, 140),
        Grid("EPSG:32631", Affine(3, 0, 482663, 0, -3, 4690013), 1000, 900),
        Grid("EPSG:32631", Affine(12, 5, 482663, 4, -12, 4690013), 200, 190),
    ],
    ids=["geographic", "geographic-fine", "coarse", "fine", "rotated"],
)
def test_a_value_does_not_depend_on_the_window(source):
    """To the bit, with holes in the source."""
    random = np.random.default_rng(1)
    values = random.random((3, *source.shape), np.float32)
    state = (random.random(source.shape) < 0.1).astype(np.uint8)
    sampler = Sampler.between(source, UTM)
    whole_window = Window(-468990, 48270, 130, 140)
    whole, whole_state = sampled(sampler, values, whole_window, state)
    assert (whole_state == 0).mean() > 0.3
    for window in (
        Window(-468970, 48300, 40, 50),
        Window(-468955, 48333, 1, 77),
        Window(-468931, 48291, 37, 1),
    ):
        part, part_state = sampled(sampler, values, window, state)
        where = whole_window.slices(window)
        assert np.array_equal(part, whole[:, *where]) and np.array_equal(part_state, whole_state[where])


def test_spots_serve_one_raster_after_another():
    """Other bands and other holes, with the same places."""
    source = Grid("EPSG:3035", Affine(20, 0, 4_000_000, 0, -20, 3_000_000), 60, 50)
    x, y = pyproj.Transformer.from_crs("EPSG:3035", UTM.crs, always_xy=True).transform(4_000_500, 2_999_500)
    sampler = Sampler.between(source, UTM)
    window = Window(-int(y // 10), int(x // 10), 20, 30)
    random = np.random.default_rng(2)
    spots = sampler.spots(window)
    rows, cols = source.window.slices(spots.part)
    for bands, holes in ((2, 0.0), (1, 0.2), (3, 0.0)):
        values = random.random((bands, *source.shape), np.float32)
        state = (random.random(source.shape) < holes).astype(np.uint8)
        got, states = spots.sample(values[:, rows, cols], state[rows, cols])
        fresh, fresh_states = sampled(sampler, values, window, state)
        assert np.array_equal(got, fresh) and np.array_equal(states, fresh_states)
        assert got.shape == (bands, 20, 30) and got.std() > 0.1 and states.any() == bool(holes)


def test_nearest_takes_the_pixel_that_holds_the_centre():
    source = Grid(UTM.crs, Affine(20, 0, 0, 0, -20, 40), 2, 2)
    sampler = Sampler.between(source, UTM)
    mask = np.array([[0, 7], [9, 0]], np.uint8)
    spots = sampler.spots(Window(-5, 0, 5, 4))
    assert spots.part == source.window
    got = spots.nearest(mask)
    assert got.tolist() == [[0] * 4, [0, 0, 7, 7], [0, 0, 7, 7], [9, 9, 0, 0], [9, 9, 0, 0]]
