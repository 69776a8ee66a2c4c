"""How near a whole map comes to the speed of the model alone, and how far it is ahead of a plain loop.

Three ways over the same tiles, alternating: the whole run (`predict`, from the recipe to the finished files); the forwards alone
(tensors that are ready for the model, to classes and confidence on the output grid, in memory); and a plain loop that reads a
tile, runs the official computation as it is written, writes, and does one thing at a time. Beside the ratios stand pixels per
second, operations per pixel and the share of the machine's matrix product, so that a slow model does not look efficient.
On a machine with a GPU it is measured there, with `huge` in bfloat16, else on the CPU.
Run: .venv/bin/python benchmarks/bench_mapping.py [CASE…] (default: all; rows of cases that are not named stay. QUICK=1: small
scenes, one round).
"""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from bench_model import ceiling, timed
from hardware import RESULTS, hardware, write_result
from mapping_scenes import make_hr, make_labels, make_series
from skysense.finetune import fitted
from skysense.finetune.lanes import usual_choice
from skysense.inference.canvas import classify
from skysense.inference.making import Making
from skysense.inference.session import Session, open_session
from skysense.jobs.control import JobControl
from skysense.jobs.recipe import parse_recipe
from skysense.jobs.runner import run
from skysense.model.budget import swin_flops, tile_flops
from skysense.model.checkpoint.backbonefile import BackboneHeader, Licence, save_backbone
from skysense.model.device import cpu_threads, pick_device
from skysense.model.presets import PRESETS
from skysense.model.skysense import SkySense
from skysense.raster.reader import SceneReader

QUICK = bool(os.environ.get("QUICK"))
ROUNDS = 1 if QUICK else 5
QUIET = JobControl(lambda event: None)
DATES = (12, 6)
DEVICE = pick_device("auto")
CUDA = DEVICE.type == "cuda"
#: Name, preset, makes the scene, its side in pixels, metres per pixel, and the ratios to reach: over the forwards, over the loop.
#: Pictures of 4 x 4 tiles: of an odd number the last one leaves half of two cores idle, a tenth of a map of nine.
CASES = (
    [
        ("Sentinel-2 and Sentinel-1, huge", "huge", make_series, 224 if QUICK else 448, 10.0, (0.95, 1.5)),
        ("HR, huge", "huge", make_hr, 2_688 if QUICK else 7_168, 0.5, (0.95, 1.5)),
    ]
    if CUDA
    else [
        ("Sentinel-2 and Sentinel-1, tiny", "tiny", make_series, 112 if QUICK else 448, 10.0, (0.95, 1.2)),
        ("HR, tiny", "tiny", make_hr, 1_024 if QUICK else 3_500, 0.5, (0.70, 1.15)),
        ("HR, small", "small", make_hr, 1_024 if QUICK else 3_500, 0.5, (0.88, 1.15)),
    ]
)


def random_backbone(preset: str, path: Path) -> Path:
    """A backbone with the weights it is made with, which says that it is trained, so that it is used."""
    torch.manual_seed(0)
    with DEVICE:
        model = SkySense(PRESETS[preset])
    model = model.bfloat16() if CUDA else model
    state = {name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}
    specs = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in state.items()}
    header = BackboneHeader(
        preset, PRESETS[preset], "random, to measure speed", Licence("none", "", True), ()
    )
    save_backbone(path, header, specs, state.items())
    return path


def recipe(task: str, scene: Path, output: Path, **more: Any) -> Any:
    data = {"skysense": 1, "task": task, "scene": str(scene), "output": str(output), **more}
    return parse_recipe(data, output.parent)


class Ready:
    """An extractor whose tiles are read and prepared already."""

    def __init__(self, making: Making, session: Session) -> None:
        self._extractor = making._canvas._lanes.extractor
        needed = [making._sampler.needs(chunk.grid) for chunk in making.plan.chunks]
        tiles = {(t.row, t.col): t for t, _ in making._canvas._needed(needed)}
        self._tiles = {key: self._extractor.read(tile) for key, tile in tiles.items()}

    def read(self, tile: Any) -> Any:
        return self._tiles[tile.row, tile.col]

    def features(self, data: Any) -> Any:
        return self._extractor.features(data)


def forwards(making: Making) -> None:
    making.expect(making.plan.chunks)
    for chunk in making.plan.chunks:
        making.compute(chunk, QUIET)


def plain_loop(session: Session, making: Making, out: Path) -> None:
    """Read, forward, write; no overlap, the plain twins."""
    painter, ids = making._canvas._painter, making.layers._ids
    torch.set_num_threads(cpu_threads())
    side, layout = session.tiling.core, session.layout
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "crs": layout.output.crs, "transform": layout.output.transform,
               "width": layout.output.width, "height": layout.output.height, "compress": "deflate", "tiled": True}  # fmt: skip
    with (
        SceneReader(session.scene, layout) as reader,
        rasterio.open(out, "w", **profile) as classes,
        rasterio.open(out.with_suffix(".conf.tif"), "w", **profile) as confidence,
    ):
        extractor = session.extractor(reader)
        for tile in session.tiling.over(layout.area):
            features = extractor.features(extractor.read(tile))
            if not features.valid.any():
                continue
            scores = torch.softmax(painter(features, side), 0)
            part = tile.core.intersect(layout.area)
            rows, cols = tile.core.slices(part)
            found = classify(scores, torch.from_numpy(features.valid).to(scores.device), ids)[:, rows, cols]
            window = rasterio.windows.Window(
                part.col - layout.area.col, part.row - layout.area.row, part.width, part.height
            )
            classes.write(found[0], 1, window=window)
            confidence.write(found[1], 1, window=window)
    torch.set_num_threads(usual_choice(session.device)["threads"])


def ratio(one: tuple[float, float], other: tuple[float, float]) -> dict[str, Any]:
    """By wall seconds, or on a CPU by CPU seconds where the two disagree by more than 10 %."""
    wall, cpu = one[0] / other[0], one[1] / other[1]
    used = "wall" if CUDA or abs(wall / cpu - 1) <= 0.1 else "cpu"
    return {"ratio": round(wall if used == "wall" else cpu, 3), "by": used, "wall": round(wall, 3), "cpu": round(cpu, 3)}  # fmt: skip


def measure(case: tuple[Any, ...], work: Path, best_product: float) -> dict[str, Any]:
    name, preset, make, side, gsd, aims = case
    scene, labels = make(work / "scene", side), make_labels(work / "labels.gpkg", side, gsd)
    hr = make is make_hr
    random = (
        {}
        if preset == "tiny" and not hr
        else {"model": str(random_backbone(preset, work / "backbone.safetensors"))}
    )
    model = work / "model.safetensors"
    training = {"labels": {"path": str(labels), "field": "class"}, "options": {"judged": False}}
    # Random features of pictures help no head, and would not be computed.
    fitted.helpful_blocks = lambda x, ids, polygons, repeats, blocks: blocks
    run(recipe("finetune", scene, model, **training, **random), QUIET)
    mapping = recipe("predict", scene, work / "map.tif", model=str(model))
    session = open_session(mapping, QUIET)
    network = session.backbone.in_precision(session.precision)
    times: dict[str, list[tuple[float, float]]] = {"whole": [], "forwards": [], "loop": []}
    with Making(session, usual_choice(session.device), QUIET) as making:
        ready = making._canvas._lanes.extractor = Ready(making, session)
        # The model takes part: its stages or F_fus are among them.
        assert any(not block.spectral for block in ready._extractor.blocks)
        forwards(making)  # once, to warm up
        for _ in range(ROUNDS):
            times["whole"].append(timed(lambda: run(mapping, QUIET), DEVICE))
            times["forwards"].append(timed(lambda: _anew(making), DEVICE))
            network.set_fast(False)
            times["loop"].append(timed(lambda: plain_loop(session, making, work / "loop.tif"), DEVICE))
            network.set_fast(True)
        tiles = sum(bool(tile.seen.any()) for tile in ready._tiles.values())  # the others cost nothing
    best = {key: tuple(min(column) for column in zip(*values, strict=True)) for key, values in times.items()}
    config = PRESETS[preset]
    flops = (
        swin_flops(config.hr, 1024)
        if hr
        else tile_flops(config, n_s2=DATES[0], n_s1=DATES[1], hr=False, tile=64, core=56, fusion_stride=1)
    )
    pixels = float(np.prod(session.layout.output.shape))
    row = {
        "case": name, "pixels": int(pixels), "tiles": tiles,
        "seconds": {key: [round(value, 2) for value in pair] for key, pair in best.items()},
        "forwards_over_whole": ratio(best["forwards"], best["whole"]), "aim": aims[0],
        "loop_over_whole": ratio(best["loop"], best["whole"]), "aim_over_loop": aims[1],
        "pixels_per_s": round(pixels / best["whole"][0]), "kflop_per_pixel": round(flops * tiles / pixels / 1e3, 1),
        "share_of_ceiling": round(flops * tiles / best["forwards"][0] / best_product, 3),
    }  # fmt: skip
    print(row, flush=True)
    return row


def _anew(making: Making) -> None:
    making._canvas._held = type(making._canvas._held)(making._canvas._side, making._canvas._held._edge)
    forwards(making)


def main() -> None:
    os.environ["SKYSENSE_CACHE_GB"] = "0"  # every run computes all features
    torch.set_num_threads(cpu_threads())
    with torch.inference_mode():
        best_product = ceiling(torch.bfloat16 if CUDA else torch.float32, DEVICE)
    kept = RESULTS / f"mapping-{hardware(CUDA)}.json"
    rows = json.loads(kept.read_text())["rows"] if sys.argv[1:] and kept.exists() else []
    cases = [case for case in CASES if not sys.argv[1:] or case[0] in sys.argv[1:]]
    rows = [row for row in rows if row["case"] not in {case[0] for case in cases}]
    for case in cases:
        with tempfile.TemporaryDirectory() as name:
            rows.append(measure(case, Path(name), best_product))
    result = {"rounds": ROUNDS, "threads": torch.get_num_threads(), "ceiling_gflop_per_s": round(best_product / 1e9), "rows": rows}  # fmt: skip
    write_result("mapping-quick" if QUICK else "mapping", result, gpu=CUDA)


if __name__ == "__main__":
    main()
