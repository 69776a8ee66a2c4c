"""From the edit of ten polygons to the repainted view, in QGIS, with the features of the view kept: 512 x 512 pixels of 10 m, 12
Sentinel-2 and 6 Sentinel-1 dates. And whether that map is the one that a cold `skysense predict` with the new model gives.

Run: .venv/bin/python benchmarks/bench_follow.py
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import rasterio
from hardware import write_result
from skysense.synthetic.landscape import make_landscape

SIDE_M = {True: 1_280, False: 5_120}
ROUNDS = {True: 2, False: 5}
LIMIT_S = 5.0


def main() -> None:
    quick = os.environ.get("QUICK") == "1"
    side, rounds = SIDE_M[quick], ROUNDS[quick]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        path = make_landscape(work / "scene", size_m=side, hr_gsd_m=10, seed=3)
        scene = json.loads(path.read_text())
        scene["acquisitions"] = [item for item in scene["acquisitions"] if item["modality"] != "hr"]
        path.write_text(json.dumps(scene))
        script = Path(__file__).with_name("follow_in_qgis.py")
        environment = {
            **os.environ,
            "QT_QPA_PLATFORM": "offscreen",
            "XDG_CACHE_HOME": str(work / "cache"),
            "SKYSENSE_CACHE": str(work / "features"),
        }
        command = ["/usr/bin/python3", str(script), str(path.parent), str(rounds)]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        cold = work / "cold.tif"
        predict = [sys.executable, "-m", "skysense", "predict", str(path.parent), "--model", found["model"]]
        area = ["--area", *map(str, found["area"]), "--area-crs", found["crs"]]
        subprocess.run(
            [*predict, "--out", str(cold), *area],
            env={**os.environ, "SKYSENSE_CACHE_GB": "0"},
            check=True,
            capture_output=True,
        )
        with rasterio.open(cold) as one, rasterio.open(found["map"]) as other:
            same = bool((one.read() == other.read()).all()) and one.transform == other.transform
            pixels = [one.height, one.width]
    result = {
        "pixels": pixels,
        "first_look_s": round(found["first_s"], 2),
        "seconds": [round(value, 2) for value in found["seconds"]],
        "best_s": round(min(found["seconds"]), 2),
        "limit_s": LIMIT_S,
        "equal_to_a_cold_map": same,
    }
    print(result)
    if not quick:
        write_result("follow", result)


if __name__ == "__main__":
    main()
