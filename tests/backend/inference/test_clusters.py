"""Clusters of an embedding as a class map."""

import json

import numpy as np
import pytest
import rasterio
from embedding_files import CRS, write_embedding
from skysense.cli import main
from skysense.errors import Cancelled
from skysense.inference.clusters import cluster
from skysense.raster.classmap import ClassMap
from stopping import StopsAt


@pytest.fixture
def kinds():
    """Four kinds of ground in 300 x 300 pixels, of different size."""
    kinds = np.zeros((300, 300), int)
    kinds[:, 200:], kinds[:100, :150], kinds[250:, :100] = 1, 2, 3
    return kinds


@pytest.fixture
def path(tmp_path, kinds):
    random = np.random.default_rng(0)
    # 70 features: more than one group.
    values = random.normal(0, 1, (70, 4))[:, kinds] + random.normal(0, 0.2, (70, 300, 300))
    values[:, 290:, 290:] = np.nan
    return write_embedding(tmp_path / "e.tif", values)


def test_kinds_of_ground_are_found_and_numbered_by_size(tmp_path, path, kinds, capsys):
    out = tmp_path / "c.tif"
    assert main(["cluster", str(path), "--out", str(out), "--classes", "4", "--json"]) == 0
    classes = json.loads(capsys.readouterr().out)["classes"]
    sizes = np.array([(kinds == kind).sum() for kind in range(4)]) - np.array([0, 100, 0, 0])
    by_size = np.argsort(-sizes)
    assert [item["pixels"] for item in classes] == sizes[by_size].tolist()
    number = np.empty(4, int)
    number[by_size] = np.arange(1, 5)
    expected = number[kinds]
    expected[290:, 290:] = 0
    with rasterio.open(out) as dataset:
        assert (dataset.read(1) == expected).all()
        assert dataset.nodata == 0 and dataset.crs == CRS and dataset.dtypes == ("uint8",)
        assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        colors = [dataset.colormap(1)[i] for i in range(5)]
        assert colors[0][3] == 0 and len(set(colors)) == 5
    with ClassMap(out) as classes:
        assert classes.names == {i: f"cluster {i}" for i in range(1, 5)}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.tif", "e.npy", "e.tif"]
    # Any map's tools take it.
    assert main(["areas", str(out)]) == 0
    # A map of clusters is no embedding.
    assert main(["cluster", str(out), "--out", str(tmp_path / "d.tif"), "--classes", "4"]) == 2


def test_the_same_seed_gives_the_same_bytes(tmp_path, path):
    outs = [tmp_path / f"{name}.tif" for name in "abc"]
    for out, seed in zip(outs, ("3", "3", "4")):
        assert main(["cluster", str(path), "--out", str(out), "--classes", "12", "--seed", seed]) == 0
    assert outs[0].read_bytes() == outs[1].read_bytes() != outs[2].read_bytes()
    with rasterio.open(outs[0]) as dataset:
        counts = np.bincount(dataset.read(1).ravel())[1:]
        assert len(counts) == 12 and (np.diff(counts) <= 0).all()


def test_what_cannot_be_clustered(tmp_path, path, capsys):
    out = tmp_path / "c.tif"
    for given, k, told in (
        (path, "1", "Use 2 to 255"),
        (path, "256", "Use 2 to 255"),
        (tmp_path / "none.tif", "3", "does not exist"),
        (write_embedding(tmp_path / "few.tif", np.arange(8).reshape(2, 2, 2)), "5", "holds 4 pixels"),
        (write_embedding(tmp_path / "empty.tif", np.full((2, 9, 9), np.nan)), "2", "nothing was seen"),
    ):
        assert main(["cluster", str(given), "--out", str(out), "--classes", k]) == 2
        err = capsys.readouterr().err
        assert told in err and err.count("\n") == 1
    assert main(["cluster", str(path), "--out", str(tmp_path / "no" / "c.tif"), "--classes", "3"]) == 2
    assert not out.exists() and not list(tmp_path.glob("*part*"))


def test_cancelling_leaves_nothing(tmp_path, path):
    with pytest.raises(Cancelled):
        cluster(path, tmp_path / "c.tif", StopsAt("Clustering"), k=3)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["e.npy", "e.tif"]
