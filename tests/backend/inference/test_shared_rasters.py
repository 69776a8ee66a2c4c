"""Embeddings and changes that several processes or a cluster make: the same bytes as one process, whatever happens on the way."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from interrupted import kill_when
from scene_files import job, part
from skysense.errors import Cancelled, InputError
from skysense.inference import change, crew, embed
from skysense.inference.lock import NAME, RunLock
from skysense.jobs.control import JobControl
from skysense.synthetic.landscape import make_landscape
from stopping import StopsAt

#: And their options.
TASKS = {"embed": {}, "change": {"split": "2023-07-01"}}


@pytest.fixture(scope="module", autouse=True)
def _nothing_kept():
    with pytest.MonkeyPatch.context() as patch:  # with kept features a run is over before it can be killed
        patch.setenv("SKYSENSE_CACHE_GB", "0")
        yield


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """Four chunks of features, 30 of changes."""
    whole = make_landscape(tmp_path_factory.mktemp("whole"), size_m=2_400, n_s2=2, n_s1=0)
    return part(whole, tmp_path_factory.mktemp("s") / "wide", lambda row: row["modality"] != "hr")


@pytest.fixture(scope="module", params=TASKS)
def task(request):
    return request.param


@pytest.fixture(scope="module")
def alone(task, wide, tmp_path_factory):
    """What one process makes."""
    out = tmp_path_factory.mktemp(task) / "alone.tif"
    make(task, wide, out)
    return out.read_bytes()


def make(task, scene, out, control=None, **options):
    return job(task, scene, out, control=control, options=TASKS[task] | options)


def chunks(out):
    """Whole chunks on disk and when they were written."""
    folder = Path(f"{out}.parts")
    found = [*folder.glob("*.npy"), *folder.glob("*_distance.tif")]
    return {path.name: path.stat().st_mtime_ns for path in found}


def workers():
    return [p for p in multiprocessing.active_children() if "Spawn" in type(p).__name__]


def all_gone(pids, seconds=60):
    until = time.monotonic() + seconds
    while any(Path(f"/proc/{pid}").exists() and "Z" not in state(pid) for pid in pids):
        assert time.monotonic() < until
        time.sleep(0.1)


def state(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def children(pid):
    """Processes that a process has started, and those that they have."""
    try:
        found = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return found + [deeper for child in found for deeper in children(child)]


class Looks(JobControl):
    """Does something once, as soon as a chunk is on disk."""

    def __init__(self, out, then):
        super().__init__(lambda event: None)
        self._out, self._then = out, then
        self.done = False

    def check(self):
        if not self.done and chunks(self._out):
            self.done = True
            self._then(self)
        super().check()


def test_two_processes_give_the_same_bytes_even_if_one_dies(task, wide, alone, tmp_path):
    out = tmp_path / "o.tif"
    control = Looks(out, lambda control: os.kill(workers()[0].pid, signal.SIGKILL))
    make(task, wide, out, control, workers=2)
    assert control.done and out.read_bytes() == alone and not Path(f"{out}.parts").exists()


def test_a_dask_cluster_gives_the_same_bytes(task, wide, alone, tmp_path):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
    ) as cluster:
        result = make(task, wide, tmp_path / "o.tif", scheduler=cluster.scheduler_address)
    assert (tmp_path / "o.tif").read_bytes() == alone
    assert result["seconds"] > 0


@pytest.mark.parametrize("task", ["change"], indirect=True)
def test_cancelled_with_two_processes_one_goes_on_with_what_they_finished(task, wide, alone, tmp_path):
    out = tmp_path / "o.tif"
    with pytest.raises(Cancelled):
        make(task, wide, out, Looks(out, lambda control: control.cancel()), workers=2)
    left = chunks(out)
    assert left and not out.exists() and not workers() and not (Path(f"{out}.parts") / NAME).exists()
    with pytest.raises(Cancelled):
        make(task, wide, out, StopsAt("Ranking the distances"))
    now = chunks(out)
    assert {name: now[name] for name in left} == left  # not computed again
    make(task, wide, out, workers=2)
    assert out.read_bytes() == alone


def command(task, scene, out):
    options = [text for name, value in TASKS[task].items() for text in (f"--{name}", value)]
    return [task, scene, "--out", out, "--workers", "2", *options]


@pytest.mark.parametrize("task", ["embed"], indirect=True)
def test_killed_it_leaves_nobody_behind_and_goes_on(task, wide, alone, tmp_path):
    out, pids = tmp_path / "o.tif", []

    def reached():
        if chunks(out):
            (run,) = [p for p in children(os.getpid()) if str(out) in Path(f"/proc/{p}/cmdline").read_text()]
            pids.extend(children(run))
        return bool(pids)

    kill_when(reached, *command(task, wide, out))
    assert len(pids) >= 2
    all_gone(pids)
    left = chunks(out)
    assert left and not out.exists()
    make(task, wide, out, workers=2)
    assert out.read_bytes() == alone


def test_ctrl_c_is_one_word(wide, tmp_path):
    """In a terminal it reaches all processes."""
    task, out = "embed", tmp_path / "o.tif"
    process = subprocess.Popen(
        [sys.executable, "-m", "skysense", *map(str, command(task, wide, out)), "--device", "cpu"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    until = time.monotonic() + 120
    while (
        len(pids := children(process.pid)) < 3
    ):  # two workers that begin, and what looks after their semaphores
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.01)
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGINT)
    told = process.communicate(timeout=60)
    assert (process.returncode, *told) == (3, "", "Cancelled.\n")
    all_gone(pids)
    assert not out.exists()


@pytest.mark.parametrize("kind", [embed.Embedding, change.Comparison])
def test_a_worker_of_other_files_or_of_a_run_that_has_ended_writes_nothing(kind, wide, tmp_path):
    task = "embed" if kind is embed.Embedding else "change"
    out, orders = tmp_path / "o.tif", []

    def noted(work, folder, content, chosen, lock, control):
        digest = crew.digest_of(content)
        orders.append(
            crew.Order(crew.kind_of(work), work.session.recipe, folder, digest, chosen, lock.run, work.found)
        )
        with pytest.MonkeyPatch.context() as patch:  # what the run has found out no worker finds out again
            patch.setattr(change, "_scaling", None)
            patch.setattr(embed, "learned_gaps", None)
            crew.compute_share(orders[0], [0])
        for strange in ("skysense.inference.later:Raster", "skysense.inference.embed:Raster"):
            with pytest.raises(InputError, match="share the storage and the installation"):
                crew.compute_share(crew.replace(orders[0], kind=strange), [0])
        other = crew.replace(orders[0], digest="of another scene")
        with pytest.raises(InputError, match="is not what a worker sees"):
            crew.compute_share(other, [1])
        assert len(chunks(out)) == 1
        raise Cancelled()

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SKYSENSE_CACHE_GB", "1")
        patch.setattr("skysense.inference.chunked.compute_together", noted)
        with pytest.raises(Cancelled):
            make(task, wide, out, workers=2)
    with RunLock(Path(f"{out}.parts"), out, "another"), pytest.raises(Cancelled):
        crew.compute_share(orders[0], [1])
    assert len(chunks(out)) == 1
