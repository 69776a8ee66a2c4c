"""A small HR scene of bright rectangles of known size and angle on noise, with the layers that a person might have drawn."""

import json
from pathlib import Path

import numpy as np
import pyogrio
import rasterio
import shapely
from rasterio.features import rasterize
from skysense.finetune.objects.boxes import polygons_of

WEST, NORTH, GSD = 500_000.0, 5_400_000.0, 0.5
CRS = "EPSG:32632"


def draw(random, side: int, step: int, sizes=((16, 8),)) -> np.ndarray:
    """(N, 5) boxes in pixels: one in each square of `step` pixels, shifted and turned at random."""
    boxes = []
    for row in range(step // 2, side - step // 4, step):
        for col in range(step // 2, side - step // 4, step):
            w, h = sizes[random.integers(len(sizes))]
            shift = random.uniform(-step / 8, step / 8, 2)
            boxes.append((col + shift[0], row + shift[1], w, h, random.uniform(0, np.pi)))
    return np.array(boxes)


def on_ground(boxes: np.ndarray) -> np.ndarray:
    """Polygons in the scene's CRS."""
    return shapely.transform(polygons_of(boxes), lambda xy: xy * (GSD, -GSD) + (WEST, NORTH))


def make_scene(folder: Path, boxes: np.ndarray, side: int, seed: int = 0, gsd: float = GSD) -> Path:
    """Write the image (with pixels of `gsd` metres) and scene.json."""
    random = np.random.default_rng(seed)
    count = round(side * GSD / gsd)
    transform = rasterio.Affine(gsd, 0, WEST, 0, -gsd, NORTH)
    inside = rasterize([(shape, 1) for shape in on_ground(boxes)], (count, count), transform=transform)
    values = random.normal(80, 20, (3, count, count)) + np.array([90, 70, 50])[:, None, None] * inside
    folder.mkdir(exist_ok=True, parents=True)
    with rasterio.open(
        folder / "hr.tif", "w", driver="GTiff", width=count, height=count, count=3, dtype="uint8", crs=CRS, transform=transform,
        photometric="RGB",
    ) as target:  # fmt: skip
        target.write(values.clip(1, 255).astype(np.uint8))
    scene = {
        "version": 1,
        "name": folder.name,
        "acquisitions": [
            {"modality": "hr", "path": "hr.tif", "date": None, "bands": {"R": 1, "G": 2, "B": 3}}
        ],
    }
    path = folder / "scene.json"
    path.write_text(json.dumps(scene))
    return path


def write_shapes(path: Path, shapes, names=None, crs: str = CRS) -> Path:
    """Write shapes with a field "class"."""
    names = ["roof"] * len(shapes) if names is None else names
    pyogrio.raw.write(
        path, shapely.to_wkb(np.asarray(shapes, object)), [np.array(names, object)], ["class"], crs=crs,
        geometry_type="Unknown", driver="GPKG",
    )  # fmt: skip
    return path


def read_shapes(path: Path):
    """Shapes, and fields by name."""
    meta, _, geometry, columns = pyogrio.raw.read(path)
    return shapely.from_wkb(geometry), dict(zip(meta["fields"], columns)), meta
