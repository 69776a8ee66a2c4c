"""What else looks like this place: values, places, bad input."""

import json

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from embedding_files import CRS, place, write_embedding
from skysense.cli import main
from skysense.inference.embedding import Embedding
from skysense.raster.crs import transformer


@pytest.fixture
def path(tmp_path):
    """300 x 280 pixels of 70 features (more than one group), a hole, and one constant feature."""
    values = np.random.default_rng(1).normal(2, 1, (70, 300, 280)).astype(np.float32)
    values[:5] *= 1000  # what decides where features are not standardised
    values[69] = 7
    values[:, 20:30, 250:] = np.nan
    return write_embedding(tmp_path / "e.tif", values)


def cosines(path, rows):
    """(R, h, w) float64 cosines to references (R, F), plainly computed."""
    with rasterio.open(path) as dataset:
        x = dataset.read().astype(np.float64)
    mean, std = np.nanmean(x, (1, 2)), np.nanstd(x, (1, 2))
    std[69] = np.inf
    z, r = (x - mean[:, None, None]) / std[:, None, None], (rows - mean) / std
    return np.einsum("rf,fhw->rhw", r / np.linalg.norm(r, axis=1)[:, None], z) / np.linalg.norm(z, axis=0)


def features(path, row, col):
    with rasterio.open(path) as dataset:
        return dataset.read()[:, row, col].astype(np.float64)


def check(out, expected):
    with rasterio.open(out) as dataset:
        found = dataset.read(1)
        assert dataset.nodata == 255 and dataset.crs == CRS and dataset.dtypes == ("uint8",)
        assert "similarity" in dataset.descriptions[0]
        assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert "SKYSENSE_FEATURES" not in dataset.tags()
    assert (found[20:30, 250:] == 255).all()
    seen = np.isfinite(expected)
    assert (seen == (found != 255)).all()
    assert np.abs(found[seen] - 100 * np.clip(expected[seen], 0, 1)).max() <= 0.51


def test_cosine_to_a_clicked_place(tmp_path, path, capsys):
    x, y = place(270, 12)
    lon, lat = transformer(CRS, "EPSG:4326").transform(x, y)
    out = tmp_path / "s.tif"
    assert main(["similar", str(path), "--at", str(x), str(y), "--out", str(out)]) == 0
    assert "1 places" in capsys.readouterr().out
    check(out, cosines(path, features(path, 270, 12)[None])[0])
    with rasterio.open(out) as dataset:
        first = dataset.read(1)
    assert first[270, 12] == 100 and (first == 100).sum() == 1
    assert (
        main(["similar", str(path), "--at", str(lon), str(lat), "--at-crs", "EPSG:4326", "--out", str(out)])
        == 0
    )
    with rasterio.open(out) as dataset:
        assert (dataset.read(1) == first).all()
    assert not list(tmp_path.glob("*part*"))
    # Its own result is no embedding.
    assert main(["similar", str(out), "--at", str(x), str(y), "--out", str(tmp_path / "t.tif")]) == 2


def test_the_most_similar_of_a_layer_counts(tmp_path, path, capsys):
    x, y = place(100, 100)
    left, bottom = place(59.5, 39.5)
    shapes = [shapely.Point(x, y), shapely.box(left, bottom, left + 30, bottom + 20), shapely.Point(0, 0)]
    pyogrio.raw.write(
        tmp_path / "l.gpkg", shapely.to_wkb(np.array(shapes)), [np.arange(3)], ["n"], driver="GPKG",
        geometry_type="Unknown", crs=CRS,
    )  # fmt: skip
    out = tmp_path / "s.tif"
    assert (
        main(["similar", str(path), "--labels", str(tmp_path / "l.gpkg"), "--out", str(out), "--json"]) == 0
    )
    told = capsys.readouterr()
    assert json.loads(told.out)["places"] == 2 and "1 of 3" in told.err
    field = np.mean([features(path, r, c) for r in (58, 59) for c in (40, 41, 42)], 0)
    check(out, cosines(path, np.stack([features(path, 100, 100), field])).max(0))


def test_places_that_cannot_be_used(tmp_path, path, capsys):
    (tmp_path / "old.tif").write_bytes(b"kept")
    for more, told in (
        ([], "no place is chosen"),
        (["--at", "0", "0"], "outside the embedding"),
        (["--at", *map(str, place(25, 255))], "empty"),
        (["--at", "3", "50", "--at-crs", "EPSG:0"], "not known"),
        (["--at", "400", "95", "--at-crs", "EPSG:4326"], "outside the embedding"),
        (["--labels", str(tmp_path / "none.gpkg")], "does not exist"),
    ):
        assert main(["similar", str(path), "--out", str(tmp_path / "old.tif"), *more]) == 2
        err = capsys.readouterr().err
        assert told in err and err.count("\n") == 1
    assert (tmp_path / "old.tif").read_bytes() == b"kept"
    x, y = map(str, place(1, 1))
    before = path.read_bytes()
    for command in (["similar", "--at", x, y], ["cluster", "--classes", "3"]):
        assert main([command[0], str(path), "--out", str(path), *command[1:]]) == 2
        assert "the embedding itself" in capsys.readouterr().err
    assert path.read_bytes() == before
    assert main(["similar", str(path), "--out", str(tmp_path / "no" / "s.tif"), "--at", x, y]) == 2
    image = tmp_path / "image.tif"
    with rasterio.open(path) as dataset:
        profile = {**dataset.profile, "count": 2}
    with rasterio.open(image, "w", **profile):
        pass
    assert main(["similar", str(image), "--out", str(tmp_path / "s.tif"), "--at", x, y]) == 2
    assert "is no embedding" in capsys.readouterr().err


def test_pixels_are_read_in_their_order(path):
    rows, cols = np.array([299, 0, 256, 25, 255]), np.array([279, 3, 256, 255, 0])
    with Embedding(path) as embedding, rasterio.open(path) as dataset:
        found, whole = embedding.at(rows, cols), dataset.read()
        assert embedding.at(rows[:0], cols[:0]).shape == (0, 70)
        assert len(embedding.sample(0)) == 300 * 280 - 300
    assert np.array_equal(found, whole[:, rows, cols].T, equal_nan=True) and np.isnan(found[3]).all()
