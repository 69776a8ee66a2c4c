"""Views of labelled tiles: pixels stay on their labels through every turn, classes are balanced, draws repeat."""

import datetime
from collections import Counter

import numpy as np
import pytest
import torch
from shapely.geometry import box
from skysense.finetune.deep.pixels import Pixels, folds_of, held_out_polygons, weights
from skysense.finetune.deep.views import Viewer
from skysense.model.config import USUAL_BANDS
from skysense.raster.grid import Lattice, Window
from skysense.raster.layout import Layout
from skysense.raster.reader import Stack
from skysense.raster.tiles import plan_tiles
from skysense.scene.sensors import SENSORS


def layout_of(modalities, factor=0):
    base = Lattice("EPSG:32631", 10.0)
    area = Window(0, 0, 56, 56)
    return Layout(modalities, base, factor, area, base.grid(area), True)


#: What a pixel's place is multiplied by, so that gains and noise do not drown it; of HR the values stay within 0..1.
STEP = {"s2": 100.0, "s1": 1.0, "hr": 0.0006}


def stacks(tile, side, scale, modalities):
    """Imagery in which a pixel's first band tells its row, the second its column, and so on in turn."""
    found = {}
    for modality in modalities:
        n = side * scale if modality == "hr" else side
        places = np.stack(np.meshgrid(np.arange(n), np.arange(n), indexing="ij")).astype(np.float32)
        bands, dates = len(SENSORS[modality].bands), 1 if modality == "hr" else 5
        values = places[np.arange(bands) % 2] * np.float32(STEP[modality]) + np.float32(0.2)
        found[modality] = Stack(
            np.repeat(values[None], dates, 0),
            np.ones((dates, n, n), bool),
            np.ones((dates, bands), bool),
            tuple(datetime.date(2020, 1 + t, 1) for t in range(dates)),
        )
    return found


def made(modalities, factor=0, seed=0):
    tiling = plan_tiles(layout_of(modalities, factor))
    random = np.random.default_rng(seed)
    tiles = (tiling.tile(0, 0), tiling.tile(0, 1))
    n, margin, core = 60, tiling.margin * tiling.scale, tiling.core
    pixels = Pixels(
        tiles,
        np.repeat([0, 1], n // 2),
        random.integers(margin, margin + core, n),
        random.integers(margin, margin + core, n),
        np.repeat([0, 1, 2], [5, 15, 40]),
        np.arange(n) // 5,
        np.array([3, 7, 9]),
    )
    read = lambda tile: stacks(tile, tiling.side, tiling.scale, modalities)  # noqa: E731
    return tiling, pixels, Viewer(read, tiling, modalities, pixels, USUAL_BANDS)


@pytest.mark.parametrize(
    ("modalities", "factor"), [(("s2", "s1"), 0), (("s2",), 0), (("hr", "s2"), 8), (("hr",), 1)]
)
def test_a_pixel_stays_under_its_label_however_the_view_is_turned(modalities, factor):
    tiling, pixels, viewer = made(modalities, factor)
    weight = weights(pixels, np.arange(len(pixels.target)))
    seen, turned = Counter(), set()
    for step in range(16):
        view = viewer.augmented(weight, (0, step))
        turned.add(tuple(view.rows[:2].tolist()))
        if len(view.places) < 5:
            continue
        for modality in modalities:
            x = getattr(view.inputs, modality)
            if x is None:
                continue
            scale = 1 if modality == "hr" else tiling.scale
            picture = x[0] if modality == "hr" else x[0].mean(0)
            values = picture[:, view.rows // scale, view.cols // scale].numpy()
            for band, true in enumerate((pixels.rows, pixels.cols)):
                assert np.corrcoef(values[band], true[view.places] // scale)[0, 1] > 0.97
            seen[modality] += 1
    assert min(seen[modality] for modality in modalities) >= 3
    assert len(turned) >= 5


def test_still_views_show_every_date_as_it_is():
    _, pixels, viewer = made(("s2",))
    places = np.array([0, 3, 40])
    first, second = viewer.still(places)
    assert first.places.tolist() == [0, 3] and second.places.tolist() == [40]
    assert first.inputs.s2.shape == (1, 5, 10, 64, 64) and bool(first.inputs.s2_valid.all())
    sensor = SENSORS["s2"]
    mean, std = torch.tensor(sensor.mean), torch.tensor(sensor.std)
    values = first.inputs.s2[0, :, :, first.rows, first.cols] * std[:, None] + mean[:, None]
    for band, places in ((0, pixels.rows), (1, pixels.cols), (9, pixels.cols)):
        true = torch.from_numpy(places[[0, 3]] * STEP["s2"] + 0.2).float()
        torch.testing.assert_close(values[:, band], true.expand(5, -1), rtol=1e-5, atol=0.1)
    assert first.inputs.s2_day.tolist() == [[0, 31, 60, 91, 121]]


def test_a_draw_depends_on_its_seed_alone():
    _, pixels, viewer = made(("s2", "s1"))
    weight = weights(pixels, np.arange(len(pixels.target)))
    one, other, third = (viewer.augmented(weight, seed) for seed in ((0, 5), (0, 5), (0, 6)))
    assert np.array_equal(one.places, other.places) and np.array_equal(one.rows, other.rows)
    assert all(
        torch.equal(getattr(one.inputs, name), getattr(other.inputs, name))
        for name in ("s2", "s1", "s2_valid")
        if getattr(one.inputs, name) is not None
    )
    assert one.rows.tolist() != third.rows.tolist()


def test_modalities_are_dropped_but_never_all_and_so_are_dates():
    _, pixels, viewer = made(("s2", "s1"))
    weight = weights(pixels, np.arange(len(pixels.target)))
    views = [viewer.augmented(weight, (1, step)) for step in range(60)]
    kinds = Counter((view.inputs.s2 is not None, view.inputs.s1 is not None) for view in views)
    assert kinds[False, False] == 0 and kinds[True, False] and kinds[False, True] and kinds[True, True] > 30
    dates = Counter(view.inputs.s2.shape[1] for view in views if view.inputs.s2 is not None)
    assert set(dates) > {4, 5} and max(dates) == 5


def test_every_class_is_drawn_as_often_and_in_it_every_polygon():
    _, pixels, _ = made(("s2",))
    weight = weights(pixels, np.arange(len(pixels.target)))
    assert weight.sum() == pytest.approx(1)
    for k in range(3):
        assert weight[pixels.target == k].sum() == pytest.approx(1 / 3)
    for polygon in range(4, 12):
        assert weight[pixels.polygons == polygon].sum() == pytest.approx(1 / 24)
    without = weights(pixels, pixels.without(np.array([4, 5, 6])))
    assert without[(pixels.polygons >= 4) & (pixels.polygons <= 6)].sum() == 0
    assert without[pixels.target == 2].sum() == pytest.approx(1 / 3)


def test_polygons_are_held_out_in_three_parts_that_leave_every_class_to_learn_from():
    target = np.repeat([0, 1, 2], [30, 30, 10])  # classes of 6, 6 and 2 polygons of 5 pixels
    polygons = np.arange(70) // 5
    nothing = np.zeros(70, np.int64)
    pixels = Pixels((), nothing, nothing, nothing, target, polygons, np.array([1, 2, 3]))
    shapes = np.array([box(100 * i, 0, 100 * i + 10, 10) for i in range(14)], object)
    held_out = held_out_polygons(pixels, shapes, 1.0)
    assert len(held_out) == 3
    assert sorted(np.concatenate(held_out).tolist()) == list(range(12))  # the third class cannot be judged
    for train, test in folds_of(polygons, held_out):
        assert len(np.unique(target[train])) == 3 and not set(polygons[train]) & set(polygons[test])
    assert held_out_polygons(
        Pixels((), nothing[:10], nothing[:10], nothing[:10], target[25:35], polygons[:10] // 5, np.array([1, 2])),
        shapes[:2],
        1.0,
    ) == []  # fmt: skip


def test_a_few_pixels_of_each_polygon_are_the_first_drawn():
    polygons = np.array([4, 2, 4, 4, 2, 9])
    nothing = np.zeros(6, np.int64)
    pixels = Pixels((), nothing, nothing, nothing, nothing, polygons, np.array([1]))
    assert pixels.few(2).tolist() == [0, 1, 2, 4, 5]
