import subprocess
import sys

import numpy as np
import pytest
from skysense.errors import InputError
from skysense.inference.lock import NAME as LOCK
from skysense.inference.lock import RunLock
from skysense.inference.state import NAME, RunState


@pytest.fixture
def lock(tmp_path):
    with RunLock(tmp_path, tmp_path / "o.gpkg", "m") as lock:
        yield lock


def test_what_was_kept_last_is_there_for_the_next_run(tmp_path, lock):
    assert RunState(tmp_path, lock).load() == {}
    state = RunState(tmp_path, lock)
    for tiles in (1, 2):
        assert state.due() or tiles > 1
        state.keep({"tiles": tiles, "sums": np.arange(tiles) / 3})
    found = RunState(tmp_path, lock).load()
    assert found["tiles"] == 2 and found["sums"].tolist() == [0, 1 / 3]
    assert sorted(path.name for path in tmp_path.iterdir()) == [LOCK, NAME]


def test_what_takes_long_is_kept_seldom(tmp_path, lock):
    state = RunState(tmp_path, lock)
    assert state.due()
    state.keep({"much": np.zeros(4_000_000)})
    assert not state.due()


@pytest.mark.parametrize(
    "damage", [lambda data: b"", lambda data: data[:100], lambda data: data[:80] + b"x" + data[81:]]
)
def test_a_damaged_state_is_none(tmp_path, lock, damage):
    state = RunState(tmp_path, lock)
    state.keep({"tiles": np.arange(9)})
    (tmp_path / NAME).write_bytes(damage((tmp_path / NAME).read_bytes()))
    assert state.load() == {}


def test_whoever_lost_the_lock_keeps_nothing(tmp_path, lock):
    (tmp_path / LOCK).write_text('{"pid": 1}')
    with pytest.raises(InputError, match="taken over"):
        RunState(tmp_path, lock).due()


FULL = """
import resource, sys
from pathlib import Path
import numpy as np
from skysense.errors import StorageError
from skysense.inference.lock import RunLock
from skysense.inference.state import RunState

folder = Path(sys.argv[1])
with RunLock(folder, folder / "o.gpkg", "m") as lock:
    state = RunState(folder, lock)
    state.keep({"tiles": 1})
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    try:
        state.keep({"tiles": 2, "sums": np.zeros(9_000)})
    except StorageError as error:
        print(error)
    print(int(state.load()["tiles"]), len(list(folder.iterdir())))
"""


def test_on_a_full_disk_the_state_of_before_stays(tmp_path):
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True)
    assert "state.npz: cannot be written (File too large)" in done.stdout, done.stderr
    assert done.stdout.splitlines()[-1] == "1 2"  # the state and the lock
