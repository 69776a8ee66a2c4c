"""Which labelled pixels a training sees, and what it tells of the others."""

import json

import numpy as np
import pytest
import rasterio
from label_files import spot, square, write
from skysense.errors import InputError
from skysense.finetune.collect import PIXELS_PER_CLASS, PIXELS_PER_POLYGON, _Draw, _Sample, balanced, collect
from skysense.finetune.features import FeatureExtractor
from skysense.finetune.labels import PixelLabels, read_labels
from skysense.finetune.surroundings import Surroundings
from skysense.jobs.control import JobControl
from skysense.model.presets import seeded_model
from skysense.raster.layout import plan_layout
from skysense.raster.reader import SceneReader
from skysense.raster.tiles import plan_tiles
from skysense.scene.acquisition import Labels
from skysense.scene.scenefile import load_scene
from skysense.synthetic.landscape import make_landscape


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """64 x 64 pixels of 10 m; the 16 columns in the east are empty on every date."""
    path = make_landscape(tmp_path_factory.mktemp("scene"), size_m=640, n_s2=2, n_s1=0)
    data = json.loads(path.read_text())
    data["acquisitions"] = [row for row in data["acquisitions"] if row["modality"] == "s2"]
    path.write_text(json.dumps(data))
    (path.parent / "classes.json").unlink()
    for row in data["acquisitions"]:
        with rasterio.open(path.parent / row["path"], "r+") as image:
            values = image.read()
            values[:, :, 48:] = 0
            image.write(values)
    return path


@pytest.fixture(scope="module")
def model():
    return seeded_model("tiny")


@pytest.fixture
def gathered(scene, model, tmp_path):
    """gathered(shapes, names, seed, around): features, names of the classes, polygon numbers, notes."""

    def gathered(shapes, names, seed=0, around=None):
        path = tmp_path / f"l{len(list(tmp_path.iterdir()))}.gpkg"
        write(path, shapes, **{"class": np.array(names, object)})
        loaded = load_scene(scene)
        layout = plan_layout(loaded)
        tiling = plan_tiles(layout)
        polygons = read_labels(Labels(path, "class"), layout.base.crs, loaded.root)
        events = []
        with SceneReader(loaded) as reader:
            extractor = FeatureExtractor(model, reader, layout, tiling, {}, (), spectral=False)
            labels = PixelLabels(polygons)
            x, ids, groups, _ = collect(
                extractor,
                tiling,
                layout,
                labels,
                polygons.source,
                seed,
                JobControl(events.append),
                around=around,
            )
        notes = [event["text"] for event in events if event["event"] == "note"]
        return x, [polygons.names[i] for i in ids.tolist()], groups, notes

    return gathered


def test_polygons_and_points_bring_their_pixels(gathered):
    x, names, groups, notes = gathered(
        [square(2, 2, 3, 3), square(20, 20, 2, 3), spot(40.5, 40.5)], ["a", "b", "b"]
    )
    assert x.shape == (16, 96) and np.isfinite(x).all()
    assert names.count("a") == 9 and np.bincount(groups).tolist() == [9, 6, 1] and notes == []


def test_what_lies_beside_the_imagery_or_on_nothing_is_told(gathered):
    shapes = [
        square(2, 2, 3, 3),
        square(20, 20, 3, 3),
        square(900, 2, 3, 3),
        square(52, 2, 3, 3),
        spot(55, 40),
    ]
    _, names, groups, notes = gathered(shapes, ["a", "b", "a", "b", "c"])
    assert sorted(set(names)) == ["a", "b"] and sorted(set(groups.tolist())) == [0, 1]
    assert notes == [
        "Polygons that lie outside the imagery and were left out: 1 of 'a'.",
        "Polygons that lie where the imagery is empty or cloudy on every date and were left out: 1 of 'b', 1 of 'c'.",
    ]


def test_pixels_of_two_classes_are_told(gathered):
    _, names, _, notes = gathered([square(2, 2, 4, 4), square(4, 2, 4, 4)], ["a", "b"])
    assert (names.count("a"), names.count("b")) == (8, 8)
    assert notes == ["Pixels in polygons of two classes at once, which were left out: 8 of 'a' and 'b'."]


def test_a_class_of_hardly_a_pixel_is_told(gathered):
    notes = gathered([square(2, 2, 3, 3), square(9.1, 9.1, 0.2, 0.2)], ["a", "b"])[3]
    assert notes == ["Few pixels are labelled of 'b' (1): draw more where you can."]


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([square(900, 2, 3, 3), square(950, 2, 3, 3)], "no polygon lies inside the imagery"),
        (
            [square(50, 2, 3, 3), square(55, 2, 3, 3)],
            "the 18 labelled pixels all lie where the imagery is empty",
        ),
        ([square(2, 2, 3, 3), square(2, 2, 3, 3)], "every labelled pixel is claimed by two classes"),
    ],
)
def test_nothing_to_learn_from_is_a_sentence(gathered, shapes, message):
    with pytest.raises(InputError, match=message):
        gathered(shapes, ["a", "b"])


def test_a_large_polygon_is_drawn_from_and_the_draw_repeats(gathered):
    shapes, names = [square(0, 0, 40, 40), square(42, 2, 4, 4)], ["a", "b"]
    x, classes, groups, _ = gathered(shapes, names)
    assert np.bincount(groups).tolist() == [PIXELS_PER_POLYGON, 16]
    again = gathered(shapes, names)
    assert (again[0] == x).all() and again[1] == classes
    assert (gathered(shapes, names, seed=1)[0] != x).any()


def test_a_tiles_draw_does_not_depend_on_labels_elsewhere(gathered):
    """The polygon of class a lies in one tile of 56 pixels; class b is now in one beside it, now in another."""
    above = gathered([square(25, 25, 20, 16), square(2, 2, 3, 3)], ["a", "b"])
    below = gathered([square(25, 25, 20, 16), square(30, 50, 9, 9)], ["a", "b"])
    rows = [found[0][found[2] == 0] for found in (above, below)]
    assert len(rows[0]) == PIXELS_PER_POLYGON and (rows[0] == rows[1]).all()


def test_pixels_around_come_from_tiles_with_labels_and_change_no_draw(gathered):
    shapes, names = [square(25, 25, 20, 16), square(2, 2, 3, 3)], ["a", "b"]
    around = Surroundings(0)
    alone, beside = gathered(shapes, names), gathered(shapes, names, around=around)
    assert np.array_equal(alone[0], beside[0]) and np.array_equal(alone[2], beside[2])
    # Of the 56 x 48 valid pixels of the tile with labels as many as are kept, labelled ones among them.
    assert around.x.shape == (2_000, 96)
    labelled = {row.tobytes() for row in beside[0]}
    assert 0.5 < sum(row.tobytes() in labelled for row in around.x) / len(labelled) < 0.95


# -- the draw


def test_large_polygons_do_not_crowd_out_small_ones():
    sizes = [100_000, 9, 4] + [150] * 60
    polygons = np.repeat(np.arange(len(sizes)), sizes)
    ids = np.ones(len(polygons), np.int64)
    kept = np.bincount(polygons[balanced(ids, polygons, np.random.default_rng(0).random(len(ids)))])
    assert kept.sum() == PIXELS_PER_CLASS and kept[1:3].tolist() == [9, 4]
    assert kept[[0, *range(3, 63)]].max() - kept[[0, *range(3, 63)]].min() <= 1


def test_more_points_than_a_class_may_have_are_drawn_from():
    polygons = np.arange(3 * PIXELS_PER_CLASS)
    order = np.random.default_rng(0).random(len(polygons))
    kept = balanced(np.full(len(polygons), 7), polygons, order)
    assert (kept == np.sort(np.argsort(order)[:PIXELS_PER_CLASS])).all()


def test_drawing_part_by_part_is_drawing_at_once():
    random = np.random.default_rng(1)
    sizes = random.integers(1, 400, 120)
    polygons = np.repeat(np.arange(120), sizes)
    ids, order = polygons % 2 + 1, random.random(len(polygons))
    at_once = balanced(ids, polygons, order)
    kept = np.zeros(0, np.int64)
    for part in np.array_split(random.permutation(len(ids)), 9):
        kept = np.concatenate((kept, part))
        kept = kept[balanced(ids[kept], polygons[kept], order[kept])]
    assert (np.sort(kept) == at_once).all() and len(at_once) == 2 * PIXELS_PER_CLASS


def test_tiles_that_wait_to_be_joined_change_no_draw_and_few_pixels_are_copied(monkeypatch):
    random = np.random.default_rng(2)
    most, tiles = (20, 300), 400
    polygons = random.integers(0, 60, tiles * 9)
    order = random.random(len(polygons))
    ids, x = polygons % 3 + 1, np.arange(len(polygons), dtype=np.float32)[:, None]
    parts = [
        _Sample(x[places], ids[places], polygons[places], order[places])
        for places in np.array_split(np.arange(len(polygons)), tiles)
    ]
    looked_at = []

    def counted(ids, polygons, order, most):
        looked_at.append(len(ids))
        return balanced(ids, polygons, order, most)

    monkeypatch.setattr("skysense.finetune.collect.balanced", counted)
    draw = _Draw(most)
    for part in parts:
        draw.add(part)
    found = draw.sample()
    # Tile by tile, as it was: all that is left, joined with each.
    kept = np.zeros(0, np.int64)
    for places in np.array_split(np.arange(len(polygons)), tiles):
        kept = np.concatenate((kept, places))
        kept = kept[balanced(ids[kept], polygons[kept], order[kept], most)]
    assert found is not None and found.x[:, 0].astype(int).tolist() == kept.tolist()
    for name, whole in (("ids", ids), ("polygons", polygons), ("order", order)):
        assert np.array_equal(getattr(found, name), whole[kept])
    assert sum(looked_at) < 4 * len(polygons)
    assert _Draw(most).sample() is None
