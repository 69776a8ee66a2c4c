"""What each part of the pretraining brings: short runs of `tiny`, frozen features on the labelled scenes.

Rows, each with the parts of those above it: random weights, pixel level, object level, image level, alignment,
geo-context; all from the specification's initial values. The last row has the initial values of `pretrain.seasons` and `pretrain.scales`.
Run: .venv/bin/python benchmarks/ablation_pretrain.py [FOLDER OF DATA]; QUICK=1 runs two seeds of a few steps. Takes
hours; an interrupted run goes on where it was.
"""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from probing import Scores, Table, labelled_scenes, probe_all
from skysense.jobs.control import JobControl
from skysense.jobs.recipe import parse_recipe
from skysense.jobs.runner import run
from skysense.model.backbone import open_backbone
from skysense.model.presets import seeded_model

ROOT = Path(__file__).resolve().parents[1]
QUICK = bool(os.environ.get("QUICK"))
SEEDS = range(2 if QUICK else 5)
#: Of every run; steps of a third of the built-in model's batch.
SETTINGS: dict[str, Any] = {
    "steps": 4 if QUICK else 60, "batch": 6, "lr": 5e-4, "head_outputs": 64, "save_every": 1000, "structured": False,
}  # fmt: skip
_OFF: dict[str, Any] = {"object_weight": 0.0, "image_weight": 0.0, "align_weight": 0.0, "geo_prototypes": 0}
ROWS: dict[str, dict[str, Any]] = {
    "pixel": _OFF,
    "+ object": {**_OFF, "object_weight": 1.0},
    "+ image": {**_OFF, "object_weight": 1.0, "image_weight": 1.0},
    "+ alignment": {"geo_prototypes": 0},
    "+ geo-context": {},
    "+ initial values": {"structured": True},
}


def pretrained(data: Path, scenes: list[Path], settings: dict[str, Any], seed: int) -> Scores:
    """Scores of a model after a run."""
    with tempfile.TemporaryDirectory() as folder:
        recipe = {
            "skysense": 1,
            "task": "pretrain",
            "data": [str(data / "pretrain"), str(data / "scenes")],
            "output": folder,
            "options": {
                "preset": "tiny",
                "seed": seed,
                "device": "cpu",
                "sources": str(ROOT / "resources" / "pretrain" / "sources.json"),
                "settings": {**SETTINGS, **settings},
            },
        }
        result = run(parse_recipe(recipe, Path(folder)), JobControl(lambda event: None))
        return probe_all(open_backbone(Path(result["model"]), torch.device("cpu")).model, scenes)


def main() -> None:
    data = Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data").resolve()
    scenes = labelled_scenes(data) if (data / "scenes").is_dir() else []
    if not scenes:
        print(f"No labelled scenes at {data}: nothing is pretrained.")
        return
    name = "pretrain-quick" if QUICK else "pretrain"
    table = Table(name, {"settings": SETTINGS, "rows": ROWS, "scenes": [scene.name for scene in scenes]})
    for seed in SEEDS:
        table.fill("random weights", seed, lambda seed=seed: probe_all(seeded_model("tiny", seed), scenes))  # type: ignore[misc]
        for row, settings in ROWS.items():
            table.fill(row, seed, lambda row=settings, seed=seed: pretrained(data, scenes, row, seed))  # type: ignore[misc]
    print(table.text())


if __name__ == "__main__":
    main()
