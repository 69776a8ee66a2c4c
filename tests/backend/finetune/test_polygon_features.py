"""Features of whole polygons against those of all pixels at once."""

import json

import numpy as np
import pytest
import rasterio
import shapely
from label_files import square
from skysense.finetune.features import FeatureExtractor
from skysense.finetune.labels import LabelledPolygons, PixelLabels
from skysense.finetune.lanes import Lanes
from skysense.finetune.polygon_features import OpenPolygons, features_by_tile, polygon_features
from skysense.inference.canvas import TileCanvas
from skysense.inference.embed import FeaturePainter
from skysense.jobs.control import JobControl
from skysense.model.presets import seeded_model
from skysense.raster.layout import plan_layout
from skysense.raster.reader import SceneReader
from skysense.raster.tiles import plan_tiles
from skysense.scene.scenefile import load_scene
from skysense.synthetic.landscape import make_landscape

CONTROL = JobControl(lambda event: None)
#: The third is whole pixels alone and crosses a tile's edge, the fifth is beside the imagery, the sixth where it is empty.
SHAPES = [
    square(2, 2, 3, 3),
    shapely.MultiPolygon([square(10, 10, 2, 2), square(30, 40, 3, 1)]),
    square(3, 20, 20, 22),
    square(2, 2, 3, 3),
    square(200, 2, 3, 3),
    square(60, 2, 3, 3),
    square(46, 30, 6, 2),
]


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """What `polygon_features` needs for `SHAPES` on 64 x 64 pixels, of which the 16 columns in the east are empty."""
    path = make_landscape(tmp_path_factory.mktemp("scene"), size_m=640, hr_gsd_m=10, n_s2=2, n_s1=0)
    data = json.loads(path.read_text())
    data["acquisitions"] = [row for row in data["acquisitions"] if row["modality"] == "s2"]
    path.write_text(json.dumps(data))
    for row in data["acquisitions"]:
        with rasterio.open(path.parent / row["path"], "r+") as image:
            values = image.read()
            values[:, :, 48:] = 0
            image.write(values)
    scene = load_scene(path)
    layout = plan_layout(scene)
    tiling = plan_tiles(layout)
    shapes = np.array(SHAPES, object)
    labels = PixelLabels(LabelledPolygons(shapes, np.ones(len(shapes), np.int64), {}, "shapes"))
    with SceneReader(scene) as reader:
        extractor = FeatureExtractor(seeded_model("tiny"), reader, layout, tiling, {}, (), spectral=False)
        yield extractor, tiling, layout, labels


@pytest.fixture(scope="module")
def found(opened):
    """The features of `SHAPES` by number, and those of all pixels (F, 64, 64)."""
    extractor, tiling, layout, labels = opened
    items = list(polygon_features(extractor, tiling, layout, labels, CONTROL))
    blocks = extractor.blocks
    painter = FeaturePainter(blocks, 1)
    with Lanes(extractor) as lanes:
        canvas = TileCanvas(lanes, painter, tiling, layout.area, sum(b.dim for b in blocks))
        dense, _ = canvas.window(layout.area, CONTROL)
    assert len({tile.row for tile in tiling.over(layout.area)}) > 1  # else nothing crosses an edge
    return {item.number: item for item in items}, dense.numpy(), blocks


def expected(dense, places):
    """Mean over rows x columns."""
    pixels = [dense[:, rows, cols].reshape(len(dense), -1) for rows, cols in places]
    return np.concatenate(pixels, 1).mean(1)


@pytest.mark.parametrize(
    ("number", "places"),
    [
        (0, [np.s_[2:5, 2:5]]),
        (1, [np.s_[10:12, 10:12], np.s_[40:41, 30:33]]),
        (2, [np.s_[21:41, 4:22]]),
        (3, [np.s_[2:5, 2:5]]),
        (6, [np.s_[30:32, 46:48]]),
    ],
)
def test_a_polygon_is_the_mean_of_its_valid_pixels(found, number, places):
    items, dense, blocks = found
    item = items[number]
    assert item.pixels == sum((rows.stop - rows.start) * (cols.stop - cols.start) for rows, cols in places)
    assert item.values.shape == (sum(block.dim for block in blocks),)
    np.testing.assert_allclose(item.values, expected(dense, places), atol=1e-4)


def test_what_was_not_seen_has_no_features(found):
    assert sorted(found[0]) == [0, 1, 2, 3, 6]


def test_cut_off_after_each_tile_they_are_the_same_to_the_bit(opened, found, tmp_path):
    kept, items, cuts = {}, [], 0
    while True:
        so_far = OpenPolygons(kept)
        ended = next(features_by_tile(*opened, CONTROL, so_far), None)
        if ended is None:
            break
        items += ended
        np.savez(tmp_path / "kept.npz", **so_far.arrays())
        with np.load(tmp_path / "kept.npz") as arrays:
            kept = dict(arrays)
        cuts += bool(len(kept["numbers"]))
    assert cuts and not len(kept["numbers"])
    assert sorted(item.number for item in items) == sorted(found[0])
    for item in items:
        other = found[0][item.number]
        assert item.pixels == other.pixels and item.values.tobytes() == other.values.tobytes()
