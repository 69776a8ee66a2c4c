"""Makes the built-in model: pretrains `tiny` on openly licensed imagery and puts it, with its card, into resources/models.

`make pretrain-left-out` makes its twins instead: for each place with labelled scenes one that has not seen it, to be scored there.
Interrupted, the same command goes on where it was. Run: make pretrain-tiny DATA=FOLDER [OUT=FOLDER]
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / "resources" / "pretrain" / "sources.json"
MODELS = ROOT / "resources" / "models"
NAME = "skysense-tiny"

#: What differs from the defaults, and why.
SETTINGS = {
    "steps": 120,  # what two cores do in ten minutes; more of them changed no score
    "lr": 1e-4,  # the initial values (`pretrain.seasons` and `pretrain.scales`) are to be refined, not lost
    "head_outputs": 64,  # about the surfaces in a step's windows; with more, alike pixels are told apart by force
    "geo_prototypes": 0,  # beside prototypes learned on their own places, features score no higher on labelled scenes
}
SYNTHETIC = 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="has pretrain/ and scenes/")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--left-out", action="store_true", help="make the twins, OUT/without-PLACE")
    args = parser.parse_args()
    if args.left_out:
        for place in labelled_places(args.data):
            pretrain(args.data, args.out / f"without-{place}", ["--leave-out", place])
        return
    pretrain(args.data, args.out, [])
    MODELS.mkdir(exist_ok=True)
    shutil.copyfile(args.out / "model.safetensors", MODELS / f"{NAME}.safetensors")
    subprocess.run([sys.executable, str(ROOT / "tools" / "model_card.py")], check=True)


def labelled_places(data: Path) -> list[str]:
    """Places with scenes that have labels and truth."""
    scenes = {path.parent.name for path in (data / "scenes").glob("*/truth.tif")}
    sources = json.loads(SOURCES.read_text())["sources"]
    return sorted({source["place"] for source in sources if source["name"] in scenes})


def pretrain(data: Path, out: Path, more: list[str]) -> None:
    command = [sys.executable, "-m", "skysense", "pretrain", "--preset", "tiny", "--half", "--resume"]
    command += ["--data", str(data / "pretrain"), str(data / "scenes"), "--sources", str(SOURCES)]
    command += ["--out", str(out), "--synthetic", str(SYNTHETIC)]
    command += ["--set", *(f"{name}={value}" for name, value in SETTINGS.items()), *more]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
