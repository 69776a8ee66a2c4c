"""Makes the built-in model: pretrains `tiny` on openly licensed imagery and puts it, with its card, into resources/models.

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
    parser.add_argument(
        "--leave-out",
        nargs="+",
        action="extend",
        default=[],
        help="places not trained on, to be scored on them",
    )
    args = parser.parse_args()
    begun = args.out / "recipe.json"
    if begun.exists() and json.loads(begun.read_text())["options"].get("leave_out", []) != args.leave_out:
        parser.error(f"{args.out} holds a run that left out other places: choose another --out")
    command = [sys.executable, "-m", "skysense", "pretrain", "--preset", "tiny", "--half", "--resume"]
    command += ["--data", str(args.data / "pretrain"), str(args.data / "scenes"), "--sources", str(SOURCES)]
    command += ["--out", str(args.out), "--synthetic", str(SYNTHETIC)]
    command += ["--set", *(f"{name}={value}" for name, value in SETTINGS.items())]
    if args.leave_out:
        command += ["--leave-out", *args.leave_out]
    subprocess.run(command, check=True)
    if not args.leave_out:
        MODELS.mkdir(exist_ok=True)
        shutil.copyfile(args.out / "model.safetensors", MODELS / f"{NAME}.safetensors")
        subprocess.run([sys.executable, str(ROOT / "tools" / "model_card.py")], check=True)


if __name__ == "__main__":
    main()
