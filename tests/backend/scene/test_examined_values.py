"""What a sample of an image's values tells: units, scale, offset, fill, cautions."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safe_folder import BASELINE_04, write_safe
from skysense.scene.describe import describe, describe_acquisition
from skysense.scene.scenefile import parse_scene
from skysense.scene.sensors import SENSORS

Writer = Callable[..., Path]
S2_BANDS = SENSORS["s2"].bands


@pytest.mark.parametrize(
    ("low", "high", "offset"),
    [(1100, 4000, -0.1), (100, 3000, 0.0)],
)
def test_the_offset_of_baseline_04(write: Writer, low: int, high: int, offset: float) -> None:
    name = "S2B_MSIL2A_20220615T101559_N0400_R065_T32UPC_20220615T122549.tif"
    found = describe(write(name, 10, low=low, high=high, names=S2_BANDS))
    assert (found.scale, found.offset) == (1e-4, pytest.approx(offset))
    assert ("1000" in found.reason) == (offset != 0)


def test_no_offset_before_baseline_04(write: Writer) -> None:
    for baseline in ("N0214", "N9999"):
        name = f"S2B_MSIL2A_20210615T101559_{baseline}_R065_T32UPC_20220615T122549.tif"
        found = describe(write(name, 10, low=1100, names=S2_BANDS, high=2000))
        assert (found.scale, found.offset, found.status) == (None, None, "green")


def test_float_reflectance(s2: Writer) -> None:
    assert describe(s2("S2_20200101.tif", dtype="float32", low=0.01, high=0.4)).units == "reflectance"


def test_scale_tags(s2: Writer) -> None:
    import rasterio

    path = s2("S2_20200101.tif")
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets = (1e-4,) * 10, (-0.1,) * 10
    found = describe(path)
    assert (found.units, found.scale, found.offset) == ("dn", 1e-4, -0.1)


def test_clouds_and_empty_images_are_noted(s2: Writer) -> None:
    bright = describe(s2("S2_20200101.tif", low=4000, high=9000))
    empty = describe(s2("S2_20200102.tif", low=0, high=0, nodata=0))
    assert (bright.status, empty.status) == ("amber", "amber")
    assert "cloud" in bright.reason and "no valid pixel" in empty.reason


def test_dark_and_empty_pixels_do_not_switch_off_a_stated_offset(write: Writer, tmp_path: Path) -> None:
    data = np.zeros((1, 40, 40), np.uint16)
    data[0, 20:] = 1500
    data[0, 39] = 700
    safe = write_safe(write, tmp_path, data)
    granule = safe / "GRANULE" / "L2A_T32UPC_A027529_20220615T101559"
    for folder in (safe, granule, granule / "IMG_DATA" / "R10m"):
        assert (describe(folder).offset, list(describe(folder).bands)) == (pytest.approx(-0.1), ["B2"])


def test_a_stated_offset_holds_where_the_sample_is_empty(write: Writer, tmp_path: Path) -> None:
    safe = write_safe(write, tmp_path, np.zeros((1, 40, 40), np.uint16))
    assert describe(safe).offset == pytest.approx(-0.1)


@pytest.mark.parametrize("fill", [0, -9999])
def test_undeclared_fill_is_not_dark(write: Writer, fill: int) -> None:
    data = np.full((10, 40, 40), 1500, np.int16)
    data[:, :30] = fill
    found = describe(write(f"{BASELINE_04}.tif", data=data, names=S2_BANDS))
    assert found.offset == pytest.approx(-0.1)


def test_metadata_beside_a_picture_made_from_the_product_do_not_settle_its_offset(
    write: Writer, tmp_path: Path
) -> None:
    (tmp_path / "MTD_MSIL2A.xml").write_text("<a><BOA_ADD_OFFSET>-1000</BOA_ADD_OFFSET></a>")
    harmonised = write(f"{BASELINE_04}.tif", 10, low=100, high=3000, names=S2_BANDS)
    assert describe(harmonised).offset == 0.0


def test_a_blue_band_of_zeros_does_not_make_an_image_empty(s2: Writer) -> None:
    data = np.full((10, 20, 20), 1500, np.uint16)
    data[0] = 0
    found = describe(s2("S2_20200101.tif", data=data))
    assert (found.status, found.empty) == ("green", False)


def test_radar_with_undeclared_zeros_is_told_by_its_own_numbers(s1: Writer) -> None:
    data = np.full((2, 40, 40), -12.0, np.float32)
    data[:, :30] = 0
    assert (describe(s1("S1_20200101.tif", data=data)).units, describe(s1("x_20200101.tif", data=data, names=())).modality) == ("db", "s1")  # fmt: skip
    found = describe(s1("S1_20200102.tif", data=np.zeros((2, 20, 20), np.float32)))
    assert (found.status, found.empty) == ("amber", True)


def test_decibel_times_100_gets_its_scale(s1: Writer) -> None:
    found = describe(s1("S1_20200101.tif", dtype="int16", low=-2000, high=-300))
    assert (found.status, found.units, found.scale) == ("amber", "db", 0.01)
    assert "scale 0.01" in found.reason


@pytest.mark.parametrize(("low", "row"), [(-2000, {"units": "db"}), (-9000, {})])
def test_whole_numbers_that_are_no_decibel_are_refused(s1: Writer, low: int, row: dict[str, Any]) -> None:
    path = s1("S1_20200101.tif", dtype="int16", low=low, high=low / 2)
    [item] = parse_scene(
        {"version": 1, "name": "s", "acquisitions": [{"modality": "s1", "path": str(path), **row}]}, path.parent
    ).acquisitions  # fmt: skip
    found = describe_acquisition(item)
    assert found.status == "red" and "set its scale, 0.01" in found.reason


def test_a_scale_that_the_scene_states_settles_it(s1: Writer) -> None:
    path = s1("S1_20200101.tif", dtype="int16", low=-2000, high=-300)
    [item] = parse_scene(
        {"version": 1, "name": "s", "acquisitions": [{"modality": "s1", "path": str(path), "units": "db", "scale": 0.01}]}, path.parent
    ).acquisitions  # fmt: skip
    assert describe_acquisition(item).status == "green"
