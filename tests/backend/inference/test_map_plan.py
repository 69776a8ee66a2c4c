from pathlib import Path

from skysense.inference.plan import plan_map
from skysense.raster.chunks import value_path
from skysense.raster.grid import Lattice, Window
from skysense.raster.layout import Layout
from skysense.raster.tiles import Tiling, chunk_size

LATTICE = Lattice("EPSG:32632", 10.0)


def tiling(area: Window, side: int = 64, margin: int = 4) -> Tiling:
    return Tiling(Layout(("s2",), LATTICE, 0, area, LATTICE.grid(area), True), side, margin)


def covered_once(plan, area: Window) -> None:
    seen = {}
    for chunk in plan.chunks:
        for row in range(chunk.window.row, chunk.window.row + chunk.window.height):
            for col in range(chunk.window.col, chunk.window.col + chunk.window.width):
                seen[row, col] = seen.get((row, col), 0) + 1
    assert len(seen) == area.height * area.width and set(seen.values()) == {1}


def test_every_pixel_is_in_one_chunk_and_cuts_lie_two_pixels_before_the_tiles_edges():
    area = Window(30, 50, 130, 150)
    tiles = tiling(area)
    plan = plan_map(tiles.layout, tiles)
    assert plan.size == tiles.core == 56
    covered_once(plan, area)
    rows = sorted({chunk.window.row + area.row for chunk in plan.chunks})
    cols = sorted({chunk.window.col + area.col for chunk in plan.chunks})
    assert rows == [30, 54, 110] and cols == [50, 54, 110, 166]
    assert [chunk.window.row for chunk in plan.chunks] == sorted(chunk.window.row for chunk in plan.chunks)


def test_values_that_are_not_averaged_are_cut_at_the_tiles_edges():
    tiles = tiling(Window(30, 50, 130, 150))
    plan = plan_map(tiles.layout, tiles, smooth=False)
    assert sorted({chunk.window.row + 30 for chunk in plan.chunks}) == [30, 56, 112]


def test_an_area_smaller_than_a_tile_is_one_chunk():
    tiles = tiling(Window(58, 60, 9, 7))
    (chunk,) = plan_map(tiles.layout, tiles).chunks
    assert chunk.window == Window(0, 0, 9, 7) and chunk.grid == tiles.layout.output


def test_chunks_grow_with_the_map_up_to_eight_tiles():
    sizes = {}
    for side in (500, 900, 2_000, 4_000, 100_000):
        tiles = tiling(Window(0, 0, side, side))
        sizes[side] = chunk_size(tiles) // tiles.core
    assert sizes == {500: 1, 900: 2, 2_000: 4, 4_000: 8, 100_000: 8}


def test_the_chunk_at_the_start_comes_first_and_then_its_neighbours():
    area = Window(0, 0, 560, 560)
    tiles = tiling(area)
    x, y = LATTICE.grid(area).xy(300.0, 200.0)  # column, row
    chunks = plan_map(tiles.layout, tiles, start=(x, y)).chunks
    covered_once(plan_map(tiles.layout, tiles, start=(x, y)), area)
    first = chunks[0].window
    assert first.row <= 200 < first.row + first.height and first.col <= 300 < first.col + first.width
    places = [((c.window.row + 2) // 56, (c.window.col + 2) // 56) for c in chunks]
    beside = [max(abs(row - places[0][0]), abs(col - places[0][1])) for row, col in places]
    assert sorted(beside[:11]) == [0] * 3 + [1] * 8 and min(beside[11:]) == 2


def test_of_the_chunk_at_the_start_comes_first_what_needs_no_other_tiles():
    """Chunk 166..222 x 278..334, whose neighbourhoods reach back over the tiles' edges at 168 and 280."""
    area = Window(56, 112, 560, 560)
    tiles = tiling(area)
    x, y = LATTICE.grid(area).xy(170.0, 112.0)  # in the strip that comes later
    plan = plan_map(tiles.layout, tiles, start=(x, y))
    covered_once(plan, area)
    first, top, left = plan.chunks[:3]
    assert [c.piece for c in plan.chunks] == [True] * 3 + [False] * (len(plan.chunks) - 3)
    assert first.window == Window(114, 170, 52, 52) and len(list(tiles.over(first_reach(area, first)))) == 1
    assert {top.window, left.window} == {Window(110, 166, 4, 56), Window(114, 166, 52, 4)}
    grid = tiles.layout.output
    assert all(chunk.grid == grid.sub(chunk.window) for chunk in plan.chunks)
    # The same map from elsewhere does not take a piece for the chunk.
    other = plan_map(tiles.layout, tiles).chunks
    names = [{value_path(Path(), chunk, "class") for chunk in chunks} for chunks in (plan.chunks, other)]
    assert len(names[0]) == len(other) + 2 and len(names[1] - names[0]) == 1


def first_reach(area: Window, chunk) -> Window:
    """The pixels that a chunk's values are averaged over."""
    return chunk.window.shift(area.row, area.col).grow(2)


def test_a_chunk_at_the_maps_corner_is_not_cut_again():
    area = Window(30, 50, 130, 150)
    tiles = tiling(area)
    chunks = plan_map(tiles.layout, tiles, start=LATTICE.grid(area).xy(1.0, 1.0)).chunks
    assert chunks[0].window == Window(0, 0, 24, 4) and not any(chunk.piece for chunk in chunks)


def test_a_start_beside_the_map_begins_at_its_nearest_edge():
    area = Window(0, 0, 560, 560)
    tiles = tiling(area)
    x, y = LATTICE.grid(area).xy(2_000.0, 10.0)
    first = plan_map(tiles.layout, tiles, start=(x, y)).chunks[0].window
    assert first.row == 0 and first.col + first.width == 560


def test_what_is_not_wanted_is_not_planned():
    area = Window(0, 0, 560, 560)
    tiles = tiling(area)
    plan = plan_map(tiles.layout, tiles, wanted=lambda grid: grid.bounds[0] < 1_000)
    assert {chunk.window.col for chunk in plan.chunks} == {0, 54}


def test_shares_of_several_workers_hold_neighbours_and_every_chunk_once():
    area = Window(0, 0, 1_000, 1_100)
    tiles = tiling(area)
    plan = plan_map(tiles.layout, tiles)
    shares = plan.shares(workers=1)
    assert sorted(number for share in shares for number in share) == list(range(len(plan.chunks)))
    for share in shares:
        windows = [plan.chunks[number].window for number in share]
        whole = windows[0]
        for window in windows[1:]:
            whole = whole.union(window)
        assert whole.height * whole.width == sum(w.height * w.width for w in windows)
        assert max(whole.height, whole.width) <= 8 * tiles.core
    for workers in (2, 5):  # of which none is left without while another has much to do
        sizes = sorted(len(share) for share in plan.shares(workers))
        assert len(sizes) >= 2 * workers and sizes[-1] <= len(plan.chunks) / workers
