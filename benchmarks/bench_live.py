"""The growing map of 10,000 finished chunks in QGIS: how long a redraw takes, and how long the window pauses for one more chunk.

Run: .venv/bin/python benchmarks/bench_live.py [FOLDER for pictures]
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from affine import Affine
from hardware import write_result
from skysense.raster.chunks import Chunk, value_path, write_raster
from skysense.raster.grid import Grid, Window
from skysense.raster.maps import MapClass

#: Chunks along a side of the map, and pixels along a side of a chunk.
CHUNKS = {True: 24, False: 100}
SIDE = 448
LIMIT_S = 0.5
LEGEND = [MapClass(i + 1, name, color) for i, (name, color) in enumerate(
    (("water", "#4e79a7"), ("forest", "#59a14f"), ("maize", "#edc948"), ("wheat", "#f28e2b"), ("town", "#e15759"))
)]  # fmt: skip


def make_chunks(folder: Path, number: int) -> None:
    """Write the chunks of a map of number x number: parcels of 8 to 64 pixels, and nothing in a ring."""
    chance = np.random.default_rng(0)
    whole = Grid("EPSG:32631", Affine(10, 0, 500_000, 0, -10, 5_600_000), number * SIDE, number * SIDE)
    confidence = np.full((SIDE, SIDE), 80, np.uint8)
    for row in range(number):
        for col in range(number):
            side = int(chance.choice((8, 16, 32, 64)))
            parcels = chance.integers(1, len(LEGEND) + 1, (SIDE // side, SIDE // side), np.uint8)
            classes = parcels.repeat(side, 0).repeat(side, 1)
            y, x = (
                np.mgrid[row * SIDE : (row + 1) * SIDE, col * SIDE : (col + 1) * SIDE] / (number * SIDE) - 0.5
            )
            classes[abs(np.hypot(x, y) - 0.4) < 0.02] = 0
            window = Window(row * SIDE, col * SIDE, SIDE, SIDE)
            chunk = Chunk(window, whole.sub(window))
            write_raster(value_path(folder, chunk, "conf"), chunk.grid, confidence)
            write_raster(value_path(folder, chunk, "class"), chunk.grid, classes, legend=LEGEND)


def main() -> None:
    quick = os.environ.get("QUICK") == "1"
    os.fsync = lambda file: None  # the chunks need not outlive this run
    with tempfile.TemporaryDirectory() as folder:
        parts = Path(folder) / "map.tif.parts"
        parts.mkdir()
        make_chunks(parts, CHUNKS[quick])
        script = Path(__file__).with_name("live_in_qgis.py")
        environment = {
            **os.environ,
            "QT_QPA_PLATFORM": "offscreen",
            "XDG_CACHE_HOME": str(Path(folder) / "cache"),
        }
        command = ["/usr/bin/python3", str(script), str(parts), *sys.argv[1:]]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    result = {
        "screen": [1200, 800],
        "limit_s": LIMIT_S,
        "all_s": max(found["drawing"]["all"]["seconds"]),
        **found,
    }
    print(json.dumps(result, indent=1))
    if not quick:
        write_result("live", result)


if __name__ == "__main__":
    main()
