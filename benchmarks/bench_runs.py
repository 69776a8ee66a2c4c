"""Map runs that are killed, shared and looked at: what they lose, whether their bytes are the same, and when the first pixels come.

Resume: the command is killed (SIGKILL) at five random moments, each run going on where the last one ended. Shares: one process,
two, and a Dask cluster of two workers of which one is killed. First pixels: from the click in a worker that has mapped before
to the first chunk of a visible canvas; and in five processes that have done nothing else, from the end of the model's loading to the
first whole chunk on disk, which is to be there in twice the time of a chunk (the least of both). Run: .venv/bin/python benchmarks/bench_runs.py (QUICK=1: small).
"""

import hashlib
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from bench_mapping import QUIET, recipe
from hardware import write_result
from mapping_scenes import NORTH, WEST, make_labels, make_series
from skysense.inference.journal import journal_folder
from skysense.inference.lock import RunLock
from skysense.inference.run import _compute
from skysense.inference.session import open_session
from skysense.jobs.control import JobControl
from skysense.jobs.runner import run

QUICK = bool(os.environ.get("QUICK"))
SIDE, KILLS, ROUNDS = (168, 2, 2) if QUICK else (336, 5, 5)


def sha256(out: Path) -> str:
    files = (out, out.with_name(f"{out.stem}_confidence.tif"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def mapped(
    scene: Path, model: Path, out: Path, control: JobControl = QUIET, **options: Any
) -> tuple[str, float]:
    started = time.monotonic()
    run(recipe("predict", scene, out, model=str(model), options=options), control)
    return sha256(out), time.monotonic() - started


class Clock(JobControl):
    """Notes when each chunk can be read, in seconds from now on."""

    def __init__(self) -> None:
        super().__init__(self._look)
        self._started = time.monotonic()
        self.times: list[float] = []

    def _look(self, event: dict[str, Any]) -> None:
        if event["event"] == "chunk":
            with rasterio.open(event["class"]) as chunk:
                chunk.read(1)
            self.times.append(time.monotonic() - self._started)

    def figures(self) -> dict[str, Any]:
        """When the first chunk was there, and how long a chunk takes: tiles side by side end side by side, so the mean is told too."""
        first, between = self.times[0], np.diff(self.times)
        median = float(np.median(between))
        return {"first_chunk_s": round(first, 2), "chunk_s": round(median, 2), "mean_chunk_s": round(float(between.mean()), 2),
                "ratio": round(first / median, 2), "chunks": len(self.times)}  # fmt: skip


def after_loading(scene: Path, model: Path, out: Path, options: dict[str, Any]) -> dict[str, Any]:
    """Figures of a map's computing, from when the model is in memory."""
    session = open_session(
        recipe("predict", scene, out, model=str(model), options=options), QUIET, ahead=True
    )
    clock, folder = Clock(), journal_folder(out)
    with RunLock(folder, out, model.name) as lock:
        _compute(session, folder, lock, clock)
    return clock.figures()


def fresh_process(*arguments: Any) -> dict[str, Any]:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh:
        return fresh.submit(after_loading, *arguments).result()


def least(rounds: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The least of each time, and of the first chunk's over that of a chunk in every round."""
    found = list(rounds)
    times = {
        key: min(figures[key] for figures in found) for key in ("first_chunk_s", "chunk_s", "mean_chunk_s")
    }
    return {**times, "ratio": round(times["first_chunk_s"] / times["chunk_s"], 2), "ratios": [figures["ratio"] for figures in found]}  # fmt: skip


def killed(scene: Path, model: Path, out: Path, undisturbed: float) -> dict[str, Any]:
    """Kill the command again and again; what is lost is what the killed runs worked beyond their last whole chunk."""
    command = [
        sys.executable,
        "-m",
        "skysense",
        "predict",
        str(scene),
        "--model",
        str(model),
        "--out",
        str(out),
    ]
    moments, lost = random.Random(0), []
    for number in range(KILLS):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        # An equal share of the work each, at a random moment of it, after the seconds that starting takes.
        time.sleep(6 + undisturbed / (KILLS + 1) * moments.uniform(0.5, 1.0))
        process.send_signal(signal.SIGKILL)
        process.wait()
        now = time.time()
        whole = list(Path(f"{out}.parts").glob("*_class.tif"))
        lost.append(
            {"run": number, "chunks": len(whole), "half_chunks": len(list(Path(f"{out}.parts").glob("*_conf.tif"))) - len(whole),
             "s_since_last_chunk": round(now - max((path.stat().st_mtime for path in whole), default=now), 2)}
        )  # fmt: skip
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return {"sha256": sha256(out), "kills": lost}


def on_a_cluster(scene: Path, model: Path, out: Path) -> tuple[str, float]:
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
    ) as cluster:
        gone: list[int] = []

        def look(event: dict[str, Any]) -> None:
            if event["event"] == "chunk" and event["done"] > event["total"] // 3 and not gone:
                gone.append(next(iter(cluster.workers.values())).pid)
                os.kill(gone[0], signal.SIGKILL)

        found = mapped(scene, model, out, JobControl(look), scheduler=cluster.scheduler_address)
        assert gone
        return found


def main() -> None:
    os.environ["SKYSENSE_CACHE_GB"] = "0"
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        scene, labels = make_series(work / "scene", SIDE), make_labels(work / "labels.gpkg", SIDE, 10.0)
        model = work / "model.safetensors"
        training = {"labels": {"path": str(labels), "field": "class"}, "options": {"judged": False}}
        run(recipe("finetune", scene, model, **training), QUIET)
        whole, seconds = mapped(scene, model, work / "whole.tif")
        print("one process", round(seconds, 1), flush=True)
        # The visible canvas: all of the scene, from its middle on, in this process, which has mapped before.
        middle = [WEST + 5 * SIDE, NORTH - 5 * SIDE]
        view = {"start": middle, "area_crs": "EPSG:32631"}
        clock = Clock()
        mapped(scene, model, work / "view.tif", clock, **view)
        first = clock.figures()
        print("visible canvas", first, flush=True)
        loaded = least(
            fresh_process(scene, model, work / f"loaded-{number}.tif", view) for number in range(ROUNDS)
        )
        print("after loading", loaded, flush=True)
        resumed = killed(scene, model, work / "killed.tif", seconds)
        print(resumed, flush=True)
        two, two_s = mapped(scene, model, work / "two.tif", workers=2)
        cluster, cluster_s = on_a_cluster(scene, model, work / "cluster.tif")
        west, north = WEST + 1_230, NORTH - 770
        mapped(
            scene,
            model,
            work / "part.tif",
            area=[west, north - 520, west + 610, north],
            area_crs="EPSG:32631",
        )
        with rasterio.open(work / "whole.tif") as big, rasterio.open(work / "part.tif") as small:
            window = rasterio.windows.from_bounds(*small.bounds, big.transform)
            cut = bool((big.read(1, window=window) == small.read(1)).all())
    result = {
        "side": SIDE, "undisturbed_s": round(seconds, 1), "first_pixels": first, "after_loading": loaded, "resume": resumed,
        "same_bytes": {"killed": resumed["sha256"] == whole, "two_processes": two == whole, "dask": cluster == whole},
        "seconds": {"two_processes": round(two_s, 1), "dask_one_killed": round(cluster_s, 1)}, "part_equals_cut_out": cut,
    }  # fmt: skip
    print(result)
    write_result("runs-quick" if QUICK else "runs", result)


if __name__ == "__main__":
    main()
