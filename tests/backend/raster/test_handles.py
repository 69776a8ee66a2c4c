import os
import threading

import numpy as np
import pytest
from raster_files import write_raster
from skysense.errors import InputError
from skysense.raster import handles
from skysense.raster.grid import Window
from skysense.raster.handles import Handles, block_bytes, grid_of, open_raster, read_window

TEN = (10, 0, 500000, 0, -10, 5600000)


def test_a_handle_serves_one_at_a_time_the_last_used_first_all_closed_in_the_end(tmp_path):
    path = write_raster(tmp_path / "a.tif", np.ones((1, 4, 4), np.uint8), TEN)
    files = Handles()
    with files.use(path) as mine, files.use(path) as other:
        assert mine is not other
    found = []  # by a thread that has used none so far

    def use():
        with files.use(path) as dataset:
            found.append(dataset)

    for _ in range(2):
        thread = threading.Thread(target=use)
        thread.start()
        thread.join()
    assert found == [mine, mine]
    files.close()
    assert mine.closed and other.closed


def test_a_handle_comes_back_from_an_error(tmp_path):
    path = write_raster(tmp_path / "a.tif", np.ones((1, 4, 4), np.uint8), TEN)
    files = Handles()
    with pytest.raises(InputError), files.use(path) as dataset:
        read_window(dataset, path, [3], Window(0, 0, 2, 2))
    with files.use(path) as again:
        assert again is dataset
    files.close()


def test_the_cache_holds_what_tiles_of_a_series_share(tmp_path, monkeypatch):
    held = []
    monkeypatch.setattr(handles, "CACHE_IS_OURS", True)
    monkeypatch.setattr(handles, "set_gdal_config", lambda key, value: held.append((key, value // 2**20)))
    monkeypatch.setattr(handles, "_blocks", handles._Blocks())
    one, other = Handles(), Handles()
    one.hold_blocks(2**26)
    other.hold_blocks(2**26)
    one.hold_blocks(2**40)
    one.close()
    other.close()
    assert held == [("GDAL_CACHEMAX", size) for size in (80, 160, 256, 80, 64)]
    monkeypatch.setattr(handles, "CACHE_IS_OURS", False)  # the user has said how large it is
    one.hold_blocks(2**40)
    assert len(held) == 5
    path = write_raster(tmp_path / "a.tif", np.ones((3, 600, 600), np.uint16), TEN)
    with open_raster(path) as dataset:
        rows, cols = dataset.block_shapes[0]
        count = 3 if dataset.interleaving.value == "PIXEL" else 2
        assert block_bytes(dataset, [1, 2]) == rows * cols * count * 2


def test_the_longest_unused_file_is_closed(tmp_path, monkeypatch):
    monkeypatch.setattr(handles, "_MOST_OPEN", 2)
    paths = [write_raster(tmp_path / f"{i}.tif", np.ones((1, 4, 4), np.uint8), TEN) for i in range(3)]
    files, used = Handles(), []
    for place in (0, 1, 0, 2):
        with files.use(paths[place]) as dataset:
            used.append(dataset)
    assert used[0] is used[2]
    assert [dataset.closed for dataset in used] == [False, True, False, False]
    files.close()


def test_errors_name_the_file(tmp_path):
    (tmp_path / "text.tif").write_text("no image")
    with pytest.raises(InputError, match=r"text\.tif: cannot be opened as an image"):
        open_raster(tmp_path / "text.tif")
    path = write_raster(tmp_path / "a.tif", np.ones((1, 4, 4), np.uint8), TEN)
    with open_raster(path) as dataset, pytest.raises(InputError, match=r"a\.tif: has 1 bands, but band 3"):
        read_window(dataset, path, [3], Window(0, 0, 2, 2))


def test_a_file_that_changes_or_goes_while_it_is_read_is_named(tmp_path):
    path = write_raster(tmp_path / "a.tif", np.ones((1, 600, 600), np.uint16), TEN)
    dataset = open_raster(path)
    os.truncate(path, 100_000)
    with pytest.raises(InputError, match=r"a\.tif: a part of the file .* or was changed meanwhile"):
        read_window(dataset, path, [1], Window(500, 0, 100, 600))
    path.unlink()
    with pytest.raises(InputError, match=r"a\.tif: was removed while it was read"):
        read_window(dataset, path, [1], Window(590, 0, 10, 600))


def test_rotation_that_is_rounding_is_none(tmp_path):
    path = write_raster(
        tmp_path / "a.tif", np.ones((1, 4, 4), np.uint8), (10, 1e-17, 500000, -1e-17, -10, 5600000)
    )
    with open_raster(path) as dataset:
        assert tuple(grid_of(dataset, path).transform)[:6] == TEN
