"""The principal components of an embedding: their values, the picture of them, and what is refused."""

import json

import numpy as np
import pytest
import rasterio
from embedding_files import write_embedding
from rasterio.enums import ColorInterp
from scene_files import job, part
from skysense.cli import main
from skysense.errors import Cancelled, InputError
from skysense.inference.principal import check_components, write_components
from skysense.jobs.control import JobControl
from skysense.synthetic.landscape import make_landscape
from stopping import StopsAt

HOLE = (slice(20, 30), slice(250, 280))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """300 x 280 pixels of 70 features (more than one group) mixed of 70 sources, a hole, and one constant feature."""
    random = np.random.default_rng(1)
    sources = random.normal(0, 1, (300 * 280, 70)) * 0.7 ** np.arange(70)
    values = (sources @ np.linalg.qr(random.normal(0, 1, (70, 70)))[0].T + 2).T.reshape(70, 300, 280)
    values[69] = 7
    values[:, *HOLE] = np.nan
    return write_embedding(tmp_path_factory.mktemp("e") / "e.tif", values)


def components(path, number):
    """(C, h, w) and each one's share of the variance, plainly computed of all pixels in float64."""
    with rasterio.open(path) as dataset:
        x = dataset.read().astype(np.float64)
    rows = x.reshape(len(x), -1).T
    rows = rows - np.nanmean(rows, 0)
    _, lengths, axes = np.linalg.svd(rows[np.isfinite(rows[:, 0])], full_matrices=False)
    axes = axes[:number] * np.sign(axes[np.arange(number), np.abs(axes[:number]).argmax(1)])[:, None]
    return (rows @ axes.T).T.reshape(number, *x.shape[1:]), lengths[:number] ** 2 / (lengths**2).sum()


def read(path):
    with rasterio.open(path) as dataset:
        assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert "SKYSENSE_FEATURES" not in dataset.tags()  # it is no embedding itself
        assert dataset.tags()["SKYSENSE_BACKBONE"] == "tiny, own"
        return dataset.read(), dataset.profile, dataset.descriptions, dataset.colorinterp


def test_components_are_those_of_all_pixels(path):
    told = write_components(path, 4, JobControl(print))
    expected, shares = components(path, 4)
    out = path.with_name("e_pca.tif")
    assert told == {"pca": str(out), "pca_rgb": str(path.with_name("e_pca_rgb.tif"))}
    values, profile, names, _ = read(out)
    with rasterio.open(path) as dataset:
        assert (profile["crs"], profile["transform"]) == (dataset.crs, dataset.transform)
    assert profile["dtype"] == "float32" and np.isnan(profile["nodata"])
    assert names == tuple(f"PC{n} ({share:.0%})".replace("%", " %") for n, share in enumerate(shares, 1))
    assert names[0] == "PC1 (51 %)"
    np.testing.assert_allclose(values, expected, atol=1e-4)  # NaN where that is NaN
    assert np.isnan(values[:, *HOLE]).all() and np.isnan(values).sum() == 4 * 300
    assert not list(path.parent.glob("*part*"))


def test_the_picture_is_stretched_between_percentiles(path):
    write_components(path, 3, JobControl(print))
    values = read(path.with_name("e_pca.tif"))[0]
    found, profile, names, colors = read(path.with_name("e_pca_rgb.tif"))
    low, high = np.nanpercentile(values, [2, 98], axis=(1, 2))[:, :, None, None]
    expected = np.rint(1 + 254 * np.clip((values - low) / (high - low), 0, 1))
    seen = np.isfinite(values)
    assert (found[~seen] == 0).all() and found[seen].min() == 1 and found.max() == 255
    off = np.abs(found[seen].astype(int) - expected[seen])
    assert off.max() <= 1 and (off > 0).mean() < 1e-3  # the file's values are rounded to float32
    assert profile["dtype"] == "uint8" and profile["nodata"] == 0
    assert names[0] == "PC1 (51 %)" and colors == (ColorInterp.red, ColorInterp.green, ColorInterp.blue)


def test_same_bytes_each_time_and_no_picture_of_two(path, tmp_path):
    with rasterio.open(path) as dataset:
        copy = write_embedding(tmp_path / "e.tif", dataset.read())
    assert write_components(copy, 2, JobControl(print)) == {"pca": str(tmp_path / "e_pca.tif")}
    first = (tmp_path / "e_pca.tif").read_bytes()
    assert not (tmp_path / "e_pca_rgb.tif").exists()
    write_components(copy, 2, JobControl(print))
    assert (tmp_path / "e_pca.tif").read_bytes() == first


def test_one_pixel_and_features_that_are_all_alike(tmp_path):
    values = np.full((4, 3, 3), 5.0)
    values[:, 1:] = np.nan
    told = write_components(write_embedding(tmp_path / "e.tif", values), 3, JobControl(print))
    assert (read(told["pca"])[0][:, 0] == 0).all()
    assert (read(told["pca_rgb"])[0][:, 0] == 1).all() and read(told["pca"])[2][0] == "PC1 (0 %)"


def test_cancelled_the_old_ones_stay(path, tmp_path):
    with rasterio.open(path) as dataset:
        copy = write_embedding(tmp_path / "e.tif", dataset.read()[:5])
    (tmp_path / "e_pca.tif").write_bytes(b"the old one")
    with pytest.raises(Cancelled):
        write_components(copy, 3, StopsAt("Reducing"))
    assert (tmp_path / "e_pca.tif").read_bytes() == b"the old one" and not list(tmp_path.glob("*part*"))


def test_more_than_there_are_features():
    check_components(8, 8)
    with pytest.raises(InputError, match=r"9 principal components are asked for, of 8 features.*at most 8"):
        check_components(9, 8)


@pytest.fixture(scope="module")
def sentinel(tmp_path_factory):
    scene = make_landscape(tmp_path_factory.mktemp("scene"), size_m=640, n_s2=2, n_s1=1)
    return part(scene, tmp_path_factory.mktemp("s") / "sentinel", lambda row: row["modality"] != "hr")


def test_embed_writes_them_beside(sentinel, tmp_path, capsys):
    arguments = ["embed", str(sentinel), "--device", "cpu", "--json", "--out"]
    assert main([*arguments, str(tmp_path / "plain.tif")]) == 0
    assert not {"pca", "pca_rgb"} & json.loads(capsys.readouterr().out).keys()
    assert main([*arguments, str(tmp_path / "e.tif"), "--pca", "3"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["pca"], told["pca_rgb"]) == tuple(str(tmp_path / f"e_pca{x}.tif") for x in ("", "_rgb"))
    assert (tmp_path / "e.tif").read_bytes() == (tmp_path / "plain.tif").read_bytes()
    with rasterio.open(told["pca"]) as dataset:
        np.testing.assert_allclose(dataset.read(), components(tmp_path / "e.tif", 3)[0], atol=1e-4)
    recipe = json.loads((tmp_path / "e.tif.recipe.json").read_text())
    assert recipe["options"]["components"] == 3
    (tmp_path / "again.json").write_text(json.dumps({**recipe, "output": "again.tif"}))
    assert main(["run", str(tmp_path / "again.json")]) == 0
    for name in ("_pca.tif", "_pca_rgb.tif"):
        assert (tmp_path / f"again{name}").read_bytes() == (tmp_path / f"e{name}").read_bytes()


def test_stopped_at_them_features_are_not_computed_again(sentinel, tmp_path):
    out, options = tmp_path / "e.tif", {"components": 3}
    with pytest.raises(Cancelled):
        job("embed", sentinel, out, control=StopsAt("Reducing"), options=options)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "e.tif.parts").glob("*.npy")}
    with pytest.raises(Cancelled):
        job("embed", sentinel, out, control=StopsAt("Reducing"), options=options)
    assert times and {path: path.stat().st_mtime_ns for path in times} == times
    assert job("embed", sentinel, out, options=options)["pca_rgb"] == str(tmp_path / "e_pca_rgb.tif")
    assert not (tmp_path / "e.tif.parts").exists()


def test_too_many_are_told_before_anything_is_computed(sentinel, tmp_path, monkeypatch):
    def refuse(number, dims):
        raise InputError(f"{number} of {dims}", "embed", "Ask for fewer")

    monkeypatch.setattr("skysense.inference.embed.check_components", refuse)
    with pytest.raises(InputError, match="64 of 96"):
        job("embed", sentinel, tmp_path / "e.tif", options={"components": 64})
    assert not list(tmp_path.glob("**/*.npy")) and not (tmp_path / "e.tif").exists()
