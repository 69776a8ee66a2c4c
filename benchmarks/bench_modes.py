"""What each training mode is worth and costs: `skysense finetune --mode`, then `predict`, on one crop scene and one HR scene.

Each scene is trained on its own polygons (train.gpkg) with the built-in model; the map is scored on its truth by `skysense evaluate`.
"judged" is what the training's own report says beforehand. Usage: bench_modes.py [DATA [MODE ...]]; QUICK=1: the crop scene alone.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from hardware import RESULTS, hardware, write_result
from skysense.jobs.recipe import MODES

SCENES = ("flanders-crops-2018", "kampala-buildings-south")
QUICK = bool(os.environ.get("QUICK"))


def command(*arguments: str) -> dict[str, Any]:
    """Run the command; what it prints as JSON, and "s", the seconds it took."""
    started = time.monotonic()
    # Kept features would make whichever mode comes second look quicker.
    done = subprocess.run(
        [sys.executable, "-m", "skysense", *arguments, "--json"],
        check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, "SKYSENSE_CACHE_GB": "0"},
    )  # fmt: skip
    return {**json.loads(done.stdout), "s": round(time.monotonic() - started, 1)}


def measured(folder: Path, mode: str, work: Path) -> dict[str, Any]:
    """One scene in one mode."""
    model, out = work / f"{folder.name}-{mode}.safetensors", work / f"{folder.name}-{mode}.tif"
    trained = command("finetune", str(folder), "--out", str(model), "--mode", mode, "--device", "cpu")
    mapped = command("predict", str(folder), "--model", str(model), "--out", str(out), "--device", "cpu")
    found = command("evaluate", str(folder), "--map", str(out))
    told = command("info", str(model))
    return {
        "miou": round(found["miou"], 4),
        "judged": trained["report"]["miou"] and round(trained["report"]["miou"], 4),
        "steps": told.get("adaptation", told.get("decoder", {})).get("steps", 0),
        "train_s": trained["s"],
        "map_s": mapped["s"],
    }


def main() -> None:
    data = Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data").resolve()
    if not (data / "scenes").is_dir():
        print(f"No labelled scenes at {data}: modes are not measured.")
        return
    name = "modes-quick" if QUICK else "modes"
    kept = RESULTS / f"{name}-{hardware()}.json"
    # Modes that are measured one by one add to what is there.
    rows: dict[str, Any] = json.loads(kept.read_text())["scenes"] if sys.argv[2:] and kept.is_file() else {}
    with tempfile.TemporaryDirectory() as work:
        for mode in sys.argv[2:] or MODES:
            for scene in SCENES[:1] if QUICK else SCENES:
                cell = rows.setdefault(scene, {})[mode] = measured(data / "scenes" / scene, mode, Path(work))
                print(f"{scene:<26} {mode:<6} {json.dumps(cell)}", flush=True)
                write_result(name, {"scenes": rows})


if __name__ == "__main__":
    main()
