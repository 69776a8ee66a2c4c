"""Changes between two periods, learned from polygons and found without labels, on a small synthetic scene."""

import json

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from scene_files import job
from skysense import cli
from skysense.errors import Cancelled, InputError
from skysense.inference.change import ranked, smaller_shares
from skysense.model.modelfile import load_model
from skysense.synthetic.landscape import make_landscape
from stopping import StopsAt

SPLIT = "2024-01-01"
#: The squares (row, col, side) that are dark water in the second year.
FLOODED = ((6, 6, 9), (24, 40, 9), (48, 12, 9))


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """Sentinel-2 of 2023 and the same of 2024, with three squares flooded; the 8 columns in the east are empty in 2024."""
    path = make_landscape(tmp_path_factory.mktemp("scene"), size_m=640, hr_gsd_m=10, n_s2=4, n_s1=0)
    data = json.loads(path.read_text())
    rows = [row for row in data["acquisitions"] if row["modality"] == "s2"]
    later = [
        dict(row, path=f"later_{n}.tif", date=row["date"].replace("2023", "2024"))
        for n, row in enumerate(rows)
    ]
    for one, two in zip(rows, later):
        with rasterio.open(path.parent / one["path"]) as source:
            values, profile, names = source.read(), source.profile, source.descriptions
        for row, col, side in FLOODED:
            values[:, row : row + side, col : col + side] = np.linspace(1500, 1020, len(values))[
                :, None, None
            ]
        values[:, :, 56:] = 0
        with rasterio.open(path.parent / two["path"], "w", **profile) as out:
            out.write(values)
            out.descriptions = names
    folder = path.parent
    west, north = profile["transform"].c, profile["transform"].f

    def square(row, col, side):
        return shapely.box(
            west + 10 * col, north - 10 * (row + side), west + 10 * (col + side), north - 10 * row
        )

    shapes = [square(r + n, c + m, 3) for r, c, _ in FLOODED for n, m in ((1, 1), (5, 5))]
    shapes += [square(r, c, 4) for r in (20, 36, 58) for c in (2, 24, 50)]
    names = ["flooded"] * 6 + ["no change"] * 9
    pyogrio.raw.write(
        folder / "changes.gpkg", shapely.to_wkb(np.array(shapes, object)), [np.array(names, object)], ["change"],
        crs=profile["crs"].to_string(), geometry_type="Polygon", driver="GPKG",
    )  # fmt: skip
    out = folder / "pair" / "scene.json"
    out.parent.mkdir()
    # The scene's own classes are none of its changes.
    (out.parent / "classes.json").write_bytes((folder / "classes.json").read_bytes())
    rows = [dict(row, path=str(folder / row["path"])) for row in (*rows, *later)]
    labels = {"path": str(folder / "changes.gpkg"), "field": "change"}
    out.write_text(json.dumps({"version": 1, "name": "pair", "acquisitions": rows, "labels": labels}))
    return out


@pytest.fixture(scope="module")
def flooded():
    """(64, 64) bool."""
    mask = np.zeros((64, 64), bool)
    for row, col, side in FLOODED:
        mask[row : row + side, col : col + side] = True
    return mask


@pytest.fixture(scope="module")
def trained(scene, tmp_path_factory):
    out = tmp_path_factory.mktemp("model") / "m.safetensors"
    return out, job("finetune", scene, out, options={"target": "changes", "split": SPLIT})


def test_a_model_of_changes_knows_its_split_and_sees_both_periods(trained):
    header = load_model(trained[0]).header
    assert header["target"] == "changes" and header["inputs"]["split"] == SPLIT
    names = {block["name"] for block in header["head"]["blocks"]}
    assert names == {f"{p}.{b}" for p in ("before", "after", "difference") for b in ("s2.series", "fused")}
    assert len(header["inputs"]["series"]["s2"]["days"]) == 4  # the first period's


def test_changes_are_mapped_by_the_stored_date_or_by_the_given_one(scene, trained, flooded, tmp_path):
    job("predict", scene, tmp_path / "a.tif", model=str(trained[0]))
    with rasterio.open(tmp_path / "a.tif") as source:
        found, tags = source.read(1), source.tags()
    assert json.loads(tags["SKYSENSE_CLASSES"]) == {"1": "flooded", "2": "no change"}
    assert tags["SKYSENSE_SPLIT"] == SPLIT
    assert (found[:, 56:] == 0).all() and (found[:, :56] > 0).all()  # both periods must have seen it
    inside = np.zeros_like(flooded)
    inside[:, :56] = True
    assert (found[flooded] == 1).mean() > 0.8 and (found[inside & ~flooded] == 2).mean() > 0.95
    job("predict", scene, tmp_path / "b.tif", model=str(trained[0]), options={"split": "2023-12-24"})
    with rasterio.open(tmp_path / "b.tif") as source:
        assert np.array_equal(source.read(1), found) and source.tags()["SKYSENSE_SPLIT"] == "2023-12-24"
    with pytest.raises(InputError, match="has no Sentinel-2 image before 2020-01-01"):
        job("predict", scene, tmp_path / "c.tif", model=str(trained[0]), options={"split": "2020-01-01"})


def test_changes_need_a_date_and_only_they_do(scene, tmp_path):
    with pytest.raises(InputError, match="no date splits the scene"):
        job("finetune", scene, tmp_path / "m.safetensors", options={"target": "changes"})
    with pytest.raises(InputError, match="split is 'May'"):
        job("finetune", scene, tmp_path / "m.safetensors", options={"target": "changes", "split": "May"})
    with pytest.raises(InputError, match="do not teach changes"):
        job("finetune", scene, tmp_path / "m.safetensors", options={"split": SPLIT})
    job("finetune", scene.parent.parent / "scene.json", tmp_path / "m.safetensors")
    with pytest.raises(InputError, match="looks at all dates together"):
        job(
            "predict",
            scene,
            tmp_path / "o.tif",
            model=str(tmp_path / "m.safetensors"),
            options={"split": SPLIT},
        )


def test_changes_are_found_without_labels(scene, flooded, tmp_path):
    out = tmp_path / "change.tif"
    result = job("change", scene, out, options={"split": SPLIT})
    assert result["blocks"] == ["fused", "s2.series"]
    with rasterio.open(out) as source:
        assert source.dtypes == ("uint8",) and source.nodata == 0 and source.tags()["SKYSENSE_SPLIT"] == SPLIT
        assert (
            source.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG" and "SKYSENSE_CLASSES" not in source.tags()
        )
        rank = source.read(1)
    assert (rank[:, 56:] == 0).all() and (rank[:, :56] > 0).all() and rank.max() == 100
    # They are 243 of 3584 pixels, 7 %.
    assert np.median(rank[flooded]) >= 95 and rank[flooded].min() > 60
    assert json.loads((tmp_path / "change.tif.recipe.json").read_text())["options"]["split"] == SPLIT
    assert not (tmp_path / "change.tif.parts").exists()
    # Stopped, it goes on with what was compared, and gives the same bytes.
    again = tmp_path / "again.tif"
    with pytest.raises(Cancelled):
        job("change", scene, again, control=StopsAt("Ranking the distances"), options={"split": SPLIT})
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "again.tif.parts").glob("*_distance.tif")}
    with pytest.raises(Cancelled):
        job("change", scene, again, control=StopsAt("Ranking the distances"), options={"split": SPLIT})
    assert times and {path: path.stat().st_mtime_ns for path in times} == times
    job("change", scene, again, options={"split": SPLIT})
    assert again.read_bytes() == out.read_bytes()
    # A rank is the share of pixels that are below it.
    for value in (20, 50, 90):
        assert abs((rank[:, :56] <= value).mean() - value / 100) < 0.02


def test_ranks_are_shares_of_smaller_distances():
    values = np.array([[0.0, 1e-7, 1e-3], [0.5, 2.0, np.nan]], np.float32)
    shares = smaller_shares(iter([values[:1], values[1:]]))
    assert ranked(values, shares).tolist() == [[1, 20, 40], [60, 80, 0]]
    assert ranked(np.full((1, 2), np.nan, np.float32), shares).tolist() == [[0, 0]]


def test_the_command(scene, tmp_path, capsys):
    out = tmp_path / "c.tif"
    assert cli.main(["change", str(scene), "--split", SPLIT, "--out", str(out), "--device", "cpu"]) == 0
    assert str(out) in capsys.readouterr().out and out.is_file()
    assert cli.main(["change", str(scene), "--split", "2030-01-01", "--out", str(out)]) == 2
    assert "has no Sentinel-2 image from 2030-01-01 on" in capsys.readouterr().err
