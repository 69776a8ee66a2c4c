"""Small embeddings: rasters as `skysense embed` writes them, with values of one's own."""

import json

import numpy as np
from affine import Affine
from skysense.raster.featurefile import merge_features, write_feature_chunk
from skysense.raster.grid import Grid, Window

X, Y, CRS = 500_000.0, 5_600_000.0, "EPSG:32631"


def write_embedding(path, values, gsd=10.0):
    """values: (F, h, w), NaN where nothing was seen."""
    values = np.asarray(values, np.float32)
    dims, height, width = values.shape
    chunk = path.with_suffix(".npy")
    write_feature_chunk(chunk, values)
    merge_features(
        [(Window(0, 0, height, width), chunk)],
        path,
        Grid(CRS, Affine(gsd, 0, X, 0, -gsd, Y), width, height),
        [f"fused {n}" for n in range(1, dims + 1)],
        {"SKYSENSE_FEATURES": json.dumps({"fused": dims}), "SKYSENSE_BACKBONE": "tiny, own"},
        lambda share: None,
    )
    return path


def place(row, col, gsd=10.0):
    """Coordinates of a pixel's centre."""
    return X + (col + 0.5) * gsd, Y - (row + 0.5) * gsd
