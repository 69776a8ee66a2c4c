import numpy as np
import pytest
import rasterio
from raster_files import acquisition, write_raster
from skysense.errors import InputError
from skysense.raster.radiometry import BAD, EMPTY, find_radiometry

TEN = (10, 0, 500000, 0, -10, 5600000)


def decoded(item, names, mixing=False):
    path = item.bands[names[0]].path
    with rasterio.open(path) as dataset:
        radiometry = find_radiometry(item, names, dataset, path)
        return radiometry.decode(dataset.read([item.bands[name].index for name in names]), None, mixing)


def s2(folder, value, dtype="uint16", name="s2.tif", tags=None, **more):
    values = np.full((2, 4, 4), value, dtype)
    return acquisition("s2", write_raster(folder / name, values, TEN, **(tags or {})), ("B2", "B3"), **more)


@pytest.mark.parametrize(
    ("stored", "dtype", "more", "expected"),
    [
        (1234, "uint16", {}, 1234),
        (1234, "uint16", {"units": "dn"}, 1234),
        (0.1234, "float32", {"units": "reflectance"}, 1234),
        (0.1234, "float32", {}, 1234),
        (1234.0, "float32", {}, 1234),
        (2234, "uint16", {"scale": 1e-4, "offset": -0.1}, 1234),
        (2234, "uint16", {"offset": -1000.0}, 1234),
        (2234, "uint16", {"offset": -0.1}, 1234),
        (2234, "uint16", {"scale": 1e-4, "offset": -1000.0}, 1234),
        (1234, "uint16", {"scale": 1e-4}, 1234),
        (1234, "uint16", {"scale": 1.0, "offset": 0.0}, 1234),
        (617, "uint16", {"scale": 2e-4, "units": "reflectance"}, 1234),
    ],
)
def test_s2_becomes_reflectance_times_ten_thousand(tmp_path, stored, dtype, more, expected):
    values, state = decoded(s2(tmp_path, stored, dtype, **more), ["B2", "B3"])
    np.testing.assert_allclose(values, expected, rtol=1e-4)
    assert not state.any()


def test_s2_scale_and_offset_tags_of_the_file(tmp_path):
    tags = {"scales": (1e-4, 1e-4), "offsets": (-0.1, -0.1)}
    values, _ = decoded(s2(tmp_path, 2234, tags=tags), ["B2", "B3"])
    np.testing.assert_allclose(values, 1234, rtol=1e-5)


@pytest.mark.parametrize(
    ("product", "stored", "more", "expected"),
    [
        ("S2B_MSIL2A_20220615T101559_N0400_R065_T32UPC_20220615T122549", 1500, {}, 500),
        ("S2B_MSIL2A_20220615T101559_N0509_R065_T32UPC_20220615T122549", 1500, {}, 500),
        ("S2B_MSIL2A_20210615T101559_N0301_R065_T32UPC_20210615T122549", 1500, {}, 1500),
        # Harmonised by someone before: numbers below 1000 cannot carry +1000.
        ("S2B_MSIL2A_20220615T101559_N0400_R065_T32UPC_20220615T122549", 600, {}, 600),
        # The scene says what the offset is: never twice.
        ("S2B_MSIL2A_20220615T101559_N0400_R065_T32UPC_20220615T122549", 1500, {"scale": 1e-4, "offset": 0.0}, 1500),
        ("S2B_MSIL2A_20220615T101559_N0400_R065_T32UPC_20220615T122549", 1500, {"scale": 1e-4, "offset": -0.1}, 500),
    ],
)  # fmt: skip
def test_the_offset_of_baseline_four_is_taken_off_once(tmp_path, product, stored, more, expected):
    values, _ = decoded(s2(tmp_path, stored, name=f"{product}.tif", **more), ["B2", "B3"])
    np.testing.assert_allclose(values, expected, rtol=1e-5)


def test_s2_zero_in_one_band_is_dark_and_in_all_is_empty(tmp_path):
    values = np.array([[[0, 0, 5]], [[0, 7, 0]]], np.uint16)
    for nodata in (None, 0):
        item = acquisition("s2", write_raster(tmp_path / "a.tif", values, TEN, nodata=nodata), ("B2", "B3"))
        assert decoded(item, ["B2", "B3"])[1].tolist() == [[EMPTY, 0, 0]]


def test_other_nodata_in_one_band_is_enough(tmp_path):
    values = np.array([[[65535, 3, 5]], [[2, 7, 65535]]], np.uint16)
    item = acquisition("s2", write_raster(tmp_path / "a.tif", values, TEN, nodata=65535), ("B2", "B3"))
    found, state = decoded(item, ["B2", "B3"])
    assert state.tolist() == [[BAD, 0, BAD]] and found.tolist() == [[[0, 3, 0]], [[0, 7, 0]]]


def test_nodata_that_lost_digits_and_undeclared_fill_values(tmp_path):
    lowest = np.float32(-3.4028235e38)
    values = np.array([[[lowest, 1, np.nan, np.inf, 2]]] * 2, np.float32)
    path = write_raster(tmp_path / "a.tif", values, TEN)
    for nodata in (-3.40282306074e38, None):
        item = acquisition("s2", path, ("B2", "B3"), units="dn", nodata=nodata)
        assert decoded(item, ["B2", "B3"])[1].tolist() == [[BAD, 0, BAD, BAD, 0]]
    values = np.array([[[-9999.01, 5]]] * 2, np.float32)
    item = acquisition(
        "s2", write_raster(tmp_path / "b.tif", values, TEN, nodata=-9999), ("B2", "B3"), units="dn"
    )
    assert decoded(item, ["B2", "B3"])[1].tolist() == [[BAD, 0]]


def s1(folder, values, **more):
    values = np.asarray(values, np.float32).reshape(2, 1, -1)
    return acquisition("s1", write_raster(folder / "s1.tif", values, TEN), **more)


def test_s1_linear_becomes_db(tmp_path):
    item = s1(tmp_path, [[0.1, 1.0, 0.01], [0.01, 0.1, 0.001]], units="linear")
    values, _ = decoded(item, ["VV", "VH"])
    np.testing.assert_allclose(values[:, 0], [[-10, 0, -20], [-20, -10, -30]], atol=1e-4)
    mixing, _ = decoded(item, ["VV", "VH"], mixing=True)
    np.testing.assert_allclose(mixing[:, 0], [[0.1, 1, 0.01], [0.01, 0.1, 0.001]], rtol=1e-6)


def test_s1_db_is_mixed_as_power(tmp_path):
    item = s1(tmp_path, [[-10, 0], [-20, -10]], units="db")
    assert decoded(item, ["VV", "VH"])[0][:, 0].tolist() == [[-10, 0], [-20, -10]]
    np.testing.assert_allclose(
        decoded(item, ["VV", "VH"], mixing=True)[0][:, 0], [[0.1, 1], [0.01, 0.1]], rtol=1e-5
    )


def test_s1_units_are_guessed_by_their_sign(tmp_path):
    assert decoded(s1(tmp_path, [[0.1], [0.01]]), ["VV", "VH"])[0].ravel() == pytest.approx(
        [-10, -20], abs=1e-4
    )
    assert decoded(s1(tmp_path, [[-10], [-20]]), ["VV", "VH"])[0].ravel().tolist() == [-10, -20]


def test_s1_border_noise_and_what_is_no_backscatter(tmp_path):
    item = s1(tmp_path, [[-10, -36, np.nan, -np.inf, -10, 99], [-20, -20, -20, -20, -46, -20]], units="db")
    assert decoded(item, ["VV", "VH"])[1].tolist() == [[0, BAD, BAD, BAD, BAD, BAD]]
    item = s1(tmp_path, [[0.1, 0.0, -0.1], [0.01, 0.01, 0.01]], units="linear")
    values, state = decoded(item, ["VV", "VH"])
    assert state.tolist() == [[0, BAD, BAD]] and np.isfinite(values).all() and not values[:, 0, 1:].any()


def test_s1_digital_numbers_are_refused(tmp_path):
    with pytest.raises(InputError, match="raw digital numbers"):
        decoded(s1(tmp_path, [[300], [200]], units="dn"), ["VV", "VH"])
    path = write_raster(tmp_path / "slc.tif", np.ones((2, 2, 2), np.complex64), TEN)
    with pytest.raises(InputError, match="complex"):
        decoded(acquisition("s1", path), ["VV", "VH"])


def test_hr_bytes_are_divided_by_255(tmp_path):
    path = write_raster(tmp_path / "hr.tif", np.array([[[0, 51, 255]]] * 3, np.uint8), TEN)
    values, state = decoded(acquisition("hr", path), ["R", "G", "B"])
    np.testing.assert_allclose(values[0, 0], [0, 0.2, 1], rtol=1e-6)
    assert not state.any()


def test_hr_of_other_types_is_stretched_over_the_whole_layer(tmp_path):
    ramp = np.arange(10_000, dtype=np.uint16).reshape(100, 100)
    path = write_raster(tmp_path / "hr.tif", np.stack([ramp, 2 * ramp, ramp + 500]), TEN)
    values, _ = decoded(acquisition("hr", path), ["R", "G", "B"])
    low, high = np.percentile(ramp, (1, 99))
    expected = np.clip((ramp - low) / (high - low), 0, 1)
    np.testing.assert_allclose(values, np.stack([expected] * 3), atol=1e-5)


def test_hr_nodata_needs_all_bands(tmp_path):
    values = np.array([[[0, 0, 5]], [[0, 7, 0]], [[0, 0, 9]]], np.uint8)
    item = acquisition("hr", write_raster(tmp_path / "hr.tif", values, TEN, nodata=0))
    assert decoded(item, ["R", "G", "B"])[1].tolist() == [[EMPTY, 0, 0]]
    item = acquisition("hr", write_raster(tmp_path / "black.tif", values, TEN))
    assert decoded(item, ["R", "G", "B"])[1].tolist() == [[0, 0, 0]]


def test_a_large_layer_is_sampled_not_read(tmp_path):
    ramp = (np.arange(1500 * 1500) % 60_000).astype(np.uint16).reshape(1500, 1500)
    path = write_raster(tmp_path / "hr.tif", ramp[None], TEN, tiled=True, blockxsize=256, blockysize=256)
    item = acquisition("hr", path, ("R",))
    values, _ = decoded(item, ["R"])
    low, high = np.percentile(ramp, (1, 99))
    np.testing.assert_allclose(values[0], np.clip((ramp - low) / (high - low), 0, 1), atol=0.02)


def test_s2_of_unknown_processing_has_no_offset(tmp_path):
    """N9999 is no baseline; the description of the file has the same rule."""
    name = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_20200101T000000.tif"
    np.testing.assert_allclose(decoded(s2(tmp_path, 1500, name=name), ["B2", "B3"])[0], 1500)


def test_s2_fill_that_is_not_declared_is_empty(tmp_path):
    values = np.array([[[-9999, -10000, -9999, 1500]], [[-9999, -9999, 800, 1500]]], np.int16)
    item = acquisition("s2", write_raster(tmp_path / "a.tif", values, TEN), ("B2", "B3"), units="dn")
    found, state = decoded(item, ["B2", "B3"])
    assert state.tolist() == [[EMPTY, EMPTY, 0, 0]]
    assert not found[:, 0, :2].any()


def test_s2_packed_numbers_may_be_as_low_as_any(tmp_path):
    item = s2(tmp_path, -12_000, "int16", scale=2e-5, offset=0.5, units="reflectance")
    values, state = decoded(item, ["B2", "B3"])
    assert not state.any()
    np.testing.assert_allclose(values, 2600, rtol=1e-4)


def test_s2_undeclared_zeros_do_not_hide_the_offset(tmp_path):
    values = np.zeros((2, 8, 8), np.uint16)
    values[:, :2] = 1500
    name = "S2B_MSIL2A_20220615T101559_N0400_R065_T32UPC_20220615T122549.tif"
    item = acquisition("s2", write_raster(tmp_path / name, values, TEN), ("B2", "B3"), units="dn")
    found, state = decoded(item, ["B2", "B3"])
    assert (found[:, :2] == 500).all() and (state[2:] == EMPTY).all()


def test_s1_zero_in_all_bands_is_no_decibel(tmp_path):
    item = s1(tmp_path, [[-10, 0, 0], [-20, 0, -12]], units="db")
    _, state = decoded(item, ["VV", "VH"])
    assert state.tolist() == [[0, EMPTY, 0]]
    assert decoded(item, ["VV", "VH"], mixing=True)[0][:, 0, 1].tolist() == [0, 0]
