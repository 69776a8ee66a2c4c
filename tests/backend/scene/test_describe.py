import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rasterio.transform import Affine
from safe_folder import write_safe
from skysense.scene.describe import Description, describe, describe_acquisition
from skysense.scene.scenefile import parse_scene
from skysense.scene.sensors import SENSORS

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data"
S2_BANDS = SENSORS["s2"].bands
Writer = Callable[..., Path]


def facts(found: Description) -> tuple[Any, ...]:
    return found.status, found.modality, found.bands


def test_a_named_sentinel_2_image(s2: Writer) -> None:
    found = describe(s2("S2_x_20200101.tif", nodata=0))
    assert facts(found) == ("green", "s2", {name: number for number, name in enumerate(S2_BANDS, start=1)})
    assert found.to_json() == {
        "path": str(found.path),
        "ok": True,
        "status": "green",
        "reason": "",
        "modality": "s2",
        "date": "2020-01-01",
        "date_source": "file name",
        "bands": found.bands,
        "assumed": [],
        "band_count": 10,
        "crs": "EPSG:32631",
        "gsd_m": 10.0,
        "width": 32,
        "height": 32,
        "bounds_wgs84": pytest.approx([3.0, 50.5491, 3.0045, 50.5519], abs=1e-3),
        "units": "dn",
        "scale": None,
        "offset": None,
        "nodata": 0.0,
        "alpha": None,
        "mask": None,
        "level": None,
        "orbit": None,
        "platform": "Sentinel-2",
        "empty": False,
    }


def test_json_has_no_nan(s1: Writer) -> None:
    found = describe(s1("S1_20200101.tif", nodata=float("nan")))
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["nodata"] == "nan"


def test_pixel_size_in_degrees(s2: Writer) -> None:
    found = describe(s2("S2_20200101.tif", crs="EPSG:4326", origin=(2.79, 42.36), gsd=9e-5))
    assert found.gsd_m == pytest.approx(8.61, abs=0.01)  # 7.4 m by 10.0 m


def test_pixel_size_in_web_mercator(write: Writer) -> None:
    path = write(
        "x.tif",
        3,
        dtype="uint8",
        high=250,
        crs="EPSG:3857",
        origin=(0, 8_399_738),
        colours=("red", "green", "blue"),
        gsd=2,
    )
    assert describe(path).gsd_m == pytest.approx(1.0, abs=0.001)  # at 60 degrees north


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"colours": ("red", "green", "blue")}, ("green", {"R": 1, "G": 2, "B": 3}, None)),
        ({"photometric": "minisblack"}, ("amber", {"R": 1, "G": 2, "B": 3}, None)),
        ({"names": ("blue", "green", "red", "nir")}, ("green", {"B": 1, "G": 2, "R": 3, "NIR": 4}, None)),
        ({"colours": ("blue", "green", "red", "alpha")}, ("green", {"B": 1, "G": 2, "R": 3}, 4)),
        (
            {"count": 4, "photometric": "rgb", "alpha": "unspecified"},
            ("amber", {"R": 1, "G": 2, "B": 3, "NIR": 4}, None),
        ),
        (
            {"names": ("red", "green", "blue", None), "colours": ("red", "green", "blue", "alpha")},
            ("green", {"R": 1, "G": 2, "B": 3}, 4),
        ),
        ({"count": 4, "dtype": "uint16", "photometric": "minisblack"}, ("red", {}, None)),
        ({"count": 1}, ("red", {}, None)),
    ],
)
def test_high_resolution(write: Writer, options: dict[str, Any], expected: tuple[Any, ...]) -> None:
    count = len(options.get("names", options.get("colours", "123")))
    settings = {"count": count, "dtype": "uint8", "high": 250, "low": 1, "gsd": 0.5, **options}
    found = describe(write("picture.tif", **settings))
    assert (found.status, found.bands, found.alpha) == expected
    assert found.status == "red" or (found.modality, found.units) == ("hr", "dn")


def test_a_fourth_band_of_extremes_is_alpha(write: Writer) -> None:
    data = np.full((4, 20, 20), 100, np.uint8)
    data[3, :, 5:] = 255
    data[3, :, :5] = 0
    found = describe(write("x.tif", data=data, gsd=1, photometric="minisblack", alpha="unspecified"))
    assert (found.status, found.bands, found.alpha) == ("amber", {"R": 1, "G": 2, "B": 3}, 4)


@pytest.mark.parametrize(("count", "last"), [(10, "B12"), (12, "B12"), (13, "B12")])
def test_sentinel_2_without_names(write: Writer, count: int, last: str) -> None:
    found = describe(write("S2_20200101.tif", count))
    assert (found.status, found.modality, found.bands[last], found.assumed) == (
        "amber",
        "s2",
        count,
        ("bands",),
    )
    assert "order" in found.reason or "usual" in found.reason


def test_eleven_bands_have_no_usual_order(write: Writer) -> None:
    assert facts(describe(write("S2_20200101.tif", 11))) == ("red", "s2", {})


def test_ten_bands_have_eleven_in_sen2r(write: Writer) -> None:
    found = describe(write("S2A2A_20190723_022_Site_BOA_10.tif", 11))
    assert (found.status, found.bands["B8"], found.bands["B12"]) == ("green", 8, 11)


@pytest.mark.parametrize(
    ("options", "units", "status"),
    [
        ({}, "db", "green"),
        ({"low": 0.01, "high": 0.4}, "linear", "green"),
        ({"low": 0.2, "high": 1.0}, None, "amber"),
        ({"names": ("Gamma0_VV", "Gamma0_VH")}, "db", "green"),
        ({"names": ()}, "db", "amber"),
        ({"dtype": "uint16", "low": 10, "high": 300}, None, "red"),
    ],
)
def test_sentinel_1(s1: Writer, options: dict[str, Any], units: str | None, status: str) -> None:
    found = describe(s1("S1_20200101.tif", **options))
    assert (found.units, found.status, found.bands) == (units, status, {"VV": 1, "VH": 2})


def test_sentinel_1_with_one_polarisation(write: Writer) -> None:
    found = describe(
        write(
            "S1A_IW_20200621T052523_DVP_RTC30_G_gpuned_5A1B_VV.tif",
            1,
            dtype="float32",
            low=-20,
            high=-5,
            gsd=30,
        )
    )
    assert facts(found) == ("amber", "s1", {"VV": 1})
    assert "VH missing" in found.reason
    assert found.platform == "Sentinel-1A"


def test_decibel_without_any_name_is_sentinel_1(s1: Writer) -> None:
    assert describe(s1("radar_20200101.tif", names=())).modality == "s1"


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"crs": None}, "no coordinate system"),
        ({"transform": Affine.identity()}, "no georeference"),
        ({"transform": Affine(10, 1, 5e5, 1, -10, 5.6e6)}, "rotated"),
        ({"transform": Affine(10, 0, 5e5, 0, 10, 5.6e6)}, "upside down"),
        ({"side": 3}, "too small (3 x 3 pixels)"),
        ({"data": np.ones((2, 9, 9), np.complex64), "names": ()}, "complex"),
        (
            {"crs": "+proj=longlat +a=3396190 +b=3376200 +no_defs", "gsd": 1e-4, "origin": (0, 0)},
            "another planet",
        ),
        ({"crs": "EPSG:4326"}, "place on the Earth"),
        ({"names": ("B2", "B3") * 5}, "stacks 10 bands"),
        ({"names": ("VV", "VH", *S2_BANDS[:8])}, "stacks 10 bands"),
    ],
)
def test_what_prevents_use(s2: Writer, write: Writer, options: dict[str, Any], part: str) -> None:
    settings = {"names": S2_BANDS, **options}
    found = describe(write("S2_20200101.tif", 10, **settings))
    assert (found.status, found.ok) == ("red", False)
    assert found.reason.startswith("S2_20200101.tif: ") and part in found.reason
    assert found.reason.count(". ") == 0 and found.reason.endswith(".")


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("T31TCJ_20200817T105031_SCL_20m.tif", "mask"),
        ("S2A2A_20190723_022_Site_NDVI_10.tif", "index"),
        ("T31TCJ_20200817T105031_TCI_10m.tif", "picture"),
        ("LC09_L2SP_014032_20220704_20220706_02_T1_SR_B4.TIF", "Landsat"),
    ],
)
def test_what_is_no_image_of_ours(write: Writer, name: str, part: str) -> None:
    found = describe(write(name, 1, dtype="uint8", high=11, gsd=20))
    assert found.status == "red" and part in found.reason


def test_files_that_are_no_images(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_text("no image")
    (tmp_path / "b.gpkg").write_text("no layer")
    (tmp_path / "c.zip").write_text("")
    (tmp_path / "MTD_MSIL2A.xml").write_text("<a/>")
    for name, part in (
        ("a.tif", "cannot be read"),
        ("b.gpkg", "vector"),
        ("c.zip", "unpack"),
        ("MTD_MSIL2A.xml", "folder"),
        ("d.tif", "no such file"),
    ):
        found = describe(tmp_path / name)
        assert found.status == "red" and part in found.reason.lower()


def test_the_users_word_on_the_sensor(write: Writer) -> None:
    path = write("x_20200101.tif", 2, dtype="float32", low=0.01, high=0.3, gsd=10)
    assert describe(path).modality is None
    assert facts(describe(path, "s1")) == ("amber", "s1", {"VV": 1, "VH": 2})


def test_a_folder_of_bands(write: Writer, tmp_path: Path) -> None:
    stem = "S2A_MSIL2A_20170617T113321_36_85"
    for band, gsd, side in (("B02", 10, 24), ("B05", 20, 12), ("B8A", 20, 12), ("B01", 60, 4)):
        write(f"{stem}/{stem}_{band}.tif", 1, gsd=gsd, side=side)
    found = describe(tmp_path / stem)
    assert found.bands == {
        name: f"{stem}_{file}.tif"
        for name, file in (("B1", "B01"), ("B2", "B02"), ("B5", "B05"), ("B8A", "B8A"))
    }
    assert (found.modality, found.gsd_m, found.level, str(found.date)) == ("s2", 10.0, "L2A", "2017-06-17")


def test_a_safe_folder(write: Writer, tmp_path: Path) -> None:
    safe = "S2B_MSIL2A_20220615T101559_N0400_R065_T32UPC_20220615T122549.SAFE"
    data = f"{safe}/GRANULE/L2A_T32UPC_A027529_20220615T101559/IMG_DATA"
    for folder, band, gsd in (
        ("R10m", "B02", 10),
        ("R20m", "B02", 20),
        ("R20m", "B8A", 20),
        ("R20m", "SCL", 20),
    ):
        write(
            f"{data}/{folder}/T32UPC_20220615T101559_{band}_{folder[1:]}.tif", 1, gsd=gsd, low=1100, high=3000
        )
    (tmp_path / safe / "MTD_MSIL2A.xml").write_text(
        "<a><PRODUCT_START_TIME>2022-06-15T10:15:59Z</PRODUCT_START_TIME><BOA_ADD_OFFSET band_id='0'>-1000</BOA_ADD_OFFSET></a>"
    )
    found = describe(tmp_path / safe)
    inside = "GRANULE/L2A_T32UPC_A027529_20220615T101559/IMG_DATA"
    assert found.bands == {
        "B2": f"{inside}/R10m/T32UPC_20220615T101559_B02_10m.tif",
        "B8A": f"{inside}/R20m/T32UPC_20220615T101559_B8A_20m.tif",
    }
    assert found.mask == f"{inside}/R20m/T32UPC_20220615T101559_SCL_20m.tif"
    assert (found.scale, found.offset, found.platform) == (1e-4, pytest.approx(-0.1), "Sentinel-2B")


def test_other_folders(write: Writer, s2: Writer, tmp_path: Path) -> None:
    s2("one/S2_20200101.tif")
    found = describe(tmp_path / "one")
    assert (found.status, found.bands["B3"]) == ("green", "S2_20200101.tif:2")
    s2("one/S2_20200102.tif")
    assert "2 images" in describe(tmp_path / "one").reason
    (tmp_path / "none").mkdir()
    assert describe(tmp_path / "none").status == "red"


@pytest.mark.skipif(not SHARED.exists(), reason="the shared sample data are not here")
def test_shared_scenes_are_described_as_they_are() -> None:
    rows = 0
    for file in sorted(SHARED.glob("*/*/scene.json")):
        for row in json.loads(file.read_text())["acquisitions"]:
            found = describe(file.parent / row["path"])
            rows += 1
            day = found.date.isoformat() if found.date else None
            assert (found.modality, found.bands, day) == (row["modality"], row["bands"], row["date"]), row[
                "path"
            ]
            assert found.ok and found.units in ("dn", "db")
    assert rows >= 484


@pytest.mark.skipif(not SHARED.exists(), reason="the shared sample data are not here")
def test_facts_of_odd_files() -> None:
    root = SHARED / "robustness"
    ukis = describe(root / "ukis_2022")
    assert (str(ukis.date), ukis.scale, ukis.offset, ukis.level) == (
        "2022-06-15",
        1e-4,
        pytest.approx(-0.1),
        "L1C",
    )
    radar = describe(root / "cog_nodata_nan.tif")
    assert (radar.units, radar.orbit, str(radar.date), radar.nodata) == ("linear", "asc", "2020-01-06", 0.0)
    west, _, east, _ = describe(root / "cog_dateline.tif").bounds_wgs84 or (0, 0, 0, 0)
    assert west > 177 and east < -178
    assert describe(root / "RGBA.uint16.tif").bands == {"B": 1, "G": 2, "R": 3}
    assert describe(root / "RGBA.uint16.tif").alpha == 4
    safe = describe(root / "S2A_MSIL2A_20190212T192651_N0212_R013_T07HFE_20201007T160857.SAFE")
    assert (str(safe.date), safe.gsd_m, list(safe.bands)) == ("2019-02-12", 1098.0, ["B2", "B3", "B4", "B8"])
    folder = describe(root / "S2A_MSIL2A_20170617T113321_36_85")
    assert (str(folder.date), len(folder.bands)) == ("2017-06-17", 12)
    assert (
        describe(root / "sen2r_2019/S2A2A_20190723_022_Barbellino_BOA_10.tif").date
        == describe(root / "sen2r_2019/S2A1C_20190723_022_Barbellino_TOA_10.tif").date
    )


def test_an_acquisition_is_looked_at_again_when_its_file_has_changed(s2: Writer) -> None:
    path = s2("S2A_MSIL2A_20210601T103021_N0300_R108_T31UFS_20210601T140000.tif")
    found = describe(path)
    [item] = parse_scene(
        {"version": 1, "name": "s", "acquisitions": [{"modality": "s2", "path": str(path), "date": "2021-06-01"}]}, path.parent
    ).acquisitions  # fmt: skip
    assert describe_acquisition(item).status == found.status == "green"
    assert describe_acquisition(item) is describe_acquisition(item)
    path.write_bytes(path.read_bytes()[:3000])
    assert describe_acquisition(item).status == "red"
    path.unlink()
    assert "no such file" in str(describe_acquisition(item).reason)


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("LC08_198026_20200715.tif", S2_BANDS[:7]),
        ("export_20200715.tif", ("SR_B1", "SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B6", "SR_B7")),
        ("export_20200715.tif", ("B2", "B3", "B4", "QA_PIXEL")),
        ("export_20200715.tif", ("SR_B4", "ST_B10")),
    ],
)
def test_landsat_is_not_taken_for_sentinel_2(write: Writer, name: str, names: tuple[str, ...]) -> None:
    found = describe(write(name, len(names), names=names, gsd=30))
    assert found.status == "red" and "Landsat" in found.reason


def test_sentinel_2_without_any_infrared_band_is_doubtful(write: Writer) -> None:
    found = describe(write("x_20200715.tif", 6, names=("B2", "B3", "B4", "B5", "B6", "B7"), gsd=30))
    assert (found.status, found.modality) == ("amber", "s2")
    assert "B8, B8A, B11, B12 missing" in found.reason


@pytest.mark.parametrize(
    ("name", "orbit"),
    [("S1_20200101_DESC.tif", "des"), ("S1_desc_20200101.tif", "des"), ("S1_20200101_ASCENDING.tif", "asc")],
)
def test_the_orbit_in_a_name(s1: Writer, name: str, orbit: str) -> None:
    assert describe(s1(name)).orbit == orbit


def test_rotation_that_is_rounding_does_not_matter(s2: Writer) -> None:
    found = describe(s2("S2_20200101.tif", transform=Affine(10, 1e-17, 5e5, -1e-17, -10, 5.6e6)))
    assert found.status == "green"


def test_a_folder_is_looked_at_again_when_a_file_in_it_has_changed(write: Writer, tmp_path: Path) -> None:
    safe = write_safe(write, tmp_path, np.full((1, 40, 40), 1500, np.uint16))
    assert describe(safe).offset == pytest.approx(-0.1)
    (safe / "MTD_MSIL2A.xml").write_text("<a><BOA_ADD_OFFSET>-500.0</BOA_ADD_OFFSET></a>")
    assert describe(safe).offset == pytest.approx(-0.05)
    (safe / describe(safe).bands["B2"]).write_bytes(b"no image")
    assert describe(safe).status == "red"


def test_of_several_granules_one_must_be_chosen(write: Writer, tmp_path: Path) -> None:
    safe = "S2A_OPER_PRD_MSIL1C_PDMC_20160306T125634_R051_V20160305T105054_20160305T105054.SAFE"
    for tile in ("T31TCJ", "T31TDJ"):
        granule = f"S2A_OPER_MSI_L1C_TL_EPA__20161004T203204_A005095_{tile}_N02.04"
        for band in ("B02", "B03"):
            write(f"{safe}/GRANULE/{granule}/IMG_DATA/{granule[:-7]}_{band}.tif", 1)
    found = describe(tmp_path / safe)
    assert found.status == "red" and "choose one granule" in found.reason
    chosen = describe(tmp_path / safe / "GRANULE" / granule)
    assert (list(chosen.bands), str(chosen.date)) == (["B2", "B3"], "2016-03-05")


def test_theia_with_both_corrections(write: Writer, tmp_path: Path) -> None:
    stem = "SENTINEL2A_20170726-105124-460_L2A_T31TCJ_C_V2-2"
    for correction in ("SRE", "FRE"):
        for band in ("B2", "B3"):
            write(f"{stem}/{stem}_{correction}_{band}.tif", 1)
    write(f"{stem}/{stem}_ATB_R1.tif", 2)
    found = describe(tmp_path / stem)
    assert found.bands == {name: f"{stem}_FRE_{name}.tif" for name in ("B2", "B3")}
