import json
import os
import subprocess
import sys
import threading
import time

import pytest
from skysense.errors import Cancelled, InputError, StorageError
from skysense.inference import lock as locks
from skysense.inference.lock import NAME, RunLock, wait_while_paused


def test_a_second_run_is_refused_and_told_of_the_first(tmp_path):
    folder, out = tmp_path / "map.tif.parts", tmp_path / "map.tif"
    with RunLock(folder, out, "crops.safetensors"):
        with pytest.raises(
            InputError, match=rf"map\.tif: is being made by another run.*{os.getpid()}.*crops"
        ):
            RunLock(folder, out, "roofs.safetensors").__enter__()
    with RunLock(folder, out, "roofs.safetensors"):
        assert json.loads((folder / NAME).read_text())["about"] == "roofs.safetensors"
    assert not (folder / NAME).exists()


def test_the_lock_of_a_process_that_is_gone_is_taken_over(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True
    )
    (tmp_path / "p").mkdir()
    lock = RunLock(tmp_path / "p", tmp_path / "map.tif", "m")
    (tmp_path / "p" / NAME).write_text(json.dumps(lock._owner | {"pid": int(done.stdout)}))
    with lock:
        assert json.loads((tmp_path / "p" / NAME).read_text())["pid"] == os.getpid()


@pytest.mark.parametrize("content", ['{"pid": 1, "host": "elsewhere"}', "", "[]"])
def test_a_lock_without_a_sign_of_life_is_taken_over(tmp_path, content):
    path = tmp_path / NAME
    path.write_text(content)
    lock = RunLock(tmp_path, tmp_path / "map.tif", "m")
    with pytest.raises(InputError, match="another run"):
        lock.__enter__()
    long_ago = time.time() - 60
    os.utime(path, (long_ago, long_ago))
    with RunLock(tmp_path, tmp_path / "map.tif", "m") as taken:
        taken.check()


def test_whoever_lost_the_lock_stops(tmp_path):
    with RunLock(tmp_path, tmp_path / "map.tif", "m") as lock:
        (tmp_path / NAME).write_text('{"pid": 1}')
        with pytest.raises(InputError, match="taken over"):
            lock.check()
    assert (tmp_path / NAME).read_text() == '{"pid": 1}'


def test_a_place_where_nothing_can_be_made(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot be made"):
        RunLock(tmp_path / "file" / "map.tif.parts", tmp_path / "file" / "map.tif", "m").__enter__()


def test_workers_wait_while_the_run_is_paused(tmp_path):
    with RunLock(tmp_path / "p", tmp_path / "map.tif", "m") as lock:
        wait_while_paused(tmp_path / "p", lock.run)  # it is not
        waiting = threading.Thread(target=wait_while_paused, args=(tmp_path / "p", lock.run))
        with lock.paused():
            wait_while_paused(tmp_path / "p", "another run")
            waiting.start()
            waiting.join(1)
            assert waiting.is_alive()
        waiting.join(5)
        assert not waiting.is_alive()
    assert not (tmp_path / "p").exists()


def test_nobody_waits_for_a_run_that_was_killed_or_taken_over(tmp_path, monkeypatch):
    with RunLock(tmp_path, tmp_path / "map.tif", "m") as lock, lock.paused():
        monkeypatch.setattr(locks, "_DEAD_S", 0.5)  # its heart beats every five seconds
        began = time.monotonic()
        with pytest.raises(Cancelled):
            wait_while_paused(tmp_path, lock.run)
        assert time.monotonic() - began >= 0.5
        monkeypatch.setattr(locks, "_DEAD_S", 60)
        (tmp_path / NAME).write_text('{"run": "another"}')
        with pytest.raises(Cancelled):
            wait_while_paused(tmp_path, lock.run)
