"""Odd but real files from public repositories: each ends as its row says, described, checked and mapped.

The files' own table (`../shared/data/robustness/README.md`) says what is odd about each, and what to expect.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from skysense.errors import InputError
from skysense.jobs.control import JobControl
from skysense.jobs.recipe import parse_recipe
from skysense.jobs.runner import run
from skysense.raster.crs import bounds_in
from skysense.scene.describe import describe
from skysense.scene.scenefile import parse_scene
from skysense.scene.validate import validate

FOLDER = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "robustness"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="the folder of odd files is not here")

#: File, what `describe` finds, and a part of what it says.
REFUSED = [
    ("rotated.tif", None, "CRS"),
    ("corrupt.tif", "hr", "damaged"),
    ("float_nan.tif", None, "CRS"),
    ("RGB.byte/RGB.byte.tif", None, "300 m"),
    ("RGB.byte/RGB.byte.gcp.vrt", None, "control points"),
    ("RGB.byte/RGB.byte.rpc.vrt", None, "RPC"),
    ("goes.tif", None, "warp"),
    ("world.rgb.tif", None, "too coarse"),
    ("test_esri_wkt.tif", None, "too small"),
    ("float_raster_with_nodata.tif", None, "too coarse"),
    ("cog_cmap.tif", None, "palette"),
    ("cog_dateline.tif", None, "100 m"),
    ("cog_gcps_ovr.tif", None, "geocode"),
    ("cog_hirise_mars.tif", None, "planet"),
    ("cog_scale.tif", None, "429 m"),
    ("cog_nodata_nan.tif", "s1", "pixels of 200 m, too coarse for Sentinel-1 (9 to 45 m), and VH missing"),
    ("spacenet_ms1.tif", "hr", "assign its bands"),
    ("spacenet_sar_hh.tif", None, "complex"),
    (
        "S2A_MSIL2A_20190212T192651_N0212_R013_T07HFE_20201007T160857.SAFE",
        "s2",
        "pixels of 1.1 km, too coarse",
    ),
    (
        "esa_S2B_MSIL2A_20210122T133229_N0214_R081_T22HBD_20210122T155500.SAFE",
        "s2",
        "pixels of 1.1 km, too coarse",
    ),
    (
        "S1B_IW_GRDH_1SDV_20210401T052623_20210401T052648_026269_032297_ECC8.SAFE",
        "s1",
        "VH is missing",
    ),
    ("sen2r_2019/S2A2A_20190723_022_Barbellino_NDVI_10.tif", "s2", "index"),
    ("sen2r_2019/S2A2A_20190723_022_Barbellino_SCL_10.tif", "s2", "mask"),
    ("sen2r_2019/S2A2A_20190723_022_Barbellino_RGB432B_10.tif", "s2", "picture"),
    ("openEO_0.nc", None, "NetCDF"),
    ("iamap/test.tif", "s2", "not reflectance"),
    ("Quercus_robur_7_86717_WEFL_NLF_2017.h5", None, "not a raster layer"),
    (
        "min_lat=14.9517_min_lon=-86.2507_max_lat=14.9531_max_lon=-86.2493_dates=2017-01-01_2018-12-31_all.tif",
        None,
        "stacks 410 bands",
    ),
]

#: File, status, sensor, and a part of the caution.
ACCEPTED = [
    ("RGBA.uint16.tif", "green", "hr", ""),
    ("cog_alpha.tif", "green", "hr", ""),
    ("deepness/dummy_fotomap_small.tif", "green", "hr", ""),
    ("ukis_2022", "amber", "s2", "Level-1C"),
    ("sen2r_2019/S2A1C_20190723_022_Barbellino_TOA_10.tif", "amber", "s2", "Level-1C"),
    ("sen2r_2019/S2A2A_20190723_022_Barbellino_BOA_10.tif", "green", "s2", ""),
    ("Boadella_2020-01-18.tif", "amber", "s2", "cloud"),
    ("jaca/Jaca_1.tif", "amber", "s2", "no acquisition date"),
    ("S2A_MSIL2A_20170617T113321_36_85", "green", "s2", ""),
    ("sentinel1_rennes_30_t1.tif", "amber", "s1", "neither decibel nor power"),
]

#: A row of a scene in which the user says more than the file does, and a part of the sentence that ends the run.
STATED = [
    ({"modality": "hr", "path": "RGB.byte/RGB.byte.tif"}, "pixels of 300 m, too coarse for High resolution"),
    ({"modality": "hr", "path": "world.rgb.tif"}, "too coarse"),
    ({"modality": "s2", "path": "world.rgb.tif", "bands": {"B4": 1, "B3": 2, "B2": 3}}, "too coarse"),
    ({"modality": "hr", "path": "goes.tif"}, "edges without a place"),
    ({"modality": "hr", "path": "cog_cmap.tif", "bands": {"R": 1, "G": 1, "B": 1}}, "palette"),
    ({"modality": "hr", "path": "RGB.byte/RGB.byte.gcp.vrt"}, "control points"),
    ({"modality": "s1", "path": "cog_nodata_nan.tif", "bands": {"VV": 1}}, "too coarse"),
    ({"modality": "s1", "path": "spacenet_sar_hh.tif", "bands": {"VV": 1}}, "complex"),
    ({"modality": "hr", "path": "all-nodata.tif"}, "has no valid pixel, and no other image has"),
    ({"modality": "hr", "path": "jaca"}, "not the bands of one product"),
]


def job(tmp_path: Path, task: str, row: dict, **more):
    """Run a task on a scene of one image; returns its result."""
    scene = {"version": 1, "name": "odd", "acquisitions": [row]}
    output = tmp_path / ("out.safetensors" if task == "finetune" else "out.tif")
    recipe = {"skysense": 1, "task": task, "scene": scene, "output": str(output), **more}
    recipe["options"] = {"device": "cpu", **more.get("options", {})}
    return run(parse_recipe(recipe, FOLDER), JobControl(lambda event: None))


def middle(path: Path) -> dict:
    """Options that map the middle of an image, 80 x 80 pixels."""
    with rasterio.open(path) as image:
        (x, y), size = image.xy(image.height // 2, image.width // 2), 40 * image.res[0]
        area = bounds_in((x - size, y - size, x + size, y + size), image.crs.to_wkt(), "EPSG:4326")
    return {"area": area, "area_crs": "EPSG:4326"}


def ends(tmp_path: Path, row: dict, part: str) -> None:
    """The run stops with one sentence that names the file, and leaves nothing behind."""
    with pytest.raises(InputError) as stopped:
        job(tmp_path, "embed", row)
    assert part in stopped.value.sentence and Path(row["path"]).name in stopped.value.sentence
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "modality", "part"), REFUSED)
def test_what_cannot_be_used(tmp_path: Path, name: str, modality: str | None, part: str) -> None:
    found = describe(FOLDER / name)
    assert (found.status, found.modality) == ("red", modality)
    assert part in found.reason
    json.dumps(found.to_json(), allow_nan=False)
    if modality is not None:
        ends(tmp_path, {"modality": modality, "path": name, "date": "2020-06-01"}, part)
        return
    for guess in ("hr", "s2", "s1"):  # whatever the user says that it is
        row = {"modality": guess, "path": name, "date": "2020-06-01"}
        scene = parse_scene({"version": 1, "name": "odd", "acquisitions": [row]}, FOLDER)
        assert validate(scene, labels=False).errors
        with pytest.raises(InputError):
            job(tmp_path, "embed", row)


@pytest.mark.parametrize(("row", "part"), STATED)
def test_what_the_user_says_does_not_make_it_usable(tmp_path: Path, row: dict, part: str) -> None:
    ends(tmp_path, {"date": "2020-06-01", **row}, part)


@pytest.mark.parametrize(("name", "status", "modality", "part"), ACCEPTED)
def test_what_can_be_used(tmp_path: Path, name: str, status: str, modality: str, part: str) -> None:
    found = describe(FOLDER / name)
    assert (found.status, found.modality) == (status, modality)
    assert part in found.reason
    row = {"modality": modality, "path": name, "date": str(found.date or "2020-06-01")}
    scene = parse_scene({"version": 1, "name": "odd", "acquisitions": [row]}, FOLDER)
    assert validate(scene, labels=False).errors == []
    file = next(iter(scene.acquisitions[0].bands.values())).path
    result = job(tmp_path, "embed", row, options=middle(file))
    with rasterio.open(result["embedding"]) as features:
        values = features.read()
    assert np.isfinite(values).any(axis=0).mean() > 0.3
    seen = values[:, np.isfinite(values).all(axis=0)]
    assert np.abs(seen).max() < 1e3 and seen.std(axis=1).max() > 0


def test_unnamed_bands_can_be_used_once_the_user_says_which_they_are(tmp_path: Path) -> None:
    path = FOLDER / "spacenet_ms1.tif"
    row = {"modality": "hr", "path": path.name, "bands": {"B": 1, "G": 2, "R": 3, "NIR": 4}}
    with rasterio.open(job(tmp_path, "embed", row, options=middle(path))["embedding"]) as features:
        assert features.dtypes[0] == "float32" and np.isfinite(features.read()).all()


def test_dates_that_no_name_tells_are_asked_for() -> None:
    rows = [{"modality": "s2", "path": f"jaca/Jaca_{number}.tif"} for number in (1, 2, 3)]
    scene = parse_scene({"version": 1, "name": "odd", "acquisitions": rows}, FOLDER)
    errors = validate(scene, labels=False).errors
    assert len(errors) == 3 and all("Enter the acquisition date" in error for error in errors)


def test_a_file_without_a_valid_pixel() -> None:
    found = describe(FOLDER / "all-nodata.tif")
    assert (found.status, found.modality, found.empty) == ("amber", "hr", True)
    assert found.bands == {"B": 1, "G": 2, "R": 3, "NIR": 4} and "no valid pixel" in found.reason


UNNAMED = {
    "modality": "s2",
    "path": "iamap/test.tif",
    "bands": {"B2": 1, "B3": 2, "B4": 3},
    "date": "2020-01-01",
}
DRONE = {"modality": "hr", "path": "deepness/dummy_fotomap_small.tif"}


@pytest.mark.parametrize(
    ("row", "labels", "part"),
    [
        (DRONE, {"path": "deepness/dummy_fotomap_area.gpkg", "field": "class"}, "has no field"),
        (DRONE, {"path": "deepness/dummy_fotomap_area_3857.gpkg"}, "no class field is chosen"),
        (UNNAMED, {"path": "iamap/ml.gpkg", "field": "Type"}, "no polygon lies inside the imagery"),
    ],
)
def test_labels_that_cannot_be_used(tmp_path: Path, row: dict, labels: dict, part: str) -> None:
    with pytest.raises(InputError) as stopped:
        job(tmp_path, "finetune", row, labels=labels)
    assert part in stopped.value.sentence and "labels" in stopped.value.sentence
    assert list(tmp_path.iterdir()) == []


def test_labels_in_another_crs_train_and_map(tmp_path: Path) -> None:
    labels = {"path": "iamap/ml_poly.shp", "field": "Type"}
    model = job(tmp_path, "finetune", UNNAMED, labels=labels, options={"judged": False})["model"]
    result = job(tmp_path, "predict", UNNAMED, model=model, options=middle(FOLDER / UNNAMED["path"]))
    with rasterio.open(result["map"]) as found, rasterio.open(FOLDER / UNNAMED["path"]) as image:
        assert set(np.unique(found.read(1))) <= {1, 2, 3}
        assert found.crs == image.crs
