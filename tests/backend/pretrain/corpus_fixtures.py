"""Small scene folders for the tests of the corpus, the windows and the loader."""

import json
import math
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from skysense.scene.sensors import SENSORS

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"


def write_scene(folder, *, s2=0, s1=0, hr=0, side=40, gsd=2.5, x=500000.0, hole=None, bands=None, **more):
    """A scene of random imagery, `side` pixels of 10 m wide: `s2`, `s1`, `hr` acquisitions, a month apart.

    HR has pixels of `gsd` metres; `hole` is a (row, col) slice pair of 10 m pixels without data.
    """
    rows = []
    for modality, count in (("s2", s2), ("s1", s1), ("hr", hr)):
        names = (bands or {}).get(modality, SENSORS[modality].bands)
        size = round(side * 10 / gsd) if modality == "hr" else side
        for number in range(count):
            random = np.random.default_rng((len(folder.name), ord(modality[-1]), number))
            if modality == "s1":
                values = random.uniform(-25, -2, (len(names), size, size)).astype(np.float32)
            else:
                values = random.integers(1, 255 if modality == "hr" else 1400, (len(names), size, size))
                values = values.astype("uint8" if modality == "hr" else "uint16")
            if hole is not None:
                scale = size // side
                part = tuple(slice(s.start * scale, s.stop * scale) for s in hole)
                values[(slice(None), *part)] = math.nan if modality == "s1" else 0
            path = folder / f"{modality}_{number}.tif"
            write(path, values, gsd if modality == "hr" else 10.0, x, math.nan if modality == "s1" else 0)
            rows.append(
                {
                    "modality": modality,
                    "path": path.name,
                    "date": f"2021-{number % 12 + 1:02d}-15",
                    "bands": {name: index for index, name in enumerate(names, start=1)},
                    **({"units": "db"} if modality == "s1" else {}),
                }
            )
    scene = {"version": 1, "name": folder.name, "acquisitions": rows, **more}
    (folder / "scene.json").write_text(json.dumps(scene))
    return folder / "scene.json"


def write(path, values, gsd, x=500000.0, nodata=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=len(values),
        height=values.shape[1],
        width=values.shape[2],
        dtype=values.dtype,
        crs="EPSG:32631",
        transform=Affine(gsd, 0, x, 0, -gsd, 5600000),
        nodata=nodata,
    ) as dataset:
        dataset.write(values)


def cut_off(path):
    """Leave the header and lose most pixels, as a broken download does."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 4])
