"""What holes cost: labelled scenes with 30 % of every acquisition invalid at random, against the same scenes whole.

Holes are single pixels or blocks of 8 x 8, drawn anew for each acquisition and seed, and written as nodata. Both
models are trained and mapped by the command line; both maps are scored on the evaluation pixels that the map with holes
could fill. Run: .venv/bin/python benchmarks/bench_holes.py [FOLDER OF DATA] (default ../shared/data). QUICK=1: one seed.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import rasterio
from hardware import write_result

SCENES = ("flanders-crops-2018", "kampala-buildings")
SEEDS = (0,) if os.environ.get("QUICK") else (0, 1, 2)
SHARE, BLOCKS = 0.3, (1, 8)
#: How far mIoU may fall.
MARGIN = 0.05


def with_holes(scene: Path, folder: Path, block: int, seed: int) -> Path:
    """A copy of a scene whose images have nodata in the holes."""
    folder.mkdir()
    random = np.random.default_rng(seed)
    data = json.loads((scene / "scene.json").read_text())
    for number, row in enumerate(data["acquisitions"]):
        with rasterio.open(scene / row["path"]) as source:
            values, profile = source.read(), source.profile
        height, width = values.shape[1:]
        cells = random.random((-(-height // block), -(-width // block))) < SHARE
        holes = cells.repeat(block, 0).repeat(block, 1)[:height, :width]
        nodata = float("nan") if values.dtype.kind == "f" else 0
        values[:, holes] = nodata
        # The same name: sensors and dates are read off it.
        row["path"] = str(Path(str(number), Path(row["path"]).name))
        (folder / str(number)).mkdir()
        with rasterio.open(folder / row["path"], "w", **(profile | {"nodata": nodata})) as out:
            out.write(values)
    data["labels"]["path"] = str(scene / data["labels"]["path"])
    for name in ("classes.json", "truth.tif", "eval_mask.tif"):
        if (scene / name).exists():
            (folder / name).symlink_to(scene / name)
    (folder / "scene.json").write_text(json.dumps(data))
    return folder


def skysense(*arguments: object) -> dict[str, Any]:
    command = [sys.executable, "-m", "skysense", *map(str, arguments), "--json"]
    found: dict[str, Any] = json.loads(
        subprocess.run(command, check=True, capture_output=True, text=True).stdout
    )
    return found


def mapped(scene: Path, out: Path, seed: int) -> Path:
    model = out.with_suffix(".safetensors")
    skysense("finetune", scene, "--out", model, "--seed", seed)
    skysense("predict", scene, "--model", model, "--out", out)
    return out


def main() -> None:
    data = Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data").resolve()
    if not (data / "scenes").is_dir():
        print(f"No labelled scenes at {data}: holes are not measured.")
        return
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        for name in SCENES:
            scene = data / "scenes" / name
            whole = {seed: mapped(scene, work / f"{name}-{seed}.tif", seed) for seed in SEEDS}
            for block in BLOCKS:
                falls, valid = [], []
                for seed in SEEDS:
                    folder = with_holes(scene, work / f"{name}-{seed}-{block}", block, seed)
                    holed = mapped(folder, folder / "map.tif", seed)
                    with rasterio.open(holed) as map_, rasterio.open(scene / "eval_mask.tif") as mask:
                        keep = (map_.read(1) > 0) & (mask.read(1) > 0)
                        valid.append(float(keep.sum() / (mask.read(1) > 0).sum()))
                        with rasterio.open(folder / "valid.tif", "w", **mask.profile) as out:
                            out.write(keep.astype(mask.dtypes[0]), 1)
                    scores = [
                        skysense("evaluate", scene, "--map", path, "--eval-mask", folder / "valid.tif")[
                            "miou"
                        ]
                        for path in (whole[seed], holed)
                    ]
                    falls.append(scores[0] - scores[1])
                row = {
                    "scene": name,
                    "holes": f"{SHARE:.0%} of every acquisition, blocks of {block} x {block} pixels",
                    "evaluated_share": round(mean(valid), 3),
                    "miou_fall": [round(fall, 4) for fall in falls],
                    "mean_fall": round(mean(falls), 4),
                    "passes": mean(falls) <= MARGIN,
                }
                rows.append(row)
                print(row, flush=True)
    write_result("holes", {"seeds": len(SEEDS), "margin": MARGIN, "rows": rows})


if __name__ == "__main__":
    main()
