"""The synthetic landscape: what is in the folder, that it is marked as made up, repeatable and plausible."""

import json
import time
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
from shapely import box, distance, from_wkb, transform
from skysense.errors import InputError, StorageError
from skysense.scene.sensors import SENSORS
from skysense.synthetic.landscape import make_landscape, overpasses
from skysense.synthetic.legend import CEREAL, CLASSES, FOREST, MAIZE, WATER


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest landscape, made once."""
    return make_landscape(tmp_path_factory.mktemp("synthetic"), seed=0, size_m=320).parent


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as src:
        return src.read()


def test_small_landscape_is_quick(tmp_path: Path) -> None:
    start = time.process_time()
    make_landscape(tmp_path, seed=5, size_m=320)
    assert time.process_time() - start < 2


def test_scene_file_lists_every_acquisition(folder: Path) -> None:
    scene = json.loads((folder / "scene.json").read_text())
    assert scene["version"] == 1 and scene["synthetic"] is True
    assert scene["labels"] == {"path": "train.gpkg", "field": "class", "layer": "train"}
    counts = {m: sum(a["modality"] == m for a in scene["acquisitions"]) for m in ("hr", "s2", "s1")}
    assert counts == {"hr": 1, "s2": 12, "s1": 6}
    for entry in scene["acquisitions"]:
        assert entry["date"].replace("-", "") in entry["path"]
        with rasterio.open(folder / entry["path"]) as src:
            assert {name: i + 1 for i, name in enumerate(src.descriptions)} == entry["bands"]
    assert json.loads((folder / "classes.json").read_text()) == {
        "1": "water",
        "2": "forest",
        "3": "town",
        "4": "winter cereals",
        "5": "maize",
        "6": "grassland",
    }


def test_rasters_have_the_promised_form(folder: Path) -> None:
    form = {
        "hr": ("uint8", ("R", "G", "B", "NIR"), 1.25, (256, 256)),
        "s2": ("uint16", SENSORS["s2"].bands, 10.0, (32, 32)),
        "s1": ("float32", ("VV", "VH"), 10.0, (32, 32)),
    }
    for modality, (dtype, bands, gsd, shape) in form.items():
        for path in sorted((folder / modality).glob("*.tif")):
            with rasterio.open(path) as src:
                assert (src.dtypes[0], src.descriptions, src.res, src.shape) == (
                    dtype,
                    bands,
                    (gsd, gsd),
                    shape,
                )
                assert src.bounds == (500_000, 5_399_680, 500_320, 5_400_000)
                assert src.crs.to_epsg() == 32632
                nodata = {"hr": src.nodata is None, "s2": src.nodata == 0, "s1": np.isnan(src.nodata or 0)}
                assert nodata[modality]
    with rasterio.open(folder / "truth.tif") as src:
        assert (src.dtypes[0], src.nodata, src.shape) == ("uint8", 0, (32, 32))
        assert src.colormap(1)[WATER] == (0x2F, 0x7F, 0xC1, 255)


def test_everything_says_that_it_is_synthetic(folder: Path) -> None:
    for path in folder.rglob("*.tif"):
        with rasterio.open(path) as src:
            assert src.tags()["SYNTHETIC"] == "yes"
            assert src.tags()["TIFFTAG_IMAGEDESCRIPTION"].startswith("Synthetic landscape")
    info = pyogrio.read_info(folder / "train.gpkg", layer="train")
    assert info["dataset_metadata"]["SYNTHETIC"] == info["layer_metadata"]["SYNTHETIC"] == "yes"
    assert (folder / "README.txt").read_text().startswith("Synthetic landscape")
    assert all("synthetic" in path.name for m in ("hr", "s2", "s1") for path in (folder / m).iterdir())


def test_training_polygons_lie_in_pure_pixels_and_the_mask_keeps_its_distance(folder: Path) -> None:
    truth, mask = read(folder / "truth.tif")[0], read(folder / "eval_mask.tif")[0]
    _, _, wkb, fields = pyogrio.raw.read(folder / "train.gpkg", layer="train")
    rings = [transform(g, lambda xy: (xy - (500_000, 5_400_000)) * (1, -1)) for g in from_wkb(wkb)]
    names, ids = fields[1], fields[2]
    for value, (name, _) in CLASSES.items():
        assert (ids == value).sum() == (names == name).sum() >= 4
    rows, cols = np.mgrid[:32, :32]
    pixels = box(cols * 10, rows * 10, cols * 10 + 10, rows * 10 + 10)
    for ring, value in zip(rings, ids, strict=True):
        assert ring.is_valid
        touched = distance(pixels, ring) == 0
        assert set(truth[touched].tolist()) == {int(value)}
        assert (distance(pixels[mask > 0], ring) > 20).all()
    assert set(np.unique(truth[mask > 0])) == set(CLASSES)
    assert (mask[truth == 0] == 0).all()


def test_same_seed_same_pixels_other_seed_other_landscape(tmp_path: Path, folder: Path) -> None:
    again = make_landscape(tmp_path / "again", seed=0, size_m=320).parent
    for path in sorted(folder.rglob("*.tif")):
        np.testing.assert_array_equal(read(path), read(again / path.relative_to(folder)))
    ours, theirs = (pyogrio.raw.read(d / "train.gpkg")[2].tolist() for d in (folder, again))
    assert ours == theirs
    other = make_landscape(tmp_path / "other", seed=1, size_m=320, n_s2=1, n_s1=0).parent
    assert (read(other / "truth.tif") != read(folder / "truth.tif")).mean() > 0.2


@pytest.mark.parametrize("seed", range(2, 8))
def test_every_seed_has_every_class_to_score(tmp_path: Path, seed: int) -> None:
    folder = make_landscape(tmp_path, seed=seed, size_m=320, n_s2=0, n_s1=0).parent
    truth, mask = read(folder / "truth.tif"), read(folder / "eval_mask.tif")
    assert set(np.unique(truth[mask > 0])) == set(CLASSES)


def test_crops_follow_their_season(tmp_path: Path) -> None:
    folder = make_landscape(tmp_path, size_m=640, n_s2=12, n_s1=0).parent
    truth = read(folder / "truth.tif")[0]
    red, nir = SENSORS["s2"].bands.index("B4"), SENSORS["s2"].bands.index("B8")
    ndvi = {}
    for path in sorted((folder / "s2").glob("*.tif")):
        values = read(path).astype(float)
        index = (values[nir] - values[red]) / (values[nir] + values[red])
        ndvi[int(path.stem[-4:-2])] = {c: float(np.median(index[truth == c])) for c in CLASSES}
    clear = [m for m in ndvi if ndvi[m][WATER] < 0]
    assert len(clear) >= 8
    assert {4, 8} <= set(clear)
    assert ndvi[4][CEREAL] > ndvi[4][MAIZE] + 0.25
    assert ndvi[8][MAIZE] > ndvi[8][CEREAL] + 0.35
    assert ndvi[8][FOREST] > 0.7


def test_some_dates_are_cloudy_and_others_are_not(folder: Path) -> None:
    bright = [float((read(path)[0] > 3000).mean()) for path in sorted((folder / "s2").glob("*.tif"))]
    assert sum(share > 0.03 for share in bright) == 4
    assert sum(share < 0.01 for share in bright) == 8


def test_radar_speckle_has_the_looks_of_sentinel_1(tmp_path: Path) -> None:
    folder = make_landscape(tmp_path, size_m=640, n_s2=0, n_s1=2).parent
    truth = read(folder / "truth.tif")[0]
    vv, vh = read(sorted((folder / "s1").glob("*.tif"))[0])
    forest = 10 ** (vv[truth == FOREST] / 10)
    assert 3.3 < forest.mean() ** 2 / forest.var() < 4.8  # a little under 4.4: the forest itself varies
    assert np.median(vv[truth == WATER]) < np.median(vv[truth == FOREST]) - 6
    assert np.median(vh) < np.median(vv) - 4


def test_other_crs_pixel_size_and_year(tmp_path: Path) -> None:
    path = make_landscape(tmp_path, size_m=320, hr_gsd_m=2.5, n_s2=1, n_s1=1, crs="EPSG:32733", year=2021)
    with rasterio.open(path.parent / "hr" / "HR_synthetic_20210617.tif") as src:
        assert (src.shape, src.crs.to_epsg()) == ((128, 128), 32733)
    assert all(a["date"].startswith("2021") for a in json.loads(path.read_text())["acquisitions"])


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        ({"size_m": 300}, "size_m"),
        ({"size_m": 330}, "size_m"),
        ({"hr_gsd_m": 3.0}, "hr_gsd_m"),
        ({"hr_gsd_m": 0.0}, "hr_gsd_m"),
        ({"seed": -1}, "seed, n_s2, n_s1"),
        ({"year": 1990}, "year"),
        ({"crs": "EPSG:4326"}, "crs"),
        ({"crs": "nonsense"}, "crs"),
    ],
)
def test_bad_arguments_are_told(tmp_path: Path, arguments: dict, where: str) -> None:
    with pytest.raises(InputError) as caught:
        make_landscape(tmp_path, **arguments)
    assert caught.value.where == where


def test_unwritable_folder_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError):
        make_landscape(tmp_path / "file", size_m=320, n_s2=0, n_s1=0)


def test_overpasses_keep_to_the_track() -> None:
    days = overpasses(12, 5, 4)
    assert len(set(days)) == 12 and all((d - 4) % 5 == 0 for d in days)
    assert days[0] < 31 and days[-1] > 335
    assert overpasses(0, 5, 4) == []
