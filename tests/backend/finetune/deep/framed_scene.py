"""A scene whose classes differ only in what lies around a pixel, for trainings of the decoder; as a job: see `deep_scene`.

Plots of 14 x 14 pixels of 10 m with the same ground inside; those of class "framed" have a bright frame 3 pixels away from the labels,
which no window of 5 x 5 pixels around a labelled pixel shows.
"""

import json
import sys

import numpy as np
import rasterio
import shapely
import torch
from deep_scene import shorten, train
from pyogrio.raw import write
from rasterio import Affine

WEST, NORTH = 500_000.0, 5_400_000.0
PLOT, PLOTS = 14, 8
STEPS, EVERY = 24, 8


def make_scene(folder):
    """Write the scene; its path, and the classes (PLOTS, PLOTS) of its plots."""
    random = np.random.default_rng(0)
    classes = random.permutation(np.arange(PLOTS**2) % 2).reshape(PLOTS, PLOTS)
    ring = np.zeros((PLOT, PLOT))
    ring[2:12, 2:12] = 1
    ring[3:11, 3:11] = 0
    values = (
        2_000 + 1_500 * np.kron(classes, ring) + 100 * random.normal(size=(3, PLOTS * PLOT, PLOTS * PLOT))
    )
    transform = Affine(10, 0, WEST, 0, -10, NORTH)
    side = PLOTS * PLOT
    with rasterio.open(
        folder / "s2.tif", "w", driver="GTiff", count=3, height=side, width=side, dtype="uint16", crs="EPSG:32632",
        transform=transform,
    ) as file:  # fmt: skip
        file.write(values.astype(np.uint16))
    draw(folder / "labels.gpkg", ["framed" if framed else "bare" for framed in classes.ravel()])
    bands = {"B2": 1, "B3": 2, "B4": 3}
    data = {
        "version": 1,
        "name": "frames",
        "acquisitions": [
            {"modality": "s2", "path": "s2.tif", "date": "2020-06-01", "bands": bands, "units": "dn"}
        ],
        "labels": {"path": "labels.gpkg", "field": "class", "layer": "labels"},
    }
    (folder / "scene.json").write_text(json.dumps(data))
    return folder / "scene.json", classes


def middles():
    """The polygons of the plots' middles, row by row."""
    corner = PLOT // 2 - 1
    places = [(PLOT * col + corner, PLOT * row + corner) for row in range(PLOTS) for col in range(PLOTS)]
    return np.array(
        [
            shapely.box(WEST + 10 * x, NORTH - 10 * (y + 2), WEST + 10 * (x + 2), NORTH - 10 * y)
            for x, y in places
        ]
    )


def draw(path, names):
    """Write the plots' middles as the label layer, each with its class."""
    write(
        path,
        shapely.to_wkb(middles()),
        [np.array(names, object)],
        ["class"],
        crs="EPSG:32632",
        geometry_type="Polygon",
        layer="labels",
        driver="GPKG",
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    shorten(STEPS, EVERY)
    train(sys.argv[1], sys.argv[2], "decoder", resume="resume" in sys.argv)
