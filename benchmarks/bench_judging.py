"""Whether a training's report can be believed: its mean IoU and interval beside the score of the map, for every drawing.

Of each labelled scene: its own polygons, then the redrawn ones; reported is what `skysense finetune` reports, true is the map's
score on the truth that lies away from the polygons. The truth holds classes that are drawn too rarely to be judged, the report
does not ("left out").

Run: .venv/bin/python benchmarks/bench_judging.py [FOLDER OF DATA] (default ../shared/data). QUICK=1: the own polygons only.
"""

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from hardware import write_result
from labelled import Drawing, LabelledScene
from skysense.finetune.features import plain_values
from skysense.finetune.head import fit_head
from skysense.finetune.judging import blocks_of, forest_probabilities, judge, repeated_folds
from skysense.inference.scores import TileScorer
from skysense.model.backbone import default_backbone

QUICK = bool(os.environ.get("QUICK"))
CPU = torch.device("cpu")


def row(scene: LabelledScene, drawing: Drawing, work: Path) -> dict[str, Any]:
    """What is reported of a drawing and what is true, in points of mIoU."""
    x, ids, polygons = scene.table(scene.default, drawing)
    repeats = repeated_folds(ids, polygons, drawing.polygons.polygons, scene.layout.base.gsd)
    head, held_out = fit_head(x, ids, repeats, scene.default.blocks)
    forest = forest_probabilities(x[:, plain_values(scene.default.blocks)], ids, repeats[0])
    together = blocks_of(ids, polygons, drawing.polygons.polygons, scene.layout.base.gsd)
    report = judge(ids, polygons, held_out, forest, blocks=together)
    true = scene.miou(scene.default, TileScorer(head, CPU), head.ids, head.temperature, drawing, work)
    low, high = report["intervals"]["miou"]
    return {
        "reported": round(100 * report["miou"], 1),
        "low": round(100 * low, 1),
        "high": round(100 * high, 1),
        "true": round(100 * true, 1),
        "holds": low <= true <= high,
        "left out": sum(item["intervals"] is None for item in report["classes"]),
    }


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Bias (reported minus true), mean absolute error and largest half-width in points, and the share of intervals that hold."""
    errors = [item["reported"] - item["true"] for item in rows]
    return {
        "bias": round(mean(errors), 1),
        "mae": round(mean(abs(error) for error in errors), 1),
        "holds": round(mean(item["holds"] for item in rows), 3),
        "half-width": round(max(item["high"] - item["low"] for item in rows) / 2, 1),
        "drawings": len(rows),
    }


def main() -> None:
    data = Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data").resolve()
    if not (data / "scenes").is_dir():
        print(f"No labelled scenes at {data}: judging is not measured.")
        return
    backbone, scenes = default_backbone(CPU), {}
    with tempfile.TemporaryDirectory() as folder:
        for name in sorted(path.parent.name for path in (data / "scenes").glob("*/truth.tif")):
            scene = LabelledScene(data / "scenes" / name, backbone)
            scenes[name] = {
                drawing.name: row(scene, drawing, Path(folder)) for drawing in scene.drawings[: 1 if QUICK else None]
            }  # fmt: skip
            for number, found in scenes[name].items():
                print(
                    f"{name:<24} {number}  reported {found['reported']:5.1f} ({found['low']:5.1f} to {found['high']:5.1f})  "
                    f"true {found['true']:5.1f}  {'holds' if found['holds'] else 'MISSES'}"
                    + (f", {found['left out']} left out" if found["left out"] else ""),
                    flush=True,
                )
    rows = [item for drawings in scenes.values() for item in drawings.values()]
    # A scene with six drawings is no more than one with a single one: its mean counts once.
    each = [summary(list(drawings.values())) for drawings in scenes.values()]
    found = {
        "own polygons": summary([drawings["0"] for drawings in scenes.values()]),
        "all drawings": summary(rows),
        "no class left out": summary([item for item in rows if not item["left out"]]),
        "mean over scenes": {key: round(mean(item[key] for item in each), 3) for key in ("bias", "mae", "holds")},
    }  # fmt: skip
    for title, figures in found.items():
        print(f"{title:<20}" + "  ".join(f"{name} {value}" for name, value in figures.items()))
    write_result("judging-quick" if QUICK else "judging", {"scenes": scenes, "summary": found})


if __name__ == "__main__":
    main()
