import pytest
from affine import Affine
from skysense.raster.grid import Grid, Lattice, Window


def test_windows_intersect_unite_shift_and_contain():
    a, b = Window(0, 0, 4, 6), Window(2, -3, 5, 5)
    assert a.intersect(b) == Window(2, 0, 2, 2)
    assert a.union(b) == Window(0, -3, 7, 9)
    assert a.shift(-1, 2) == Window(-1, 2, 4, 6)
    assert a.contains(Window(1, 1, 3, 5)) and not a.contains(b)
    assert a.intersect(Window(4, 0, 2, 2)) is None
    assert b.slices(Window(2, 0, 2, 2)) == (slice(0, 2), slice(3, 5))
    assert list(Window(5, 0, 5, 2).strips(2)) == [Window(5, 0, 2, 2), Window(7, 0, 2, 2), Window(9, 0, 1, 2)]


def test_lattice_pixels_count_east_and_south_from_the_phase():
    lattice = Lattice("EPSG:32631", 10.0, 3.0, 7.0)
    grid = lattice.grid(Window(-2, 5, 3, 4))
    assert grid == Grid("EPSG:32631", Affine(10, 0, 53, 0, -10, 27), 4, 3)
    assert lattice.locate(grid) == Window(-2, 5, 3, 4)


@pytest.mark.parametrize(
    ("bounds", "window"),
    [
        ((20, 10, 40, 30), Window(-3, 2, 2, 2)),
        ((20 - 1e-7, 10, 40 + 1e-7, 30), Window(-3, 2, 2, 2)),
        ((19.9, 10, 40.1, 30), Window(-3, 1, 2, 4)),
        ((20, 9.9, 40, 30.1), Window(-4, 2, 4, 2)),
    ],
)
def test_bounds_snap_outwards(bounds, window):
    assert Lattice("EPSG:32631", 10.0).window_of(bounds) == window


def test_a_refined_lattice_divides_each_pixel():
    lattice = Lattice("EPSG:32631", 10.0, 3.0, 7.0)
    fine = lattice.refine(32)
    assert fine.gsd == 0.3125
    coarse, split = lattice.grid(Window(-3, 4, 1, 1)), fine.grid(Window(-96, 128, 32, 32))
    assert coarse.bounds == split.bounds


def test_a_grid_with_rounded_corners_is_found_on_its_lattice():
    grid = Grid("EPSG:25832", Affine(0.2, 0, 428370.0, 0, -0.2, 5862962.2), 304, 304)
    lattice = Lattice.of(grid)
    window = lattice.locate(grid)
    assert window is not None
    again = lattice.grid(window)
    assert again.transform.almost_equals(grid.transform, 1e-6)
    assert lattice.locate(grid.sub(Window(7, 9, 20, 30))) == window.shift(7, 9).intersect(
        Window(window.row + 7, window.col + 9, 20, 30)
    )


@pytest.mark.parametrize(
    "other",
    [
        Grid("EPSG:32632", Affine(10, 0, 500000, 0, -10, 5000000), 5, 5),
        Grid("EPSG:32631", Affine(20, 0, 500000, 0, -20, 5000000), 5, 5),
        Grid("EPSG:32631", Affine(10, 0, 500005, 0, -10, 5000000), 5, 5),
        Grid("EPSG:32631", Affine(10, 0, 500000, 0, 10, 5000000), 5, 5),
        Grid("EPSG:32631", Affine(10, 1, 500000, 1, -10, 5000000), 5, 5),
    ],
)
def test_other_grids_are_not_on_the_lattice(other):
    assert Lattice("EPSG:32631", 10.0).locate(other) is None


def test_grid_geometry():
    grid = Grid("EPSG:4326", Affine(0.002, 0, 2, 0, -0.001, 42), 10, 20)
    assert grid.bounds == pytest.approx((2, 41.98, 2.02, 42))
    assert grid.gsd == pytest.approx(2**0.5 * 0.001)
    assert not grid.square and grid.north_up
    assert grid.sub(Window(2, 1, 3, 4)).transform.almost_equals(
        Affine(0.002, 0, 2.002, 0, -0.001, 41.998), 1e-12
    )
    assert grid.shape == (20, 10)
