"""Maps of labelled scenes from few polygons: the default, two controls, trees and the random forest, over redrawn polygons.

Rows, all scored on the truth that lies away from the polygons, and all but the forests smoothed alike:
- default: what `skysense finetune` and `predict` do with the built-in model (checked against them on each scene's own polygons);
- raw only: the same head on values of the imagery and their neighbourhoods, no encoder;
- raw trees: 300 extremely randomised trees on the same values;
- features only: the same head on the model's features, no values;
- labels alone: the default that leaves out the pixels around the labelled ones (which take part in few polygons alone);
- forest: 300 trees on the stacked bands, as `baselines.csv` and the scenes' `redraws/forest.csv` have it.

Then the same with one and two polygons of each class, beside a forest of our own on them.
Run: .venv/bin/python benchmarks/bench_quality.py [FOLDER OF DATA] (default ../shared/data). QUICK=1: the own polygons only.
"""

import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from hardware import write_result
from labelled import Drawing, Kept, LabelledScene, trees_painter
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from skysense.finetune.features import TileFeatures, plain_values
from skysense.finetune.head import fit_head
from skysense.finetune.judging import blocks_of, repeated_folds
from skysense.finetune.stages import columns_of, helpful_blocks
from skysense.finetune.surroundings import Surroundings
from skysense.inference.scores import TileScorer
from skysense.model.backbone import default_backbone

QUICK = bool(os.environ.get("QUICK"))
CPU = torch.device("cpu")
METHODS = ("default", "raw only", "raw trees", "features only")
METHODS_OF_FEW = (*METHODS, "labels alone")
FEW = (1, 2)
#: Left out of means: every method is near 1 there.
SATURATED = "boadella-water"

Figures = dict[str, float]


def forest_scores(data: Path, scene: str) -> dict[str, float]:
    """mIoU of the forest with all dates and sensors, by drawing."""
    with (data / "baselines.csv").open() as file:
        own = next(row for row in csv.DictReader(file) if row["scene"] == scene)
    found = {"0": float(own["miou_mean"])}
    redrawn = data / "scenes" / scene / "redraws" / "forest.csv"
    if redrawn.is_file():
        with redrawn.open() as file:
            found |= {row["draw"]: float(row["miou"]) for row in csv.DictReader(file)}
    return found


def kept_for(scene: LabelledScene, method: str) -> Kept:
    kept = {"default": scene.default, "labels alone": scene.default, "features only": scene.model}
    return kept.get(method, scene.plain if method == "forest" else scene.values)


def mapped(scene: LabelledScene, method: str, drawing: Drawing, work: Path) -> Figures:
    """mIoU of a method's map from a drawing, and the seconds that fitting and mapping take once features are there."""
    kept = kept_for(scene, method)
    around = Surroundings(0)
    x, ids, polygons = scene.table(kept, drawing, around=around)
    started = time.monotonic()
    painter: Callable[[TileFeatures, int], torch.Tensor]
    if method in ("raw trees", "forest"):
        # The forest on the columns that people stack, and its votes as they are.
        columns = plain_values(kept.blocks) if method == "forest" else np.ones(x.shape[1], bool)
        kind = RandomForestClassifier if method == "forest" else ExtraTreesClassifier
        trees = kind(100 if QUICK else 300, class_weight="balanced", random_state=0, n_jobs=-1).fit(
            x[:, columns], ids
        )
        painter, classes, temperature = (
            trees_painter(trees, kept, columns),
            tuple(trees.classes_.tolist()),
            1.0,
        )
    else:
        where = ids, polygons, drawing.polygons.polygons, scene.layout.base.gsd
        repeats = repeated_folds(*where)
        seen = helpful_blocks(x, ids, blocks_of(*where)[polygons], repeats, kept.blocks)
        columns = columns_of(seen, kept.blocks)
        beside = None if method == "labels alone" else around.x[:, columns]
        head, _ = fit_head(x[:, columns], ids, repeats, seen, polygons=polygons, around=beside)
        painter, classes, temperature = TileScorer(head, CPU), head.ids, head.temperature
    score = scene.miou(kept, painter, classes, temperature, drawing, work, smoothed=method != "forest")
    return {"miou": round(score, 4), "s": round(time.monotonic() - started, 2)}


def through_the_command(data: Path, scene: str, work: Path) -> dict[str, Any]:
    """mIoU of `skysense finetune` and `predict`, by the judge beside the data, and the seconds that each takes."""
    folder, model, out = data / "scenes" / scene, work / "m.safetensors", work / "m.tif"
    tool = [sys.executable, "-m", "skysense"]
    started = time.monotonic()
    subprocess.run([*tool, "finetune", str(folder), "--out", str(model)], check=True, capture_output=True)
    trained = time.monotonic()
    subprocess.run(
        [*tool, "predict", str(folder), "--model", str(model), "--out", str(out)],
        check=True,
        capture_output=True,
    )
    ended = time.monotonic()
    judge = [sys.executable, str(data / "evaluate_map.py"), str(folder), str(out)]
    found = json.loads(subprocess.run(judge, check=True, capture_output=True, text=True).stdout)
    return {"miou": found["miou"], "train_s": round(trained - started, 1), "map_s": round(ended - trained, 1)}


def judged(data: Path, name: str, work: Path) -> dict[str, Any]:
    """Everything about one scene."""
    scene = LabelledScene(data / "scenes" / name, default_backbone(CPU))
    drawings = scene.drawings[:1] if QUICK else scene.drawings
    forest = forest_scores(data, name)
    result: dict[str, Any] = {"command": through_the_command(data, name, work), "all": {}, "few": {}}
    for drawing in drawings:
        cell: dict[str, Any] = {method: mapped(scene, method, drawing, work) for method in METHODS}
        result["all"][drawing.name] = cell | {"forest": {"miou": forest[drawing.name]}}
    difference = abs(result["all"]["0"]["default"]["miou"] - result["command"]["miou"])
    assert difference < 0.01, f"{name}: the benchmark maps otherwise than the command, by {difference}"
    if name != SATURATED:
        for count in FEW:
            few = (
                [d.few(count, 0) for d in drawings]
                if len(drawings) > 1
                else [drawings[0].few(count, k) for k in range(1 if QUICK else 3)]
            )
            result["few"][count] = {
                drawing.name: {method: mapped(scene, method, drawing, work) for method in (*METHODS_OF_FEW, "forest")} for drawing in few
            }  # fmt: skip
    _print(name, result)
    return result


def gains(cells: dict[str, Any], method: str, over: str) -> list[float]:
    return [cell[method]["miou"] - cell[over]["miou"] for cell in cells.values()]


def _print(name: str, result: dict[str, Any]) -> None:
    for title, cells in (
        ("all polygons", result["all"]),
        *((f"{k} a class", v) for k, v in result["few"].items()),
    ):
        line = [f"{name:<24} {title:<12} forest {mean(c['forest']['miou'] for c in cells.values()):.3f}"]
        for method in METHODS if cells is result["all"] else METHODS_OF_FEW:
            found = gains(cells, method, "forest")
            spread = f" ± {stdev(found):.3f}" if len(found) > 1 else ""
            line.append(
                f"{method} {mean(c[method]['miou'] for c in cells.values()):.3f} ({mean(found):+.3f}{spread})"
            )
        print("  ".join(line), flush=True)


def summary(rows: dict[str, Any]) -> dict[str, Any]:
    """Means over scenes, the saturated one left out, of mIoU and of the paired gain over the forest."""
    scenes = [row for name, row in rows.items() if name != SATURATED]
    found: dict[str, Any] = {}
    for title, pick in (
        ("all", lambda r: r["all"]),
        *((f"few {k}", lambda r, k=k: r["few"][k]) for k in FEW),
    ):
        cells = [pick(row) for row in scenes]
        found[title] = {
            "forest": round(mean(mean(c["forest"]["miou"] for c in cell.values()) for cell in cells), 4)
        }
        for method in METHODS if title == "all" else METHODS_OF_FEW:
            found[title][method] = {
                "miou": round(mean(mean(c[method]["miou"] for c in cell.values()) for cell in cells), 4),
                "over forest": round(mean(mean(gains(cell, method, "forest")) for cell in cells), 4),
                "s": round(mean(mean(c[method]["s"] for c in cell.values()) for cell in cells), 2),
            }
    return found


def main() -> None:
    data = Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data").resolve()
    if not (data / "scenes").is_dir():
        print(f"No labelled scenes at {data}: quality is not measured.")
        return
    names = sorted(path.parent.name for path in (data / "scenes").glob("*/truth.tif"))
    with tempfile.TemporaryDirectory() as work:
        rows = {name: judged(data, name, Path(work)) for name in names}
    means = summary(rows)
    print(json.dumps(means, indent=1))
    write_result("quality-quick" if QUICK else "quality", {"scenes": rows, "means": means})


if __name__ == "__main__":
    main()
