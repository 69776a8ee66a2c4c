"""How long a user waits before the first click: the worker's hello (process start included), and loading the plugin.

Five rounds each, alternating; minimum wall and CPU seconds. Run: .venv/bin/python benchmarks/bench_start.py
"""

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

from hardware import write_result

ROUNDS = 5
LIMITS_S = {"hello": 1.0, "plugin": 0.2}


def hello() -> dict[str, float]:
    """Start a worker, ask for hello, wait for the answer."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    command = [sys.executable, "-I", "-u", "-m", "skysense", "worker"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        assert worker.stdin is not None and worker.stdout is not None
        worker.stdin.write(b'{"id": 1, "method": "hello"}\n')
        worker.stdin.flush()
        answer = json.loads(worker.stdout.readline())
        wall = time.perf_counter() - started
        worker.stdin.close()
    assert answer["result"]["protocol"] == 1
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"wall_s": wall, "cpu_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}


def plugin() -> dict[str, float]:
    """Load the plugin in QGIS's Python."""
    script = Path(__file__).with_name("plugin_start.py")
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    done = subprocess.run(["/usr/bin/python3", script], env=environment, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    rounds: dict[str, list[dict[str, float]]] = {"hello": [], "plugin": []}
    for _ in range(ROUNDS):
        rounds["hello"].append(hello())
        rounds["plugin"].append(plugin())
    result = {}
    for name, runs in rounds.items():
        best = {key: round(min(run[key] for run in runs), 4) for key in ("wall_s", "cpu_s")}
        result[name] = {**best, "limit_s": LIMITS_S[name], "passes": best["wall_s"] < LIMITS_S[name]}
        print(name, result[name])
    write_result("start", {"rounds": ROUNDS, **result})


if __name__ == "__main__":
    main()
