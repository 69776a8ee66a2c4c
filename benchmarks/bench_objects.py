"""Detection of buildings in drone imagery: trained on one place, tested on another, beside a map of classes cut into pieces.

The labelled scenes kampala-buildings and kampala-buildings-south have a truth of pixels; a building is a connected piece of its class,
told by the smallest rectangle around it. Each training gets all buildings of one half of the first scene, or of one scene, with its
bounds as the area in which all are drawn, and is asked for those of the other. A detection is right if it overlaps a building that no
surer one has found with an intersection over union of 0.5 or more.

The baseline is what one would do without a detector: the ordinary head for classes, trained on the same buildings and the ground
between them; connected pieces of its map at least a quarter as large as the usual building, each as the rectangle around it, ranked by
the mean confidence of their pixels.

    .venv/bin/python benchmarks/bench_objects.py [FOLDER OF DATA] (default ../shared/data; QUICK=1: one pair)
"""

import os
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import rasterio
import rasterio.features
import shapely
import torch
from hardware import write_result
from numpy.typing import NDArray
from skysense.finetune.objects.boxes import boxes_of
from skysense.finetune.objects.detect import Found
from skysense.finetune.objects.scoring import IOU, Matches, figures, matched
from skysense.finetune.objects.supervision import neighbour_blocks
from skysense.finetune.shapes import transform
from skysense.jobs.control import JobControl
from skysense.jobs.recipe import parse_recipe
from skysense.jobs.runner import run
from skysense.raster.layout import plan_layout
from skysense.scene.scenefile import load_scene

BUILDING = 1
#: Pieces of the truth with fewer pixels are slivers of buildings cut by the picture's edge, or none.
SLIVER = 60
#: The truth's footprints lie up to a metre beside their roofs, which alone costs a small building half its overlap: this one tells how
#: many are found at all.
LOOSE = 0.25

Bounds = tuple[float, float, float, float]


class Place:
    """A part of a scene with its buildings, in the scene's CRS and as boxes in metres."""

    def __init__(self, name: str, folder: Path, west: float, east: float) -> None:
        """west, east: 0..1, of the scene's width."""
        self.name, self.folder = name, folder
        with rasterio.open(folder / "truth.tif") as source:
            truth, at, self.crs = source.read(1), source.transform, source.crs.to_string()
            left, bottom, right, top = source.bounds
        width = right - left
        self.bounds: Bounds = (left + west * width, bottom, left + east * width, top)
        self.metric = plan_layout(load_scene(folder)).base.crs
        pieces = [
            (shapely.geometry.shape(shape), value)
            for shape, value in rasterio.features.shapes(truth, truth == BUILDING, 8, at)
        ]
        shapes = np.array([shape for shape, _ in pieces], object)
        large = shapely.area(shapes) >= SLIVER * abs(at.a * at.e)
        x = shapely.get_x(shapely.centroid(shapes))
        self.shapes = shapes[large & (x >= self.bounds[0]) & (x < self.bounds[2])]
        self.boxes = boxes_of(transform(self.shapes, self.crs, self.metric, name))

    def metres(self, shapes: NDArray[np.object_]) -> NDArray[np.float64]:
        return boxes_of(transform(shapes, self.crs, self.metric, self.name))


def write(path: Path, shapes: NDArray[np.object_], classes: list[str], crs: str) -> Path:
    path.unlink(missing_ok=True)
    pyogrio.raw.write(
        path, shapely.to_wkb(shapes), [np.array(classes, object)], ["class"], crs=crs, geometry_type="Unknown", driver="GPKG"
    )  # fmt: skip
    return path


def job(task: str, place: Place, output: Path, **more: Any) -> dict[str, Any]:
    recipe = {"skysense": 1, "task": task, "scene": str(place.folder), "output": str(output), **more}
    recipe["options"] = {"device": "cpu", **more.get("options", {})}
    return run(parse_recipe(recipe, Path.cwd()), JobControl(lambda event: None))


def score(place: Place, shapes: NDArray[np.object_], scores: NDArray[np.float64]) -> dict[str, Any]:
    """Figures of shapes in the scene's CRS, by the strict overlap and by a looser one."""
    boxes, drawn = place.metres(shapes), place.boxes
    blocks = neighbour_blocks(drawn[:, :2])
    near = np.hypot(*(boxes[:, None, :2] - drawn[None, :, :2]).transpose(2, 0, 1)).argmin(1)
    found = Found(boxes, np.zeros(len(boxes), np.int64), scores)
    ours = np.zeros(len(drawn), np.int64)
    strict, loose = (
        figures(
            Matches(
                scores, matched(found, drawn, ours, None, overlap), found.classes, blocks[near], ours, blocks
            ),
            0.0,
        )
        for overlap in (IOU, LOOSE)
    )
    return {
        "found": len(scores),
        **{name: round(strict[name], 4) for name in ("f1", "precision", "recall", "ap")},
        "intervals": strict["intervals"],
        "loose": {name: round(loose[name], 4) for name in ("f1", "ap")},
    }


def detector(learned: Place, asked: Place, work: Path) -> dict[str, Any]:
    labels = write(work / "objects.gpkg", learned.shapes, ["building"] * len(learned.shapes), learned.crs)
    areas = write(
        work / "areas.gpkg", np.array([shapely.box(*learned.bounds)], object), ["area"], learned.crs
    )
    model, out = work / "objects.safetensors", work / "found.gpkg"
    trained = job(
        "finetune",
        learned,
        model,
        labels={"path": str(labels), "field": "class", "areas": str(areas)},
        options={"target": "objects"},
    )
    options = {"area": list(asked.bounds), "area_crs": asked.crs}
    found = job("predict", asked, out, model=str(model), options=options)
    meta, _, geometry, columns = pyogrio.raw.read(out)
    confidence = dict(zip(meta["fields"], columns))["confidence"].astype(float)
    report = trained["report"]
    return {
        **score(asked, shapely.from_wkb(geometry), confidence),
        "promised": {name: round(report[name], 4) for name in ("f1", "ap")}
        | {"intervals": report["intervals"]},
        "steps": report["steps"],
        "pixel_m": round(report["pixel_m"], 4),
        "seconds": {"train": round(trained["seconds"], 1), "map": round(found["seconds"], 1)},
    }


def pieces_of_a_map(learned: Place, asked: Place, work: Path) -> dict[str, Any]:
    ground = shapely.box(*learned.bounds).difference(shapely.union_all(learned.shapes))
    # Squares of ground, so that it is not one polygon that counts as little as a single building.
    left, bottom, right, top = learned.bounds
    steps = 8
    squares = [
        shapely.box(
            left + (right - left) * i / steps,
            bottom + (top - bottom) * j / steps,
            left + (right - left) * (i + 1) / steps,
            bottom + (top - bottom) * (j + 1) / steps,
        ).intersection(ground)
        for i in range(steps)
        for j in range(steps)
    ]
    squares = [
        square for square in squares if square.geom_type in ("Polygon", "MultiPolygon") and square.area
    ]
    shapes = np.array([*learned.shapes, *squares], object)
    labels = write(
        work / "classes.gpkg",
        shapes,
        ["building"] * len(learned.shapes) + ["background"] * len(squares),
        learned.crs,
    )
    model, out = work / "classes.safetensors", work / "map.tif"
    trained = job("finetune", learned, model, labels={"path": str(labels), "field": "class"})
    options = {"area": list(asked.bounds), "area_crs": asked.crs}
    mapped = job("predict", asked, out, model=str(model), options=options)
    own = next(item["id"] for item in mapped["classes"] if item["name"] == "building")
    with rasterio.open(out) as source:
        classes, at = source.read(1), source.transform
    with rasterio.open(mapped["confidence"]) as source:
        confidence = source.read(1).astype(float)
    usual = float(np.median(shapely.area(transform(learned.shapes, learned.crs, learned.metric, "map"))))
    shapes_found, scores = [], []
    for shape, _ in rasterio.features.shapes(classes, classes == own, 8, at):
        piece = shapely.geometry.shape(shape)
        metres = transform(np.array([piece], object), asked.crs, asked.metric, "map")
        if shapely.area(metres)[0] >= usual / 4:
            inside = rasterio.features.rasterize([(piece, 1)], classes.shape, transform=at).astype(bool)
            shapes_found.append(piece)
            scores.append(confidence[inside].mean())
    return {
        **score(asked, np.array(shapes_found, object), np.array(scores)),
        "seconds": {"train": round(trained["seconds"], 1), "map": round(mapped["seconds"], 1)},
    }


def main() -> None:
    data = Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data").resolve() / "scenes"
    first, south = data / "kampala-buildings", data / "kampala-buildings-south"
    if not first.is_dir() or not south.is_dir():
        print(f"No labelled scenes at {data}: objects are not measured.")
        return
    west, east = Place("west half", first, 0, 0.5), Place("east half", first, 0.5, 1)
    whole, other = Place("kampala-buildings", first, 0, 1), Place("kampala-buildings-south", south, 0, 1)
    pairs = [(west, east), (east, west), (whole, other), (other, whole)]
    quick = bool(os.environ.get("QUICK"))
    pairs = pairs[:1] if quick else pairs
    rows = []
    # A pair takes one core: on the small tensors of a training more threads cost more than they bring.
    with ProcessPoolExecutor(min(os.cpu_count() or 1, len(pairs))) as pool:
        for row in pool.map(measure, *zip(*pairs)):
            rows.append(row)
            told = ", ".join(
                f"{who} F1 {row[who]['f1']:.2f} AP {row[who]['ap']:.2f} (loose: F1 {row[who]['loose']['f1']:.2f})"
                for who in ("detector", "pieces_of_a_map")
            )
            print(
                f"{row['trained_on']} -> {row['tested_on']}: {told}; {row['detector']['seconds']}", flush=True
            )
    write_result(
        "objects-quick" if quick else "objects",
        {"threads": 1, "load": round(os.getloadavg()[0], 1), "pairs": rows},
    )


def measure(learned: Place, asked: Place) -> dict[str, Any]:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        return {
            "trained_on": learned.name,
            "tested_on": asked.name,
            "buildings": {"trained_on": len(learned.boxes), "tested_on": len(asked.boxes)},
            "detector": detector(learned, asked, Path(folder)),
            "pieces_of_a_map": pieces_of_a_map(learned, asked, Path(folder)),
        }


if __name__ == "__main__":
    main()
