"""Print how Sentinel-2's bands vary together, the numbers in `skysense/model/bands.py`.

From 2,000 pixels of each image that has every band, of the scenes below a folder; names given after it are left out.
Run: .venv/bin/python tools/measure_bands.py ../shared/data/pretrain flanders laos
"""

import sys
from pathlib import Path

import numpy as np
import rasterio
from skysense.scene.sensors import SENSORS

PIXELS = 2_000


def main() -> None:
    folder, left_out = Path(sys.argv[1]), sys.argv[2:]
    sensor, rows = SENSORS["s2"], []
    for path in sorted(folder.glob("*/s2/*.tif")):
        if any(name in path.parts[-3] for name in left_out):
            continue
        with rasterio.open(path) as file:
            names = list(file.descriptions)
            if not set(sensor.bands) <= set(names):
                continue
            values = file.read([names.index(band) + 1 for band in sensor.bands]).reshape(
                len(sensor.bands), -1
            )
        values = values[:, (values > 0).all(0)]
        chosen = np.random.default_rng(0).permutation(values.shape[1])[:PIXELS]
        rows.append((values[:, chosen].T - np.array(sensor.mean)) / np.array(sensor.std))
    x = np.concatenate(rows)
    print(f"{len(rows)} images, {len(x)} pixels")
    print("mean", np.round(x.mean(0), 3).tolist())
    for row in np.cov(x.T):
        print(np.round(row, 3).tolist())


if __name__ == "__main__":
    main()
