"""A head on imagery that it was not trained on: the other HR scene, and series without every second date or one of the sensors.

Beside it a random forest of 300 trees on the bands, given series with straight lines through their gaps. Without a sensor the model's spare for the
others maps, and the forest is one of the others' bands alone.
Run: .venv/bin/python benchmarks/bench_transfer.py [FOLDER OF DATA] (default ../shared/data; QUICK=1: one series).
"""

import os
import sys
import tempfile
from pathlib import Path

import torch
from hardware import write_result
from labelled import QUIET, LabelledScene, trees_painter
from sklearn.ensemble import RandomForestClassifier
from skysense.finetune.features import plain_values
from skysense.finetune.head import fit_head
from skysense.finetune.judging import repeated_folds
from skysense.finetune.spares import fit_spares
from skysense.inference.scores import TileScorer
from skysense.model.backbone import default_backbone
from skysense.scene.sensors import SENSORS

CPU = torch.device("cpu")
HR = ("kampala-buildings", "kampala-buildings-south")
SERIES = ("belgium-crops-map", "flanders-crops-2018", "flanders-crops-2019-20m")


def row(learned: LabelledScene, mapped: LabelledScene, work: Path) -> dict[str, float]:
    """mIoU of the head and of the forest from a scene's own polygons, on that scene and on another."""
    drawing = learned.drawings[0]
    x, ids, polygons = learned.table(learned.default, drawing)
    repeats = repeated_folds(ids, polygons, drawing.polygons.polygons, learned.layout.base.gsd)
    whole, _ = fit_head(x, ids, repeats, learned.default.blocks)
    found = {}
    for title, scene in (("at home", learned), ("away", mapped)):
        there, values = scene.drawings[0], learned.plain.only(scene.plain.blocks.__contains__)
        seen, head = scene.default, whole
        if scene.layout.modalities != learned.layout.modalities:
            spares = fit_spares(x, ids, polygons, learned.default.blocks, repeats[0], QUIET)
            seen, head = scene.values, spares["+".join(scene.layout.modalities)].head
        found[f"default {title}"] = scene.miou(
            seen, TileScorer(head, CPU), head.ids, head.temperature, there, work
        )
        columns = plain_values(values.blocks)
        forest = RandomForestClassifier(300, class_weight="balanced", random_state=0, n_jobs=-1)
        forest.fit(learned.table(values, drawing)[0][:, columns], ids)
        found[f"forest {title}"] = scene.miou(
            scene.plain,
            trees_painter(forest, scene.plain, columns),
            head.ids,
            1.0,
            there,
            work,
            smoothed=False,
        )
    return {name: round(value, 4) for name, value in found.items()}


def main() -> None:
    data = Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data").resolve() / "scenes"
    if not all((data / name).is_dir() for name in (*HR, *SERIES)):
        print(f"Not all labelled scenes are at {data}: transfer is not measured.")
        return
    backbone, rows, quick = default_backbone(CPU), {}, bool(os.environ.get("QUICK"))
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        scenes = [LabelledScene(data / name, backbone) for name in (() if quick else HR)]
        for here, there in (scenes, scenes[::-1]) if scenes else ():
            rows[f"{here.name} to {there.name}"] = row(here, there, work)
        for name in SERIES[:1] if quick else SERIES:
            whole, half = LabelledScene(data / name, backbone), LabelledScene(data / name, backbone, every=2)
            rows[f"{name}, every second date"] = row(whole, half, work)
            for modality in whole.layout.modalities:
                others = [m for m in whole.layout.modalities if m != modality]
                lacking = LabelledScene(data / name, backbone, modalities=others)
                rows[f"{name}, without {SENSORS[modality].title}"] = row(whole, lacking, work)
    for title, found in rows.items():
        print(f"{title:<50}" + "  ".join(f"{name} {value:.3f}" for name, value in found.items()))
    write_result("transfer-quick" if quick else "transfer", {"rows": rows})


if __name__ == "__main__":
    main()
