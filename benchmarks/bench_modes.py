"""What each training mode is worth and costs: `skysense finetune --mode`, then `predict`, on one crop scene and one HR scene.

Each scene is trained on its own polygons (train.gpkg) with the built-in model; the map is scored on its truth by `skysense evaluate`.
"judged" is what the training's own report says beforehand. Then the crop scene's redrawn polygons: all of them, two and one of each
class, the same ones in every mode; what the forest and bands alone make of such is in the figures of `bench_quality.py`.
Usage: bench_modes.py [DATA [MODE ...]]; QUICK=1: the crop scene's own polygons alone; FEW=1: the redrawn ones alone.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import pyogrio.raw
from hardware import RESULTS, hardware, write_result
from skysense.jobs.recipe import MODES

SCENES = ("flanders-crops-2018", "kampala-buildings-south")
QUICK, FEW = bool(os.environ.get("QUICK")), bool(os.environ.get("FEW"))
#: Of the redrawn sets of polygons that are taken, and how many of a class; None: all.
DRAWINGS, COUNTS = (1, 2, 3), (None, 2, 1)


def command(*arguments: str) -> dict[str, Any]:
    """Run the command; what it prints as JSON, and the seconds it took, "s" on the clock and "cpu_s" of all cores."""
    started, before = time.monotonic(), os.times()
    # Kept features would make whichever mode comes second look quicker.
    done = subprocess.run(
        [sys.executable, "-m", "skysense", *arguments, "--json"],
        check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, "SKYSENSE_CACHE_GB": "0"},
    )  # fmt: skip
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return {**json.loads(done.stdout), "s": round(time.monotonic() - started, 1), "cpu_s": round(cpu, 1)}


def few_polygons(labels: Path, count: int | None, out: Path) -> Path:
    """A copy of a layer with at most so many polygons of each class, drawn at random."""
    meta, _, geometry, values = pyogrio.raw.read(labels)
    ids = values[list(meta["fields"]).index("class_id")]
    random = np.random.default_rng(0)
    kept = np.sort(
        np.concatenate([random.permutation(np.flatnonzero(ids == k))[:count] for k in np.unique(ids)])
    )
    pyogrio.raw.write(
        out,
        geometry[kept],
        [column[kept] for column in values],
        meta["fields"],
        crs=meta["crs"],
        geometry_type=meta["geometry_type"],
    )
    return out


def measured_on_few(folder: Path, mode: str, work: Path) -> dict[str, Any]:
    """One scene's redrawn polygons in one mode: for each number of polygons a class the mIoU of every drawing, and mean seconds."""
    found: dict[str, Any] = {}
    for count in COUNTS:
        cells = []
        for drawing in DRAWINGS:
            name = f"{drawing}-{count or 'all'}"
            redrawn = folder / "redraws"
            labels = few_polygons(redrawn / f"train_{drawing}.gpkg", count, work / f"{name}-{mode}.gpkg")
            mask = ("--eval-mask", str(redrawn / f"eval_mask_{drawing}.tif"))
            cells.append(measured(folder, mode, work, f"-{name}", ("--labels", str(labels)), mask))
        found[f"{count} a class" if count else "all"] = {
            "miou": [cell["miou"] for cell in cells],
            "mean": round(mean(cell["miou"] for cell in cells), 4),
            "steps": [cell["steps"] for cell in cells],
            "train_s": round(mean(cell["train_s"] for cell in cells), 1),
            "train_cpu_s": round(mean(cell["train_cpu_s"] for cell in cells), 1),
        }
    return found


def measured(
    folder: Path,
    mode: str,
    work: Path,
    name: str = "",
    labels: tuple[str, ...] = (),
    mask: tuple[str, ...] = (),
) -> dict[str, Any]:
    """One scene in one mode; labels, mask: further arguments of the training and of the evaluation."""
    model, out = (work / f"{folder.name}-{mode}{name}{end}" for end in (".safetensors", ".tif"))
    trained = command(
        "finetune", str(folder), "--out", str(model), "--mode", mode, "--device", "cpu", *labels
    )
    mapped = command("predict", str(folder), "--model", str(model), "--out", str(out), "--device", "cpu")
    found = command("evaluate", str(folder), "--map", str(out), *mask)
    told = command("info", str(model))
    return {
        "miou": round(found["miou"], 4),
        "judged": trained["report"]["miou"] and round(trained["report"]["miou"], 4),
        "steps": told.get("adaptation", told.get("decoder", {})).get("steps", 0),
        "train_s": trained["s"],
        "train_cpu_s": trained["cpu_s"],
        "map_s": mapped["s"],
    }


def main() -> None:
    data = Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data").resolve()
    if not (data / "scenes").is_dir():
        print(f"No labelled scenes at {data}: modes are not measured.")
        return
    chosen = sys.argv[2:] or list(MODES)
    with tempfile.TemporaryDirectory() as work:
        if not FEW:
            part = "modes-quick" if QUICK else "modes"
            add_rows(part, data, SCENES[:1] if QUICK else SCENES, chosen, Path(work), measured)
        if not QUICK:
            add_rows("modes-few", data, SCENES[:1], chosen, Path(work), measured_on_few)


def add_rows(
    name: str,
    data: Path,
    scenes: tuple[str, ...],
    modes: list[str],
    work: Path,
    measure: Callable[[Path, str, Path], dict[str, Any]],
) -> None:
    """Measure, and write after each row; modes that are measured one by one add to what is there."""
    kept = RESULTS / f"{name}-{hardware()}.json"
    rows: dict[str, Any] = json.loads(kept.read_text())["scenes"] if sys.argv[2:] and kept.is_file() else {}
    for mode in modes:
        for scene in scenes:
            cell = rows.setdefault(scene, {})[mode] = measure(data / "scenes" / scene, mode, work)
            print(f"{scene:<26} {mode:<8} {json.dumps(cell)}", flush=True)
            write_result(name, {"scenes": rows})


if __name__ == "__main__":
    main()
