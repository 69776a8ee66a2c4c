"""`make demo`: the main job in a real QGIS without a screen. The last line of stdout is one JSON object.

Loads a scene into QGIS, trains on its polygons, maps the area, saves the maps, a project and a picture of the window,
and scores the map where the scene has truth. Without --scene it makes a small synthetic scene.
"""

import argparse
import fcntl
import json
import re
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import rasterio
from session import ROOT, DemoError, drive
from skysense.errors import SkySenseError
from skysense.finetune.scores import score_map
from skysense.synthetic.landscape import make_landscape

DEMO = ROOT / "build" / "demo"


def main() -> int:
    """Run the demo; 0, or 1 with a sentence on stderr."""
    parser = argparse.ArgumentParser(description="The main job, in a real QGIS without a screen.")
    parser.add_argument("--scene", type=Path, help="scene.json or its folder; default: a synthetic scene")
    parser.add_argument("--out", type=Path, help="folder for the results; default: build/demo/<scene>")
    parser.add_argument("--size-m", type=int, default=1280, help="side of the synthetic scene in metres")
    options = parser.parse_args()
    DEMO.mkdir(parents=True, exist_ok=True)
    try:
        with (DEMO / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two at once would write the same files
            result = demo(options.scene, options.out, options.size_m)
    except (DemoError, SkySenseError, OSError) as error:
        print(getattr(error, "sentence", str(error)), file=sys.stderr)
        return 1
    print(json.dumps(result, ensure_ascii=False))
    return 0


def demo(scene: Path | None, out: Path | None, size_m: int = 1280) -> dict[str, Any]:
    """Run the demo.

    Args:
        scene: scene file or folder; None = the synthetic scene, made anew.
        out: folder for the results; None = a folder of the scene's name under build/demo, emptied first.
        size_m: side of the synthetic scene.

    Raises:
        DemoError: QGIS or the run in it failed. InputError, StorageError: the scene cannot be made or scored.
    """
    setup_seconds = take_setup_seconds()
    if scene is None:
        print("Making a synthetic scene ...", flush=True)
        scene = make_landscape(DEMO / "scene", size_m=size_m)
    scene = find_scene(scene)
    facts = json.loads(scene.read_text(encoding="utf-8"))
    name = re.sub(r"[^\w.-]+", "_", str(facts.get("name") or scene.parent.name)).strip("._") or "scene"
    if out is None:
        out = DEMO / name
        shutil.rmtree(out, ignore_errors=True)
    out = out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    print(f"Opening {scene} in QGIS, training and mapping ...", flush=True)
    started = time.monotonic()
    report = drive(
        {"scene": str(scene), "out": str(out), "classes": known_classes(scene.parent)}, DEMO / "session"
    )
    total = time.monotonic() - started
    mapped, trained = report["mapped"], report["trained"]
    scores = None
    if (scene.parent / "truth.tif").is_file():
        found = score_map(scene.parent, Path(mapped["map"]))
        scores = {key: round(float(found[key]), 4) for key in ("oa", "macro_f1", "miou")}
    for note in report["notes"]:
        print(f"Note: {note}")
    if setup_seconds:
        print(f"set-up: {setup_seconds} s")
    print(
        f"demo: {total:.0f} s, of these training {trained['seconds']:.1f} s and mapping {mapped['seconds']:.1f} s"
    )
    return {
        "map": mapped["map"],
        "confidence": mapped["confidence"],
        "model": trained["model"],
        "project": report["project"],
        "screenshot": report.get("screenshot"),
        "scores": scores,
        "seconds": round(total, 1),
        "train_seconds": round(trained["seconds"], 2),
        "map_seconds": round(mapped["seconds"], 2),
        "setup_seconds": setup_seconds,
        "scene": str(scene),
        "synthetic": bool(facts.get("synthetic")),
        "notes": report["notes"],
    }


def find_scene(path: Path) -> Path:
    """The scene file that a path means, absolute.

    Raises:
        DemoError: there is none.
    """
    file = path / "scene.json" if path.is_dir() else path
    if not file.is_file():
        raise DemoError(f"There is no scene.json in {path}.")
    return file.absolute()


def known_classes(folder: Path) -> list[dict[str, Any]]:
    """Names and colours of a scene's classes, where `classes.json` and the colour table of `truth.tif` tell them."""
    names, truth = folder / "classes.json", folder / "truth.tif"
    if not names.is_file() or not truth.is_file():
        return []
    with rasterio.open(truth) as source:
        try:
            table = source.colormap(1)
        except ValueError:  # it has none
            return []
    found = json.loads(names.read_text(encoding="utf-8"))
    return [
        {"id": int(number), "name": name, "color": "#{:02x}{:02x}{:02x}".format(*table[int(number)][:3])}
        for number, name in found.items()
        if int(number) in table
    ]


def take_setup_seconds() -> int:
    """What `make` has just spent on set-up, in seconds; told once."""
    log = ROOT / "build" / "setup_seconds"
    if not log.is_file():
        return 0
    seconds = sum(int(line) for line in log.read_text(encoding="utf-8").split())
    log.unlink()
    return seconds


if __name__ == "__main__":
    sys.exit(main())
