import math

import numpy as np
import pytest
import rasterio
from raster_files import acquisition, scene, shared_scene, write_raster
from skysense.errors import InputError
from skysense.raster.grid import Grid, Lattice, Window
from skysense.raster.layout import plan_layout
from skysense.scene.acquisition import BandRef

UTM = "EPSG:32631"


def image(folder, name, size, transform, crs=UTM, bands=3, dtype="uint8"):
    return write_raster(folder / name, np.ones((bands, *size), dtype), transform, crs)


def grid_of(path):
    with rasterio.open(path) as d:
        return Grid(f"EPSG:{d.crs.to_epsg()}", d.transform, d.width, d.height)


def test_s2_alone_is_mapped_on_its_own_ten_metre_grid(tmp_path):
    path = image(tmp_path, "s2.tif", (6, 8), (10, 0, 501363, 0, -10, 5629687), dtype="uint16")
    layout = plan_layout(scene(acquisition("s2", path)))
    assert layout.modalities == ("s2",) and layout.hr_factor == 0 and layout.aligned
    assert layout.base == Lattice(UTM, 10.0, 3.0, 7.0)
    assert layout.output == grid_of(path)
    assert layout.compute.grid(layout.area) == layout.output


def test_twenty_metre_s2_is_mapped_at_ten(tmp_path):
    path = image(tmp_path, "s2.tif", (6, 8), (20, 0, 501340, 0, -20, 5629680), dtype="uint16")
    layout = plan_layout(scene(acquisition("s2", path)))
    assert layout.output == Grid(UTM, rasterio.Affine(10, 0, 501340, 0, -10, 5629680), 16, 12)


def test_dates_of_different_extent_are_all_covered(tmp_path):
    a = image(tmp_path, "a.tif", (6, 8), (10, 0, 500000, 0, -10, 5600000), dtype="uint16")
    b = image(tmp_path, "b.tif", (6, 8), (10, 0, 500040, 0, -10, 5600020), dtype="uint16")
    layout = plan_layout(
        scene(acquisition("s2", a, date="2020-01-01"), acquisition("s2", b, date="2020-02-01"))
    )
    assert layout.output.bounds == (500000, 5599940, 500120, 5600020)


def test_s1_sets_the_grid_where_there_is_no_s2(tmp_path):
    path = image(tmp_path, "s1.tif", (6, 8), (20, 0, 500010, 0, -20, 5600004), bands=2, dtype="float32")
    layout = plan_layout(scene(acquisition("s1", path)))
    assert layout.base == Lattice(UTM, 10.0, 0.0, 4.0)
    assert layout.output.shape == (12, 16)


def test_geographic_s2_goes_to_utm(tmp_path):
    path = image(
        tmp_path, "s2.tif", (60, 60), (1.2e-4, 0, 2.79, 0, -9e-5, 42.36), "EPSG:4326", dtype="uint16"
    )
    layout = plan_layout(scene(acquisition("s2", path)))
    assert layout.base == Lattice(UTM, 10.0, 0.0, 0.0)
    assert all(coordinate % 10 == 0 for coordinate in layout.output.bounds)
    assert 59 <= layout.output.width <= 62 and 59 <= layout.output.height <= 62


def test_web_mercator_does_not_measure_metres(tmp_path):
    path = image(tmp_path, "s2.tif", (60, 60), (15, 0, 310000, 0, -15, 5220000), "EPSG:3857", dtype="uint16")
    assert plan_layout(scene(acquisition("s2", path))).base.crs == UTM


def test_southern_hemisphere(tmp_path):
    path = image(tmp_path, "s2.tif", (60, 60), (1e-4, 0, 32.5, 0, -1e-4, -0.5), "EPSG:4326", dtype="uint16")
    assert plan_layout(scene(acquisition("s2", path))).base.crs == "EPSG:32736"


def test_hr_alone_runs_on_its_own_pixels(tmp_path):
    path = image(tmp_path, "hr.tif", (30, 40), (0.2, 0, 428370.1, 0, -0.2, 5862962.2))
    layout = plan_layout(scene(acquisition("hr", path)))
    assert layout.aligned and layout.hr_factor == 1 and layout.base.gsd == 0.2
    assert layout.output == grid_of(path)
    assert (layout.area.height, layout.area.width) == (30, 40)
    assert layout.compute.locate(layout.output) == layout.area


def test_geographic_hr_alone_runs_in_utm_at_its_mean_pixel_size(tmp_path):
    path = image(tmp_path, "hr.tif", (100, 150), (1.34e-6, 0, 32.59, 0, -1.34e-6, 0.35), "EPSG:4326")
    layout = plan_layout(scene(acquisition("hr", path)))
    assert layout.base.crs == "EPSG:32636" and not layout.aligned
    degree = math.sqrt(111_319.5 * math.cos(math.radians(0.35)) * 110_574.3)
    assert layout.base.gsd == pytest.approx(1.34e-6 * degree, rel=1e-3)
    assert layout.base.gsd == float(f"{layout.base.gsd:.4g}")
    assert layout.output == grid_of(path)
    assert 100 <= layout.area.height <= 106 and 150 <= layout.area.width <= 156


@pytest.mark.parametrize(
    ("pixel", "cap", "factor"),
    [(0.3125, 0.3125, 32), (0.2, 0.3125, 32), (0.2, 0.15625, 64), (0.5, 0.3125, 16), (1.0, 0.3125, 8), (3, 0.3125, 4), (8, 0.3125, 1)],
)  # fmt: skip
def test_hr_in_a_fused_scene_runs_at_ten_over_a_power_of_two(tmp_path, pixel, cap, factor):
    hr = image(tmp_path, "hr.tif", (64, 64), (pixel, 0, 500000, 0, -pixel, 5600000))
    s2 = image(tmp_path, "s2.tif", (60, 60), (10, 0, 499990, 0, -10, 5600010), dtype="uint16")
    layout = plan_layout(scene(acquisition("hr", hr), acquisition("s2", s2)), hr_cap_m=cap)
    assert layout.hr_factor == factor
    assert layout.base == Lattice(UTM, 10.0)
    assert layout.compute.gsd == 10 / factor
    assert layout.output == grid_of(hr)
    assert layout.aligned == (pixel == 10 / factor)
    assert layout.compute.window_of(layout.output.bounds) == layout.area or not layout.aligned


def test_an_area_is_snapped_outwards_and_cut_to_the_imagery(tmp_path):
    path = image(tmp_path, "s2.tif", (20, 20), (10, 0, 500000, 0, -10, 5600000), dtype="uint16")
    whole = plan_layout(scene(acquisition("s2", path)))
    part = plan_layout(scene(acquisition("s2", path)), area=(500011, 5599000, 500049, 5599951), area_crs=UTM)
    assert part.output.bounds == (500010, 5599800, 500050, 5599960)
    assert part.base == whole.base and whole.area.contains(part.area)
    assert part.output == whole.output.sub(part.area.shift(-whole.area.row, -whole.area.col))


def test_an_area_of_an_hr_image_is_a_window_of_it(tmp_path):
    path = image(tmp_path, "hr.tif", (100, 150), (1.34e-6, 0, 32.59, 0, -1.34e-6, 0.35), "EPSG:4326")
    west, north = 32.59 + 20.4 * 1.34e-6, 0.35 - 10.6 * 1.34e-6
    area = (west, north - 30 * 1.34e-6, west + 40 * 1.34e-6, north)
    part = plan_layout(scene(acquisition("hr", path)), area=area, area_crs="EPSG:4326")
    assert part.output == grid_of(path).sub(Window(10, 20, 31, 41))


def test_an_area_beside_the_imagery_is_refused(tmp_path):
    path = image(tmp_path, "s2.tif", (20, 20), (10, 0, 500000, 0, -10, 5600000), dtype="uint16")
    with pytest.raises(InputError, match="outside the imagery"):
        plan_layout(scene(acquisition("s2", path)), area=(0, 0, 10, 10), area_crs=UTM)
    with pytest.raises(InputError, match="not known"):
        plan_layout(scene(acquisition("s2", path)), area=(0, 0, 10, 10), area_crs="EPSG:nowhere")


def test_per_band_files_take_the_ten_metre_bands_grid(tmp_path):
    b2 = image(tmp_path, "B02.tif", (20, 20), (10, 0, 500000, 0, -10, 5600000), bands=1, dtype="uint16")
    b5 = image(tmp_path, "A05.tif", (10, 10), (20, 0, 500000, 0, -20, 5600000), bands=1, dtype="uint16")
    item = acquisition("s2", tmp_path, {"B5": BandRef(b5, 1), "B2": BandRef(b2, 1)})
    assert plan_layout(scene(item)).output == grid_of(b2)


def test_files_that_cannot_be_placed_are_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.tif: does not exist"):
        plan_layout(scene(acquisition("s2", tmp_path / "gone.tif")))
    path = image(tmp_path, "bare.tif", (4, 4), (10, 0, 500000, 0, -10, 5600000), None)
    with pytest.raises(InputError, match=r"bare\.tif: has no coordinate system"):
        plan_layout(scene(acquisition("s2", path)))


@pytest.mark.parametrize("name", ["belgium-crops-map", "flanders-crops-2018", "flanders-crops-2019-20m"])
def test_the_sample_scenes_output_is_the_truths_grid(name):
    sample = shared_scene(name)
    assert plan_layout(sample).output == grid_of(sample.root / "truth.tif")


@pytest.mark.parametrize("name", ["kampala-buildings", "kampala-buildings-south", "forest-birch-1"])
def test_the_sample_scenes_output_is_the_hr_grid(name):
    sample = shared_scene(name)
    layout = plan_layout(sample)
    assert layout.output == grid_of(sample.modality("hr")[0].path)
    assert layout.hr_factor == (32 if "s2" in layout.modalities else 1)


def test_a_part_of_a_geographic_picture_lies_on_the_whole_s_lattice(tmp_path):
    """Pixels are wider in the south, and a part's centre may lie in the next UTM zone."""
    path = image(tmp_path, "hr.tif", (4000, 3000), (1e-4, 0, 5.9, 0, -1e-4, 50.4), "EPSG:4326", bands=3)
    pictures = scene(acquisition("hr", path))
    whole = plan_layout(pictures)
    part = plan_layout(pictures, area=(6.1, 50.3, 6.15, 50.35), area_crs="EPSG:4326")
    assert part.base == whole.base and part.hr_factor == whole.hr_factor
