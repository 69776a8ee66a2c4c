"""Maps that several processes or a cluster make: the same bytes, whoever dies, pauses or comes late."""

import multiprocessing
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from map_runs import chunks, same
from scene_files import job
from skysense.errors import Cancelled, InputError
from skysense.finetune.lanes import usual_choice
from skysense.inference import crew
from skysense.inference.journal import begin, digest_of
from skysense.inference.lock import RunLock
from skysense.inference.session import open_session
from skysense.jobs.control import JobControl
from skysense.jobs.recipe import parse_recipe


@pytest.fixture(scope="module", autouse=True)
def _nothing_kept():
    with pytest.MonkeyPatch.context() as patch:  # with kept features a run is over before it can be killed
        patch.setenv("SKYSENSE_CACHE_GB", "0")
        yield


def test_several_processes_give_the_same_bytes_even_if_one_dies(scene, model, map_path, tmp_path):
    out = tmp_path / "map.tif"
    killed = []

    def look(event):
        if event["event"] == "chunk" and not killed:
            worker = next(p for p in multiprocessing.active_children() if "Spawn" in type(p).__name__)
            os.kill(worker.pid, signal.SIGKILL)
            killed.append(worker.pid)

    job("predict", scene, out, control=JobControl(look), model=model, options={"workers": 2})
    assert killed and same(out, map_path)


@pytest.mark.parametrize("end", ["resume", "cancel"])
def test_paused_no_process_computes_and_the_map_is_the_same(scene, model, map_path, tmp_path, end):
    out, total, left = tmp_path / "map.tif", [], []

    def look(event):
        if event["event"] == "chunk" and not total:
            total.append(event["total"])
            control.pause()
        if event["event"] == "paused":
            threading.Thread(target=rest).start()

    def rest():
        begun = time.monotonic()
        while time.monotonic() - begun < 4:  # as long as several chunks take
            if (now := len(chunks(out))) != (left[-1] if left else 0):
                left.append(now)
                begun = time.monotonic()
        getattr(control, end)()

    control = JobControl(look)
    if end == "resume":
        job("predict", scene, out, control=control, model=model, options={"workers": 2})
        assert same(out, map_path)
    else:
        with pytest.raises(Cancelled):
            job("predict", scene, out, control=control, model=model, options={"workers": 2})
        assert not list(Path(f"{out}.parts").glob("paused*")) and chunks(out)
    assert left[-1] < total[0]
    begun = time.monotonic()  # a busy machine takes its time to bury them
    while [p for p in multiprocessing.active_children() if "Spawn" in type(p).__name__]:
        assert time.monotonic() - begun < 60
        time.sleep(0.1)


def test_a_dask_cluster_gives_the_same_bytes_even_if_a_worker_dies(scene, model, map_path, tmp_path):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
    ) as cluster:
        killed = []

        def look(event):
            if event["event"] == "chunk" and not killed:
                pids = [worker.pid for worker in cluster.workers.values()]
                os.kill(pids[0], signal.SIGKILL)
                killed.extend(pids)

        out = tmp_path / "map.tif"
        options = {"scheduler": cluster.scheduler_address}
        job("predict", scene, out, control=JobControl(look), model=model, options=options)
    assert len(killed) == 2 and same(out, map_path)


def test_a_cluster_that_is_not_there(scene, model, tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(crew, "_PATIENCE", "1s")
    with pytest.raises(InputError, match=r"tcp://127\.0\.0\.1:1: cannot be reached"):
        job("predict", scene, tmp_path / "m.tif", model=model, options={"scheduler": "tcp://127.0.0.1:1"})


def test_a_cluster_without_workers_says_so_and_works_when_one_joins(
    scene, model, map_path, tmp_path, monkeypatch
):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(crew, "_STAFF_S", 0.2)
    monkeypatch.setattr(crew, "_VACANT_S", 1.0)
    with distributed.LocalCluster(
        n_workers=0, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
    ) as cluster:
        address, out = cluster.scheduler_address, tmp_path / "map.tif"
        told = f"The cluster at {address} has no workers yet: the work begins as soon as one joins."
        notes = []

        def asked(then):
            def look(event):
                if event["event"] == "note" and event["text"] == told:
                    notes.append(event)
                    then()

            return JobControl(look)

        with pytest.raises(Cancelled):
            control = asked(lambda: control.cancel())
            job("predict", scene, out, control=control, model=model, options={"scheduler": address})
        assert not chunks(out) and len(notes) == 1
        control = asked(lambda: cluster.scale(1))
        job("predict", scene, out, control=control, model=model, options={"scheduler": address})
    assert len(notes) == 2 and same(out, map_path)


def test_a_worker_of_a_run_that_has_ended_writes_nothing(scene, model, tmp_path):
    folder = tmp_path / "map.tif.parts"
    data = {
        "skysense": 1,
        "task": "predict",
        "scene": str(scene),
        "model": model,
        "output": str(tmp_path / "map.tif"),
    }
    recipe = parse_recipe({**data, "options": {"device": "cpu"}}, tmp_path)
    content = open_session(recipe, JobControl(lambda event: None)).manifest()
    chosen = usual_choice(torch.device("cpu"))
    with RunLock(folder, recipe.output, "m") as lock:
        begin(folder, content, chosen)
        order = crew.Order(
            "skysense.inference.making:Making", recipe, folder, digest_of(content), chosen, lock.run
        )
        crew.compute_share(order, [0])
        assert len(chunks(recipe.output)) == 1
        for other in (
            replace(order, run="of before"),
            replace(order, digest="of another recipe"),
            replace(order, chosen=chosen | {"locations": 256}),
        ):
            with pytest.raises(InputError if other.digest != order.digest else Cancelled):
                crew.compute_share(other, [1])
        with pytest.raises(InputError, match="cannot compile"):
            crew.compute_share(replace(order, chosen=chosen | {"compiled": 1}), [1])
        assert len(chunks(recipe.output)) == 1
    with pytest.raises(Cancelled):
        crew.compute_share(order, [1])
    assert len(chunks(recipe.output)) == 1
