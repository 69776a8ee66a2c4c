"""Files opened and blocks decoded while something else is done: nothing else changes."""

import threading

import numpy as np
import pytest
import rasterio.warp
from raster_files import acquisition, scene, write_raster
from skysense.errors import InputError
from skysense.raster import handles
from skysense.raster.layout import plan_layout
from skysense.raster.reader import SceneReader

TEN = (10, 0, 500000, 0, -10, 5600000)
AHEAD = "look ahead"


@pytest.fixture
def picture(tmp_path):
    random = np.random.default_rng(0)
    s2 = [
        write_raster(
            tmp_path / f"s2_{day}.tif", random.integers(100, 1400, (3, 40, 50)).astype("uint16"), TEN
        )
        for day in (1, 2, 3)
    ]
    bounds = (500000, 5599600, 500500, 5600000)
    west, _, _, north = rasterio.warp.transform_bounds("EPSG:32631", "EPSG:3035", *bounds)
    s1 = write_raster(
        tmp_path / "s1.tif",
        random.normal(-12, 3, (2, 60, 60)).astype("float32"),
        (20, 0, west - 200, 0, -20, north + 200),
        crs="EPSG:3035",
    )
    return scene(
        *[acquisition("s2", path, date=f"2020-05-0{i + 1}") for i, path in enumerate(s2)],
        acquisition("s1", s1, date="2020-05-02"),
    )


def opened(monkeypatch):
    """Paths as they are opened, with the name of the thread."""
    found, real = [], handles.open_raster

    def open_raster(path, overview=None):
        found.append((path.name, threading.current_thread().name))
        return real(path, overview)

    monkeypatch.setattr(handles, "open_raster", open_raster)
    return found


def done(picture, reader, grid):
    """Look ahead until all is looked at."""
    with reader.looking_ahead(grid):
        next(thread for thread in threading.enumerate() if thread.name == AHEAD).join()


def test_a_first_read_opens_nothing_and_gives_the_same(picture, monkeypatch):
    layout = plan_layout(picture)
    grid = layout.base.grid(layout.area)
    with SceneReader(picture, layout) as plain:
        expected = {modality: plain.read(modality, grid) for modality in ("s2", "s1")}
    assert expected["s1"].valid.any()
    found = opened(monkeypatch)
    with SceneReader(picture, layout) as reader:
        done(picture, reader, grid)
        assert {name for name, _ in found} == {"s2_1.tif", "s2_2.tif", "s2_3.tif", "s1.tif"}
        assert {thread for _, thread in found} == {AHEAD}
        for modality, stack in expected.items():
            again = reader.read(modality, grid)
            assert (again.values == stack.values).all() and (again.valid == stack.valid).all()
        assert {thread for _, thread in found} == {AHEAD}
        # Another window is another one.
        other = layout.base.grid(layout.area.shift(3, 5))
        with SceneReader(picture, layout) as plain:
            for modality in ("s2", "s1"):
                assert (reader.read(modality, other).values == plain.read(modality, other).values).all()


def test_it_ends_with_the_block(picture, monkeypatch):
    layout = plan_layout(picture)
    started, go, read = threading.Event(), threading.Event(), []
    real = SceneReader._read_source

    def slow(self, source, *rest):
        read.append(source.item.path.name)
        started.set()
        assert go.wait(10)
        real(self, source, *rest)

    monkeypatch.setattr(SceneReader, "_read_source", slow)
    with SceneReader(picture, layout) as reader:
        with reader.looking_ahead(layout.base.grid(layout.area)):
            assert started.wait(10)
            threading.Timer(0.2, go.set).start()
        assert len(read) == 1 and not any(thread.name == AHEAD for thread in threading.enumerate())


def test_an_error_meanwhile_closes_the_files(picture):
    layout = plan_layout(picture)
    reader = SceneReader(picture, layout)
    with pytest.raises(InputError, match="no backbone"), reader.looking_ahead(layout.base.grid(layout.area)):
        next(thread for thread in threading.enumerate() if thread.name == AHEAD).join()
        assert reader._handles._idle
        raise InputError("has no backbone", "model", "Train it")
    assert not reader._handles._idle


def test_a_missing_file_is_told_when_it_is_read(picture):
    layout = plan_layout(picture)
    grid = layout.base.grid(layout.area)
    picture.acquisitions[1].path.unlink()
    with SceneReader(picture, layout) as reader:
        done(picture, reader, grid)
        with pytest.raises(InputError, match=r"s2_2\.tif"):
            reader.read("s2", grid)
