"""Runs of the command that are killed on the way, and how far those came that keep their state (`inference.state`)."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from skysense.inference.state import NAME


def tiles_done(out: Path) -> int:
    """How many are done, as the state on disk says."""
    path = Path(f"{out}.parts") / NAME
    if not path.exists():
        return 0
    with np.load(path) as state:
        return int(state["tiles"])


def kill_when(reached: Callable[[], bool], *arguments: object) -> None:
    """Run `skysense` with these arguments on the CPU, and kill it as soon as something is reached; it must not end before."""
    process = subprocess.Popen(
        [sys.executable, "-m", "skysense", *map(str, arguments), "--device", "cpu"],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    until = time.monotonic() + 120
    while not reached():
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
