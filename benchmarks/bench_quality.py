"""Quality on labelled scenes: the CLI's finetune and predict, three seeds, against the random forest's row.

Run: .venv/bin/python benchmarks/bench_quality.py [FOLDER OF DATA] (default ../shared/data: scenes/, baselines.csv,
evaluate_map.py, which is the judge). QUICK=1 runs one seed.
"""

import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from hardware import write_result

SEEDS = (0,) if os.environ.get("QUICK") else (0, 1, 2)
#: How far below the forest's mIoU the mean may lie.
MARGIN = 0.05


def forest_rows(data: Path) -> dict[str, float]:
    """mIoU of the forest with all dates and all sensors (or the HR row) by scene: the first row of each scene."""
    rows: dict[str, float] = {}
    with (data / "baselines.csv").open() as file:
        for row in csv.DictReader(file):
            rows.setdefault(row["scene"], float(row["miou_mean"]))
    return rows


def judged(data: Path, scene: Path, seed: int, work: Path) -> dict[str, Any]:
    """Train and map with one seed; the judge's scores and the seconds taken."""
    model, out = work / f"{scene.name}-{seed}.safetensors", work / f"{scene.name}-{seed}.tif"
    started = time.monotonic()
    tool = [sys.executable, "-m", "skysense"]
    subprocess.run(
        [*tool, "finetune", str(scene), "--out", str(model), "--seed", str(seed)],
        check=True,
        stdout=sys.stderr,
    )
    trained = time.monotonic()
    subprocess.run(
        [*tool, "predict", str(scene), "--model", str(model), "--out", str(out)],
        check=True,
        stdout=sys.stderr,
    )
    ended = time.monotonic()
    judge = [sys.executable, str(data / "evaluate_map.py"), str(scene), str(out)]
    found = json.loads(subprocess.run(judge, check=True, capture_output=True, text=True).stdout)
    scores = {key: found[key] for key in ("oa", "macro_f1", "miou", "n_missing")}
    return {**scores, "train_s": round(trained - started, 1), "map_s": round(ended - trained, 1)}


def main() -> None:
    data = Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data").resolve()
    if not (data / "scenes").is_dir():
        print(f"No labelled scenes at {data}: quality is not measured.")
        return
    forest = forest_rows(data)
    rows = []
    with tempfile.TemporaryDirectory() as work:
        for name, reference in sorted(forest.items()):
            runs = [judged(data, data / "scenes" / name, seed, Path(work)) for seed in SEEDS]
            score = mean(run["miou"] for run in runs)
            spread = stdev(run["miou"] for run in runs) if len(runs) > 1 else 0.0
            rows.append(
                {"scene": name, "miou": round(score, 4), "sd": round(spread, 4), "forest_miou": reference,
                 "difference": round(score - reference, 4), "passes": score >= reference - MARGIN, "runs": runs}
            )  # fmt: skip
            print(
                f"{name:<28} mIoU {score:.4f} ± {spread:.4f}   forest {reference:.4f}   {score - reference:+.4f}   "
                f"train {runs[0]['train_s']} s, map {runs[0]['map_s']} s",
                flush=True,
            )
    write_result("quality", {"seeds": len(SEEDS), "margin": MARGIN, "rows": rows})


if __name__ == "__main__":
    main()
