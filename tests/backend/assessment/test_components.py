"""Connected components: equal to a plain flood fill, whatever the tiles."""

import numpy as np
import pytest
from map_files import write_map
from skysense.assessment import components
from skysense.assessment.components import find_components, label, tiles
from skysense.raster.classmap import ClassMap


def flood(ids):
    """(h, w) numbers of 4-connected areas by a walk over all pixels."""
    numbers, count = np.full(ids.shape, -1), 0
    for start in np.ndindex(ids.shape):
        if numbers[start] >= 0:
            continue
        numbers[start], todo = count, [start]
        while todo:
            row, col = todo.pop()
            for place in ((row + 1, col), (row - 1, col), (row, col + 1), (row, col - 1)):
                inside = 0 <= place[0] < ids.shape[0] and 0 <= place[1] < ids.shape[1]
                if inside and numbers[place] < 0 and ids[place] == ids[row, col]:
                    numbers[place] = count
                    todo.append(place)
        count += 1
    return numbers


def noise(height, width, seed=0):
    return np.random.default_rng(seed).choice([0, 1, 2], (height, width), p=(0.2, 0.5, 0.3)).astype(np.uint8)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (37, 41)])
def test_a_tile_is_labelled_as_by_a_flood_fill(shape):
    ids = noise(*shape)
    labels, classes = label(ids)
    assert np.array_equal(labels, flood(ids)) and labels.dtype == np.int32
    assert np.array_equal(classes[labels], ids)


def test_a_spiral_is_one_component():
    ids = np.zeros((31, 31), np.uint8)
    for ring in range(0, 15, 2):
        ids[ring, ring : 31 - ring] = ids[30 - ring, ring : 31 - ring] = 1
        ids[ring : 31 - ring, ring] = ids[ring : 31 - ring, 30 - ring] = 1
        ids[ring + 1, ring] = 0
        ids[ring + 2, ring : ring + 2] = 1
    assert label(ids)[0].max() == flood(ids).max()


@pytest.mark.parametrize("tile", [1024, 16, 7])
@pytest.mark.parametrize("least", [np.inf, 1000])
def test_components_do_not_depend_on_the_tiles(tmp_path, heard, monkeypatch, tile, least):
    monkeypatch.setattr(components, "TILE", tile)
    ids = noise(40, 50)
    with ClassMap(write_map(tmp_path / "m.tif", ids)) as classes:
        found = find_components(classes, least, heard)
        numbers = np.empty(ids.shape, int)
        for number, window in enumerate(tiles(classes.grid)):
            rows, cols = (
                slice(window.row, window.row + window.height),
                slice(window.col, window.col + window.width),
            )
            numbers[rows, cols] = found.of_tile(number)[label(ids[rows, cols])[0]]
    expected = flood(ids)
    both = np.unique(np.stack((numbers.ravel(), expected.ravel())), axis=1)
    assert both.shape[1] == expected.max() + 1 == len(found.classes) == numbers.max() + 1
    assert np.array_equal(found.classes[numbers], ids)
    pixels = np.bincount(numbers.ravel()) * (found.classes > 0)
    assert found.m2 == pytest.approx(pixels * 100 / 0.9996**2, rel=1e-6)
    across = np.stack((numbers[:, :-1].ravel(), numbers[:, 1:].ravel()), 1)
    down = np.stack((numbers[:-1].ravel(), numbers[1:].ravel()), 1)
    pairs = np.sort(np.concatenate((across, down)), 1)
    pairs = pairs[(pairs[:, 0] != pairs[:, 1]) & (found.classes[pairs] > 0).all(1)]
    pairs = pairs[(found.m2[pairs] < least).any(1)]
    assert np.array_equal(np.unique(found.pairs, axis=0), np.unique(pairs, axis=0))
