import os
import threading

import numpy as np
import pytest
from raster_files import write_raster
from skysense.errors import InputError
from skysense.raster import handles
from skysense.raster.grid import Window
from skysense.raster.handles import Handles, open_raster, read_window

TEN = (10, 0, 500000, 0, -10, 5600000)


def test_one_handle_for_each_file_and_thread_all_closed_in_the_end(tmp_path):
    path = write_raster(tmp_path / "a.tif", np.ones((1, 4, 4), np.uint8), TEN)
    files = Handles()
    mine = files.get(path)
    assert files.get(path) is mine
    others = []
    thread = threading.Thread(target=lambda: others.append(files.get(path)))
    thread.start()
    thread.join()
    assert others[0] is not mine
    files.close()
    assert mine.closed and others[0].closed


def test_the_longest_unused_file_is_closed(tmp_path, monkeypatch):
    monkeypatch.setattr(handles, "_MOST_OPEN", 2)
    paths = [write_raster(tmp_path / f"{i}.tif", np.ones((1, 4, 4), np.uint8), TEN) for i in range(3)]
    files = Handles()
    first, second = files.get(paths[0]), files.get(paths[1])
    files.get(paths[0])
    files.get(paths[2])
    assert second.closed and not first.closed
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
