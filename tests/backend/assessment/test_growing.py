"""Components are let go as soon as they are whole, and only then."""

import numpy as np
import pytest
from map_files import write_map
from skysense.assessment import components
from skysense.assessment.components import find_components, label, piece_areas, tiles
from skysense.assessment.growing import Growing
from skysense.raster.classmap import ClassMap


def last_tiles(grid, found, classes):
    """The last tile that each component has pixels in, above or to the left of."""
    numbers, places = (np.full((grid.height + 1, grid.width + 1), -1) for _ in range(2))
    for number, window in enumerate(tiles(grid)):
        place = grid.window.slices(window)
        numbers[place] = found.of_tile(number)[label(classes.read(window))[0]]
        places[place] = number
    last = np.full(len(found.classes), -1)
    for touched in (places[:-1, :-1], places[1:, :-1], places[:-1, 1:]):
        np.maximum.at(last, numbers[:-1, :-1], touched)
    return dict(enumerate(last.tolist()))


@pytest.mark.parametrize("tile", [1024, 16, 7])
def test_every_component_is_whole_once_and_as_soon_as_it_is(tmp_path, heard, monkeypatch, tile):
    monkeypatch.setattr(components, "TILE", tile)
    ids = np.random.default_rng(0).choice([0, 1, 2], (40, 50), p=(0.2, 0.5, 0.3)).astype(np.uint8)
    with ClassMap(write_map(tmp_path / "m.tif", ids)) as classes:
        expected = find_components(classes, 0, heard)
        growing, grid = Growing(classes.grid), classes.grid
        pieces = [expected.of_tile(number) for number in range(len(expected.starts) - 1)]
        last = last_tiles(grid, expected, classes)
        renamed, went = {}, {}  # number -> that of a component
        for number, window in enumerate(tiles(grid)):
            part = classes.read(window)
            labels, kinds = label(part)
            step = growing.add(window, part, labels, kinds, piece_areas(grid, window, part, labels))
            for n, component in zip(step.numbers.tolist(), pieces[number].tolist()):
                assert renamed.setdefault(n, component) == component
            for gone, stays in step.joined.tolist():
                assert renamed.pop(gone) == renamed[stays] and stays < gone
            for n, kind, m2 in zip(step.whole.tolist(), step.classes.tolist(), step.m2.tolist()):
                component = renamed.pop(n)
                went[component] = number
                assert kind == expected.classes[component]
                assert m2 == pytest.approx(expected.m2[component], rel=1e-12)
    assert renamed == {} and went == last
