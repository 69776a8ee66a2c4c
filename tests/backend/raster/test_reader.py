import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import rasterio
from raster_files import SHARED, acquisition, scene, shared_scene, write_raster
from rasterio.enums import ColorInterp
from skysense.errors import InputError
from skysense.raster.grid import Window
from skysense.raster.layout import plan_layout
from skysense.raster.reader import SceneReader
from skysense.scene.acquisition import BandRef
from skysense.scene.sensors import SENSORS

UTM = "EPSG:32631"
TEN = (10, 0, 500000, 0, -10, 5600000)
S2 = SENSORS["s2"].bands


def random_values(shape, dtype="uint16", seed=0, low=100, high=1400):
    return np.random.default_rng(seed).integers(low, high, shape).astype(dtype)


def read(picture, modality, grow=0, lattice="base"):
    """All of a scene's area, and some more on every side."""
    layout = plan_layout(picture)
    with SceneReader(picture, layout) as reader:
        return reader.read(modality, getattr(layout, lattice).grid(layout.area.grow(grow)))


def test_aligned_values_come_as_they_are_with_absent_bands_told(tmp_path):
    values = random_values((3, 7, 9))
    path = write_raster(tmp_path / "s2.tif", values, TEN)
    stack = read(scene(acquisition("s2", path, {"B2": 1, "B8": 3, "B12": 2}, date="2020-05-01")), "s2")
    assert stack.values.shape == (1, 10, 7, 9) and stack.values.dtype == np.float32
    assert [name for name, there in zip(S2, stack.band_present[0]) if there] == ["B2", "B8", "B12"]
    for name, band in (("B2", 0), ("B8", 2), ("B12", 1)):
        assert (stack.values[0, S2.index(name)] == values[band]).all()
    assert not stack.values[0, ~stack.band_present[0]].any()
    assert stack.valid.all() and str(stack.dates[0]) == "2020-05-01"


def test_reads_beyond_the_image_are_invalid(tmp_path):
    path = write_raster(tmp_path / "s2.tif", random_values((3, 7, 9)), TEN)
    picture = scene(acquisition("s2", path))
    stack = read(picture, "s2", grow=2)
    inside = np.zeros((11, 13), bool)
    inside[2:-2, 2:-2] = True
    assert (stack.valid[0] == inside).all() and not stack.values[0][:, ~inside].any()
    layout = plan_layout(picture)
    with SceneReader(picture, layout) as reader:
        beside = reader.read("s2", layout.base.grid(layout.area.shift(1000, 0)))
    assert not beside.valid.any() and not beside.values.any()


def test_per_band_files_of_two_pixel_sizes_make_one_acquisition(tmp_path):
    b2 = random_values((1, 8, 8))
    b11 = np.full((1, 4, 4), 500, np.uint16)
    b11[0, 1, 2] = 900
    files = {
        "B2": BandRef(write_raster(tmp_path / "B02.tif", b2, TEN), 1),
        "B11": BandRef(write_raster(tmp_path / "B11.tif", b11, (20, 0, 500000, 0, -20, 5600000)), 1),
    }
    stack = read(scene(acquisition("s2", tmp_path, files)), "s2")
    assert (stack.values[0, S2.index("B2")] == b2[0]).all()
    swir = stack.values[0, S2.index("B11")]
    # 9/16 of the bright pixel and the rest of its neighbours in each of its four target pixels
    assert swir[2:4, 4:6] == pytest.approx(np.full((2, 2), 500 + 400 * 9 / 16))
    assert swir[0, 0] == swir[7, 7] == 500
    assert stack.valid.all()


def test_a_dark_band_file_does_not_hide_the_others(tmp_path):
    b2, b12 = random_values((1, 4, 4)), random_values((1, 4, 4))
    b12[0, 1, 1] = 0
    b2[0, 3, 3] = b12[0, 3, 3] = 0
    files = {
        "B2": BandRef(write_raster(tmp_path / "B02.tif", b2, TEN, nodata=0), 1),
        "B12": BandRef(write_raster(tmp_path / "B12.tif", b12, TEN, nodata=0), 1),
    }
    stack = read(scene(acquisition("s2", tmp_path, files)), "s2")
    assert stack.valid[0, 1, 1] and not stack.valid[0, 3, 3]
    assert stack.valid.sum() == 15


def test_s1_is_interpolated_in_linear_power(tmp_path):
    values = np.array([[[-10, -20], [-10, -20]], [[-20, -20], [-20, -20]]], np.float32)
    path = write_raster(tmp_path / "s1.tif", values, (20, 0, 500000, 0, -20, 5600000), nodata=np.nan)
    stack = read(scene(acquisition("s1", path, units="db")), "s1")
    power = np.array([0.1, 0.1 * 0.75 + 0.01 * 0.25, 0.1 * 0.25 + 0.01 * 0.75, 0.01])
    np.testing.assert_allclose(stack.values[0, 0], np.tile(10 * np.log10(power), (4, 1)), atol=1e-4)
    np.testing.assert_allclose(stack.values[0, 1], -20, atol=1e-4)


def test_s1_holes_stay_holes(tmp_path):
    values = np.full((2, 4, 4), -12, np.float32)
    values[1, 2, 1] = np.nan
    for size in (10, 20):
        path = write_raster(tmp_path / f"s1_{size}.tif", values, (size, 0, 500000, 0, -size, 5600000))
        stack = read(scene(acquisition("s1", path, units="db")), "s1")
        hole = np.zeros((4, 4), bool)
        hole[2, 1] = True
        hole = hole.repeat(size // 10, 0).repeat(size // 10, 1)
        assert (stack.valid[0] == ~hole).all()
        np.testing.assert_allclose(stack.values[0][:, ~hole], -12, atol=1e-4)
        assert not stack.values[0][:, hole].any()


def test_hr_in_a_fused_scene_is_read_at_the_lattice_s_pixels(tmp_path):
    values = random_values((4, 64, 64), "uint8", high=255)
    hr = write_raster(tmp_path / "hr.tif", values, (0.3125, 0, 500000, 0, -0.3125, 5600000))
    s2 = write_raster(tmp_path / "s2.tif", random_values((3, 4, 4)), TEN)
    picture = scene(acquisition("hr", hr, ("R", "G", "B", "NIR")), acquisition("s2", s2))
    layout = plan_layout(picture)
    assert layout.hr_factor == 32
    with SceneReader(picture, layout) as reader:
        own = reader.read("hr", layout.compute.grid(layout.area))
        halved = reader.read(
            "hr", layout.base.refine(16).grid(layout.base.refine(16).window_of(layout.output.bounds))
        )
    np.testing.assert_allclose(own.values[0], values / 255, rtol=1e-6)
    mean = values.reshape(4, 32, 2, 32, 2).mean((2, 4)) / 255
    np.testing.assert_allclose(halved.values[0], mean, rtol=1e-5)
    assert own.band_present.tolist() == [[True] * 4]


def test_hr_at_its_own_pixels_when_alone(tmp_path):
    values = random_values((3, 30, 40), "uint8", high=255)
    path = write_raster(tmp_path / "hr.tif", values, (0.2, 0, 428370.1, 0, -0.2, 5862962.2), "EPSG:25832")
    stack = read(scene(acquisition("hr", path)), "hr")
    np.testing.assert_allclose(stack.values[0], values / 255, rtol=1e-6)
    assert stack.values.shape == (1, 3, 30, 40) and stack.valid.all()


def test_hr_pictures_elsewhere_are_left_out(tmp_path):
    parts = [
        write_raster(
            tmp_path / f"{i}.tif",
            np.full((3, 8, 8), 50 * i, np.uint8),
            (1, 0, 500000 + 8 * i, 0, -1, 5600000),
        )
        for i in range(3)
    ]
    picture = scene(*(acquisition("hr", path, date=f"2020-01-0{i + 1}") for i, path in enumerate(parts)))
    layout = plan_layout(picture)
    assert layout.area.width == 24
    with SceneReader(picture, layout) as reader:
        stack = reader.read("hr", layout.compute.grid(Window(layout.area.row, layout.area.col + 9, 8, 4)))
        nothing = reader.read("hr", layout.compute.grid(layout.area.shift(500, 0)))
    assert [day.day for day in stack.dates] == [2] and stack.valid.all()
    assert len(nothing.dates) == 1 and not nothing.valid.any()


def test_alpha_and_internal_masks_and_nir_that_is_tagged_alpha(tmp_path):
    values = random_values((4, 6, 6), "uint8", high=255)
    values[3, :2] = 0
    kinds = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha)
    path = write_raster(
        tmp_path / "a.tif",
        values,
        (1, 0, 500000, 0, -1, 5600000),
        photometric="rgb",
        alpha="yes",
        colorinterp=kinds,
    )
    expected = values[3] > 0
    for item in (acquisition("hr", path), acquisition("hr", path, alpha=4)):
        assert (read(scene(item), "hr").valid[0] == expected).all()
    stack = read(scene(acquisition("hr", path, ("R", "G", "B", "NIR"))), "hr")
    assert stack.valid.all() and stack.values.shape[1] == 4
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        path = write_raster(tmp_path / "m.tif", values[:3], (1, 0, 500000, 0, -1, 5600000))
        with rasterio.open(path, "r+") as dataset:
            dataset.write_mask(values[3] > 0)
    assert (read(scene(acquisition("hr", path)), "hr").valid[0] == expected).all()


def test_masks_of_clouds(tmp_path):
    path = write_raster(tmp_path / "s2.tif", random_values((3, 4, 6)), TEN)
    scl = np.array([[[4, 8, 5], [3, 6, 0]]], np.uint8)
    coarse = (20, 0, 500000, 0, -20, 5600000)
    mask = write_raster(tmp_path / "SCL_20m.tif", scl, coarse)
    clear = np.isin(scl[0], (4, 5, 6)).repeat(2, 0).repeat(2, 1)
    stack = read(scene(acquisition("s2", path, mask=mask)), "s2")
    assert (stack.valid[0] == clear).all() and not stack.values[0][:, ~clear].any()
    mask = write_raster(tmp_path / "cloud.tif", (~np.isin(scl, (4, 5, 6))).astype(np.uint8), coarse)
    assert (read(scene(acquisition("s2", path, mask=mask)), "s2").valid[0] == clear).all()


def test_the_series_test_leaves_classified_dates_alone(tmp_path):
    masks = {
        5: write_raster(tmp_path / "SCL.tif", np.full((1, 4, 4), 4, np.uint8), TEN),
        6: write_raster(tmp_path / "holes.tif", np.zeros((1, 4, 4), np.uint8), TEN),  # says nothing of clouds
    }
    items = []
    for day, level in enumerate((300, 320, 310, 5000, 5000, 5000, 330, 340, 350, 310), start=1):
        path = write_raster(tmp_path / f"{day}.tif", np.full((3, 4, 4), level, np.uint16), TEN)
        items.append(acquisition("s2", path, date=f"2020-01-{day:02}", mask=masks.get(day)))
    clear = read(scene(*items), "s2").valid.all(axis=(1, 2))
    assert [day for day, is_clear in enumerate(clear, start=1) if not is_clear] == [4, 6]


def test_overviews_serve_much_coarser_reads(tmp_path):
    values = random_values((3, 512, 512), "uint8", high=255)
    path = write_raster(tmp_path / "hr.tif", values, (0.05, 0, 500000, 0, -0.05, 5600000), tiled=True)
    picture = scene(
        acquisition("hr", path),
        acquisition("s2", write_raster(tmp_path / "s2.tif", random_values((3, 4, 4)), TEN)),
    )
    plain = read(picture, "hr", lattice="compute")
    with rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2, 4, 8], rasterio.enums.Resampling.average)
    fast = read(picture, "hr", lattice="compute")
    assert fast.values.shape == plain.values.shape == (1, 3, 86, 86)
    assert np.abs(fast.values - plain.values)[0][:, 3:-3, 3:-3].mean() < 0.06
    assert (fast.valid == plain.valid).mean() > 0.95


def test_damaged_and_missing_files_are_named(tmp_path):
    path = write_raster(tmp_path / "cut.tif", random_values((3, 64, 64), seed=3), TEN, compress="deflate")
    picture = scene(acquisition("s2", path))
    layout = plan_layout(picture)
    data = path.read_bytes()
    path.write_bytes(data[:-2000])
    with SceneReader(picture, layout) as reader, pytest.raises(InputError, match=r"cut\.tif"):
        reader.read("s2", layout.output)
    path.unlink()
    with SceneReader(picture, layout) as reader, pytest.raises(InputError, match=r"cut\.tif: does not exist"):
        reader.read("s2", layout.output)


def test_a_really_damaged_file():
    path = SHARED / "data" / "robustness" / "corrupt.tif"
    if not path.exists():
        pytest.skip("the shared samples are not here")
    with pytest.raises(InputError, match=r"corrupt\.tif: a part of the file cannot be read"):
        read(scene(acquisition("hr", path)), "hr")


def test_threads_read_side_by_side_and_agree(tmp_path):
    path = write_raster(tmp_path / "s2.tif", random_values((3, 200, 200)), (20, 0, 500000, 0, -20, 5600000))
    picture = scene(*(acquisition("s2", path, date=f"2020-01-0{day}") for day in (1, 2, 3)))
    layout = plan_layout(picture)
    windows = [Window(layout.area.row + 37 * i, layout.area.col + 29 * i, 64, 64) for i in range(9)]
    start = threading.Barrier(3)
    with SceneReader(picture, layout) as reader:
        alone = [reader.read("s2", layout.base.grid(window)) for window in windows]

        def work(_):
            start.wait()
            return [reader.read("s2", layout.base.grid(window)) for window in windows]

        with ThreadPoolExecutor(3) as pool:
            for stacks in pool.map(work, range(3)):
                for one, other in zip(stacks, alone, strict=True):
                    assert np.array_equal(one.values, other.values)


@pytest.mark.parametrize(
    "name", ["boadella-water", "flanders-crops-2018", "forest-birch-1", "kampala-buildings-south"]
)
def test_sample_scenes_read_the_same_in_any_window(name):
    picture = shared_scene(name)
    layout = plan_layout(picture)
    with SceneReader(picture, layout) as reader:
        for modality in layout.modalities:
            lattice = layout.compute if modality == "hr" else layout.base
            window = lattice.window_of(layout.compute.grid(layout.area).bounds)
            whole = reader.read(modality, lattice.grid(window))
            assert whole.valid.any() and np.isfinite(whole.values).all()
            inner = Window(
                window.row + window.height // 3, window.col + window.width // 4 + 1, window.height // 2, 3
            )
            part = reader.read(modality, lattice.grid(inner))
            where = window.slices(inner)
            assert np.array_equal(part.values, whole.values[:, :, *where])
            assert np.array_equal(part.valid, whole.valid[:, *where])


def test_days_of_the_year(tmp_path):
    path = write_raster(tmp_path / "s2.tif", random_values((3, 4, 4)), TEN)
    with SceneReader(scene(acquisition("s2", path), acquisition("s2", path, date="2021-02-01"))) as reader:
        assert reader.days == {"s2": (-1, 31)}
