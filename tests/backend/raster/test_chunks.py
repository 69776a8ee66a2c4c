import subprocess
import sys

import numpy as np
import pytest
import rasterio
from affine import Affine
from raster_files import ChunkFiles, write_chunk
from skysense.errors import StorageError
from skysense.raster.chunks import plan_chunks
from skysense.raster.grid import Grid, Lattice, Window
from skysense.raster.layout import Layout
from skysense.raster.maps import MapClass

LEGEND = [MapClass(1, "water", "#0000ff"), MapClass(7, "wood", "#00ff00")]


def layout(grid, aligned=True):
    lattice = Lattice.of(grid) if aligned else Lattice("EPSG:32631", 10.0)
    area = lattice.locate(grid) if aligned else Window(0, 0, 10, 10)
    return Layout(("hr",), lattice, 1, area, grid, aligned)


GRIDS = [
    (Grid("EPSG:32631", Affine(10, 0, 500030, 0, -10, 5600070), 130, 95), True),
    (Grid("EPSG:4326", Affine(1.34e-6, 0, 32.5937, 0, -1.34e-6, 0.35156), 130, 95), False),
]


@pytest.mark.parametrize(("grid", "aligned"), GRIDS)
def test_chunks_tile_the_map_without_overlap(grid, aligned):
    seen = np.zeros(grid.shape, int)
    for chunk in plan_chunks(layout(grid, aligned), 32):
        rows, cols = grid.window.slices(chunk.window)
        seen[rows, cols] += 1
        assert chunk.grid == grid.sub(chunk.window)
        assert max(chunk.grid.shape) <= 32
    assert (seen == 1).all()


@pytest.mark.parametrize(("grid", "aligned"), GRIDS)
def test_cuts_of_a_part_are_where_the_whole_s_are(grid, aligned):
    part = Window(11, 23, 70, 90)
    whole = {chunk.window for chunk in plan_chunks(layout(grid, aligned), 32)}
    for chunk in plan_chunks(layout(grid.sub(part), aligned), 32):
        placed = chunk.window.shift(part.row, part.col)
        assert sum(window.contains(placed) for window in whole) == 1


def test_cuts_lie_on_multiples_of_the_size_on_the_lattice():
    grid, aligned = GRIDS[0]
    plan = layout(grid, aligned)
    for chunk in plan_chunks(plan, 32)[1:]:
        placed = chunk.window.shift(plan.area.row, plan.area.col)
        assert placed.row % 32 == 0 or chunk.window.row == 0
        assert placed.col % 32 == 0 or chunk.window.col == 0


def test_a_chunk_is_written_whole_with_overviews_and_colours(tmp_path):
    grid = GRIDS[0][0].sub(Window(0, 0, 80, 90))
    chunk = plan_chunks(layout(grid), 4096)[0]
    files = ChunkFiles.of(tmp_path, chunk)
    assert files.classes.name.endswith("_class.tif") and files.confidence.name.endswith("_conf.tif")
    classes = np.random.default_rng(0).choice(np.array([0, 1, 7], np.uint8), grid.shape)
    write_chunk(files, chunk.grid, classes, classes * 10, LEGEND)
    assert len(list(tmp_path.iterdir())) == 2
    with rasterio.open(files.classes) as dataset:
        assert (dataset.read(1) == classes).all()
        assert dataset.nodata == 0 and dataset.overviews(1) == [2]
        assert dataset.transform == chunk.grid.transform and dataset.crs.to_epsg() == 32631
        assert dataset.colormap(1)[7][:3] == (0, 255, 0)
    with rasterio.open(files.confidence) as dataset:
        assert (dataset.read(1) == classes * 10).all()


def test_the_same_chunk_has_the_same_bytes(tmp_path):
    grid = GRIDS[0][0]
    classes = np.ones(grid.shape, np.uint8)
    found = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        files = ChunkFiles.of(tmp_path / name, plan_chunks(layout(grid), 4096)[0])
        write_chunk(files, grid, classes, classes, LEGEND)
        found.append((files.classes.read_bytes(), files.confidence.read_bytes()))
    assert found[0] == found[1]


def test_a_missing_folder_is_told(tmp_path):
    grid = GRIDS[0][0]
    files = ChunkFiles.of(tmp_path / "gone", plan_chunks(layout(grid), 4096)[0])
    with pytest.raises(StorageError, match="cannot be written"):
        write_chunk(files, grid, np.ones(grid.shape, np.uint8), np.ones(grid.shape, np.uint8), LEGEND)


_FULL = """
import resource, sys, numpy as np
from pathlib import Path
from affine import Affine
from skysense.errors import StorageError
from skysense.raster.chunks import write_raster
from skysense.raster.grid import Grid
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
grid = Grid("EPSG:32631", Affine(10, 0, 500000, 0, -10, 5600000), 512, 512)
noise = np.random.default_rng(0).integers(1, 100, (512, 512)).astype(np.uint8)
try:
    write_raster(Path(sys.argv[1]) / "a_conf.tif", grid, noise)
except StorageError as error:
    print(error.sentence)
"""


def test_a_full_disk_is_told_and_nothing_half_written_stays(tmp_path):
    pytest.importorskip("resource")
    done = subprocess.run([sys.executable, "-c", _FULL, tmp_path], capture_output=True, text=True, check=True)
    assert "a_conf.tif: cannot be written" in done.stdout and "Free some space" in done.stdout
    assert list(tmp_path.iterdir()) == []
