"""Whether the borders of tiles show in maps: labelled scenes mapped twice, with the grid of tiles moved by half a core.

Cores are forced to 64 pixels of 10 m (boadella) and 256 HR pixels (both Kampalas). Where the two maps' labels differ within 8 pixels
of a border of either grid, and elsewhere; and how much the model's features jump from pixel to pixel across borders, against
inside. Run: .venv/bin/python benchmarks/bench_seams.py [FOLDER OF DATA] (default ../shared/data; QUICK=1: the first scene).
"""

import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_mapping import QUIET, random_backbone, recipe
from hardware import write_result
from numpy.typing import NDArray
from skysense.finetune.features import FeatureExtractor
from skysense.finetune.lanes import Lanes, usual_choice
from skysense.inference.canvas import TileCanvas
from skysense.inference.embed import FeaturePainter
from skysense.inference.making import Making
from skysense.inference.resample import OutputSampler
from skysense.inference.session import Session, open_session
from skysense.jobs.runner import run
from skysense.raster.reader import SceneReader

#: Scene, core in base pixels, and whether the model's features take part in its maps with the built-in model.
SCENES = (("boadella-water", 64), ("kampala-buildings", 256), ("kampala-buildings-south", 256))
NEAR = 8


def with_core(session: Session, core: int, shift: int) -> Session:
    """The same with other tiles: the usual margin around a core of so many base pixels."""
    margin = session.tiling.margin
    return replace(session, tiling=replace(session.tiling, side=core + 2 * margin, shift=shift))


def labels(session: Session) -> NDArray[np.uint8]:
    layout = session.layout
    found = np.zeros(layout.output.shape, np.uint8)
    with Making(session, usual_choice(session.device), QUIET) as making:
        making.expect(making.plan.chunks)
        for chunk in making.plan.chunks:
            rows, cols = layout.output.window.slices(chunk.window)
            found[rows, cols] = making.compute(chunk, QUIET)[-1]
    return found


def distance(session: Session) -> NDArray[np.int64]:
    """Compute pixels from each pixel of the map to the next border of tiles, 0 for those at it."""
    layout, core, moved = session.layout, session.tiling.core, session.tiling.shift * session.tiling.scale
    rows, cols = OutputSampler(None, layout.compute, layout.output.crs, False)._places(layout.output, 1)
    places = ((np.rint(place).astype(np.int64) - moved) % core for place in (rows, cols))
    return np.minimum(*(np.minimum(place, core - 1 - place) for place in places))


def jumps(session: Session) -> float:
    """Mean change of the features from a pixel to the next across borders, over that inside of tiles."""
    layout, tiling = session.layout, session.tiling
    with SceneReader(session.scene, layout) as reader:
        model = session.backbone.in_precision("float32")
        # As in an embedding: the model sees all modalities.
        extractor = FeatureExtractor(model, reader, layout, tiling, {}, (), spectral=False)
        blocks = tuple(b for b in extractor.blocks if b.name == "fused" or layout.modalities == ("hr",))
        stride = 4 if layout.modalities == ("hr",) else 1
        painter, dims = FeaturePainter(blocks, stride), sum(block.dim for block in blocks)
        cells = layout.area if stride == 1 else type(layout.area)(
            *(value // stride for value in (layout.area.row, layout.area.col, layout.area.height, layout.area.width))
        )  # fmt: skip
        with Lanes(extractor) as lanes:
            canvas = TileCanvas(lanes, painter, tiling, cells, dims, stride)
            values, valid = canvas.window(cells, QUIET)
    core, shift = tiling.core // stride, tiling.shift * tiling.scale // stride
    across, inside = [], []
    for axis, start in ((1, cells.row), (2, cells.col)):
        step = torch.diff(values, dim=axis).norm(dim=0)
        both = valid.narrow(axis - 1, 1, valid.shape[axis - 1] - 1) & valid.narrow(
            axis - 1, 0, valid.shape[axis - 1] - 1
        )
        place = (torch.arange(start + 1, start + valid.shape[axis - 1]) - shift) % core
        border = (place == 0).unsqueeze(1 if axis == 1 else 0).expand(step.shape)
        # Inside: where no border is near, at the same phase of the patches.
        middle = (
            ((place % 4 == 0) & (place >= NEAR) & (place <= core - NEAR))
            .unsqueeze(1 if axis == 1 else 0)
            .expand(step.shape)
        )
        across.append(step[border & both])
        inside.append(step[middle & both])
    return float(torch.cat(across).mean() / torch.cat(inside).mean())


def measure(scene: Path, core: int, work: Path, encoded: bool) -> dict[str, Any]:
    model = work / "model.safetensors"
    backbone = {"model": str(random_backbone("tiny", work / "backbone.safetensors"))} if encoded else {}
    run(recipe("finetune", scene, model, options={"judged": False}, **backbone), QUIET)
    session = open_session(recipe("predict", scene, work / "map.tif", model=str(model)), QUIET)
    one, two = with_core(session, core, 0), with_core(session, core, core // 2)
    first, second = labels(one), labels(two)
    mapped = (first > 0) & (second > 0)
    near = (np.minimum(distance(one), distance(two)) < NEAR) & mapped
    centre = ~near & mapped
    differ = first != second
    shares = np.bincount(first[mapped]) / mapped.sum()
    row = {
        "scene": scene.name, "core": core, "backbone": "random tiny" if encoded else "built-in",
        "agree_near_borders": round(1 - float(differ[near].mean()), 5),
        "disagree_near_over_centre": round(float(differ[near].mean() / max(differ[centre].mean(), 1e-9)), 3),
        "disagree_centre": round(float(differ[centre].mean()), 5),
        "classes_of_5_percent": int((shares >= 0.05).sum()), "jump_across_over_inside": None,
    }  # fmt: skip
    row["jump_across_over_inside"] = round(jumps(one), 3)
    print(row, flush=True)
    return row


def main() -> None:
    os.environ["SKYSENSE_CACHE_GB"] = "0"
    data = Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data").resolve() / "scenes"
    if not data.is_dir():
        print(f"{data} is not there: the labelled scenes are needed")
        return
    rows = []
    quick = bool(os.environ.get("QUICK"))
    for name, core in SCENES[:1] if quick else SCENES:
        for encoded in (False, True) if not name.startswith("boadella") else (False,):
            with tempfile.TemporaryDirectory() as work:
                rows.append(measure(data / name, core, Path(work), encoded))
    write_result("seams-quick" if quick else "seams", {"near_pixels": NEAR, "rows": rows})


if __name__ == "__main__":
    main()
