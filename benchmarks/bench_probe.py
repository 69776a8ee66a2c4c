"""How good frozen features are on the labelled scenes: random weights of the same size, the built-in model, the forest.

Run: .venv/bin/python benchmarks/bench_probe.py [FOLDER OF DATA] [NAME=BACKBONE FILE ...]; scenes/ and baselines.csv are
there. QUICK=1 runs one seed of random weights. An interrupted run goes on where it was.
"""

import os
import sys
from pathlib import Path

from bench_quality import forest_rows
from probing import Table, labelled_scenes, probe_all
from skysense.model.backbone import default_backbone, open_backbone
from skysense.model.device import pick_device
from skysense.model.presets import seeded_model

SEEDS = range(1 if os.environ.get("QUICK") else 5)


def main() -> None:
    data = Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data").resolve()
    scenes = labelled_scenes(data) if (data / "scenes").is_dir() else []
    if not scenes:
        print(f"No labelled scenes at {data}: features are not scored.")
        return
    device = pick_device("cpu")
    files = dict(item.split("=", 1) for item in sys.argv[2:])
    table = Table("probe", {"scenes": [scene.name for scene in scenes]})
    for seed in SEEDS:
        table.fill("random weights", seed, lambda seed=seed: probe_all(seeded_model("tiny", seed), scenes))  # type: ignore[misc]
    built_in = default_backbone(device)
    own = f"built-in {built_in.sha256[:8]}"
    table.fill(own, 0, lambda: probe_all(built_in.model, scenes))
    rows = ["random weights", own]
    for name, path in files.items():
        backbone = open_backbone(Path(path), device)
        rows.append(f"{name} {backbone.sha256[:8]}")
        table.fill(rows[-1], 0, lambda model=backbone.model: probe_all(model, scenes))  # type: ignore[misc]
    forest = forest_rows(data)
    print(table.text())
    print(f"{'linear mIoU':<28}" + "".join(f"{row:>20}" for row in rows) + f"{'forest':>20}")
    for scene in scenes:
        values = [table.scenes(row, "linear")[scene.name] for row in rows]
        print(f"{scene.name:<28}" + "".join(f"{value:>20.3f}" for value in (*values, forest[scene.name])))


if __name__ == "__main__":
    main()
