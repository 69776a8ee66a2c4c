import json
import subprocess
import sys

import numpy as np
import pytest
import rasterio
from affine import Affine
from raster_files import ChunkFiles, write_chunk
from skysense.errors import StorageError
from skysense.raster.chunks import plan_chunks
from skysense.raster.grid import Grid, Lattice
from skysense.raster.layout import Layout
from skysense.raster.maps import MapClass, merge_aside, put

LEGEND = [MapClass(2, "Wälder & Hecken", "#12ab34"), MapClass(1, "water", "#0000ff")]
GRIDS = [
    Grid("EPSG:32631", Affine(10, 0, 500030, 0, -10, 5600070), 700, 650),
    Grid("EPSG:4326", Affine(1.34e-6, 0, 32.5937, 0, -1.35e-6, 0.35156), 700, 650),
]


def chunks(folder, grid, values, order=1):
    """Chunk files of a map, written in the order asked for."""
    aligned = grid.square and grid.crs != "EPSG:4326"
    lattice = Lattice.of(grid) if aligned else Lattice("EPSG:32631", 10.0)
    area = lattice.locate(grid) if aligned else grid.window
    folder.mkdir(exist_ok=True)
    files = []
    for chunk in plan_chunks(Layout(("s2",), lattice, 0, area, grid, aligned), 256)[::order]:
        target = ChunkFiles.of(folder, chunk)
        rows, cols = grid.window.slices(chunk.window)
        write_chunk(target, chunk.grid, values[rows, cols], values[rows, cols] * 40, LEGEND)
        files.append(target)
    return files


def merged(parts, out, *about):
    put(merge_aside(parts, out, *about), out)


def values_of(grid):
    values = (
        np.random.default_rng(0)
        .integers(0, 3, (grid.height // 10 + 1, grid.width // 10 + 1))
        .astype(np.uint8)
    )
    return values.repeat(10, 0).repeat(10, 1)[: grid.height, : grid.width]


@pytest.mark.parametrize("grid", GRIDS, ids=["utm", "geographic"])
def test_a_class_map_keeps_contract_c6(tmp_path, grid):
    values = values_of(grid)
    files = chunks(tmp_path / "parts", grid, values)
    out = tmp_path / "map.tif"
    merged([(f.window, f.classes) for f in files], out, grid, LEGEND, {"SKYSENSE_MODEL": "x"}, "class")
    with rasterio.open(out) as dataset:
        assert (dataset.read(1) == values).all()
        assert dataset.dtypes == ("uint8",) and dataset.nodata == 0
        assert dataset.transform.almost_equals(grid.transform, 1e-15)
        assert dataset.crs == rasterio.crs.CRS.from_user_input(grid.crs)
        assert dataset.profile["tiled"] and dataset.profile["compress"] == "deflate"
        assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert dataset.overviews(1)
        tags = dataset.tags()
        assert json.loads(tags["SKYSENSE_CLASSES"]) == {"1": "water", "2": "Wälder & Hecken"}
        assert list(json.loads(tags["SKYSENSE_CLASSES"])) == ["1", "2"]
        assert tags["SKYSENSE_MODEL"] == "x"
        assert dataset.colormap(1)[2][:3] == (0x12, 0xAB, 0x34)
        assert not any("DATETIME" in key for key in tags)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["map.tif", "parts"]


def test_a_confidence_map_is_grey(tmp_path):
    grid = GRIDS[0]
    files = chunks(tmp_path / "parts", grid, values_of(grid))
    out = tmp_path / "map_confidence.tif"
    merged([(f.window, f.confidence) for f in files], out, grid, LEGEND, {}, "confidence")
    with rasterio.open(out) as dataset:
        assert (dataset.read(1) == values_of(grid) * 40).all()
        assert dataset.colorinterp[0].name == "gray" and dataset.nodata == 0
        assert "SKYSENSE_CLASSES" in dataset.tags()


def test_the_bytes_do_not_depend_on_order_or_folder(tmp_path):
    grid = GRIDS[0]
    found = set()
    for name, order in (("a", 1), ("b", -1)):
        files = chunks(tmp_path / name, grid, values_of(grid), order)
        out = tmp_path / f"{name}.tif"
        merged([(f.window, f.classes) for f in files], out, grid, LEGEND, {"K": "v"}, "class")
        found.add(out.read_bytes())
    assert len(found) == 1


def test_what_no_chunk_covers_is_not_mapped(tmp_path):
    grid = GRIDS[0]
    files = chunks(tmp_path / "parts", grid, np.ones(grid.shape, np.uint8))[:-1]
    out = tmp_path / "map.tif"
    merged([(f.window, f.classes) for f in files], out, grid, LEGEND, {}, "class")
    with rasterio.open(out) as dataset:
        got = dataset.read(1)
    assert got[0, 0] == 1 and got[-1, -1] == 0


def test_statistics_of_an_old_map_go_with_it(tmp_path):
    grid = GRIDS[0]
    files = chunks(tmp_path / "parts", grid, values_of(grid))
    out = tmp_path / "map.tif"
    out.write_bytes(b"old")
    (tmp_path / "map.tif.aux.xml").write_text("<PAMDataset/>")
    merged([(f.window, f.classes) for f in files], out, grid, LEGEND, {}, "class")
    assert not (tmp_path / "map.tif.aux.xml").exists()


@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_a_failed_merge_leaves_the_old_map(tmp_path, damage):
    grid = GRIDS[0]
    files = chunks(tmp_path / "parts", grid, values_of(grid))
    if damage == "missing":
        files[4].classes.unlink()
    else:
        files[4].classes.write_bytes(files[4].classes.read_bytes()[:600])
    out = tmp_path / "map.tif"
    out.write_bytes(b"old")
    with pytest.raises(StorageError, match=r"map\.tif: cannot be written"):
        merged([(f.window, f.classes) for f in files], out, grid, LEGEND, {}, "class")
    assert out.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["map.tif", "parts"]


def test_a_missing_folder_is_told(tmp_path):
    grid = GRIDS[0]
    files = chunks(tmp_path / "parts", grid, values_of(grid))
    with pytest.raises(StorageError, match="cannot be written"):
        merged([(f.window, f.classes) for f in files], tmp_path / "no" / "map.tif", grid, LEGEND, {}, "class")


_FULL = """
import resource, sys
from pathlib import Path
from affine import Affine
from skysense.errors import StorageError
from skysense.raster.grid import Grid, Window
from skysense.raster.maps import merge_aside, put
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
folder = Path(sys.argv[1])
grid = Grid("EPSG:32631", Affine(10, 0, 500000, 0, -10, 5600000), 1500, 1500)
try:
    part = merge_aside([(grid.window, folder / "parts" / "a_conf.tif")], folder / "map.tif", grid, [], {}, "confidence")
    put(part, folder / "map.tif")
except StorageError as error:
    print(error.sentence)
"""


@pytest.mark.parametrize("room", [1_000, 300_000, 1_500_000, 2_200_000])
def test_a_full_disk_is_told_and_the_old_map_stays(tmp_path, room):
    """Noise of 1,500 x 1,500 pixels needs about 2.4 MB; the disk ends at different moments of the copy."""
    pytest.importorskip("resource")
    grid = Grid("EPSG:32631", Affine(10, 0, 500000, 0, -10, 5600000), 1500, 1500)
    noise = np.random.default_rng(0).integers(1, 101, grid.shape).astype(np.uint8)
    (tmp_path / "parts").mkdir()
    files = ChunkFiles(grid.window, tmp_path / "parts" / "a_class.tif", tmp_path / "parts" / "a_conf.tif")
    write_chunk(files, grid, noise, noise, LEGEND)
    (tmp_path / "map.tif").write_bytes(b"old")
    command = [sys.executable, "-c", _FULL, tmp_path, str(room)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "map.tif: cannot be written" in done.stdout and "Free some space" in done.stdout
    assert (tmp_path / "map.tif").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["map.tif", "parts"]
