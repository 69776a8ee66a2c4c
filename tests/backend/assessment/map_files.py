"""Small class maps and their samples."""

import json

import numpy as np
import pyogrio
import rasterio
import shapely
from affine import Affine
from skysense.jobs.control import JobControl

NAMES = {1: "water", 2: "Wälder", 7: "field"}


class Heard(JobControl):
    """A control that keeps the notes."""

    def __init__(self):
        self.notes = []
        super().__init__(lambda event: self.notes.append(event["text"]) if event["event"] == "note" else None)


def write_map(
    path, ids, gsd=10.0, x=500_000.0, y=5_600_000.0, crs="EPSG:32631", names=NAMES, nodata=0, dtype="uint8"
):
    """A class map; names=None writes no class names."""
    ids = np.asarray(ids).astype(dtype)
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=ids.shape[0], width=ids.shape[1], dtype=dtype, crs=crs,
        transform=Affine(gsd, 0, x, 0, -gsd, y), nodata=nodata, tiled=True, blockxsize=256, blockysize=256,
        compress="DEFLATE",
    ) as dataset:  # fmt: skip
        dataset.write(ids, 1)
        if names is not None:
            dataset.update_tags(SKYSENSE_CLASSES=json.dumps({str(i): name for i, name in names.items()}))
    return path


def read_sample(path):
    """Fields by name, and (N, 2) coordinates."""
    meta, _, geometry, values = pyogrio.raw.read(path, layer="sample")
    shapes = shapely.from_wkb(geometry)
    return dict(zip(meta["fields"], values)), shapely.get_coordinates(shapes)


def write_points(path, xy, crs="EPSG:32631", **fields):
    """A point layer "sample" with these fields."""
    points = shapely.to_wkb(shapely.points(np.asarray(xy, float)))
    values = [np.asarray(column) for column in fields.values()]
    pyogrio.raw.write(
        path, points, values, list(fields), layer="sample", driver="GPKG", geometry_type="Point", crs=crs
    )
    return path


def fill_in(path, reference, out=None):
    """The sample with its field `reference` filled in, written to `out`."""
    fields, xy = read_sample(path)
    fields["reference"] = np.array(reference, object)
    return write_points(out or path.with_name("filled.gpkg"), xy, **fields)
