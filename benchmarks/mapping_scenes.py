"""Generated scenes that mapping is measured on: structure at every scale, two kinds of ground, deflate-compressed files."""

import json
from pathlib import Path

import numpy as np
import pyogrio.raw
import rasterio
import rasterio.warp
import shapely
from rasterio.transform import from_origin

WEST, NORTH = 500_000, 5_600_000
_CRS, _OTHER_CRS = "EPSG:32631", "EPSG:3035"
_S2 = ("B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B11", "B12")
_FILE = {"driver": "GTiff", "tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate", "BIGTIFF": "IF_SAFER"}  # fmt: skip


def texture(bands: int, side: int, seed: int) -> np.ndarray:
    """(bands, side, side) float32: noise at scales of 1 to 200 pixels, the left half 1.5 brighter."""
    random = np.random.default_rng(seed)
    total = np.zeros((bands, side, side), np.float32)
    for cell in (200, 50, 10, 2, 1):
        coarse = random.normal(size=(bands, -(-side // cell), -(-side // cell))).astype(np.float32)
        total += np.kron(coarse, np.ones((cell, cell), np.float32))[:, :side, :side] * (cell / 200) ** 0.3
    total[:, :, : side // 2] += 1.5
    return total


def make_series(
    folder: Path, side: int, dates: tuple[int, int] = (12, 6), pattern: int | None = None
) -> Path:
    """A scene of `side` pixels of 10 m: Sentinel-2 dates, and Sentinel-1 dates of 20 m in another CRS.

    Args:
        pattern: side of the texture, which is repeated; None: as large as the scene.
    """
    folder.mkdir(parents=True)
    rows = []
    for number in range(dates[0]):
        path = folder / f"s2_{number:02d}.tif"
        values = (texture(len(_S2), pattern or side, number) * 400 + 2_500).clip(1, 10_000).astype(np.uint16)
        profile = {
            "count": len(_S2),
            "dtype": "uint16",
            "crs": _CRS,
            "transform": from_origin(WEST, NORTH, 10, 10),
        }
        _write(path, values, side, side, profile)
        bands = {name: band for band, name in enumerate(_S2, 1)}
        rows.append({"modality": "s2", "path": path.name, "date": f"2021-{number + 1:02d}-05", "bands": bands, "units": "dn"})  # fmt: skip
    bounds = (WEST, NORTH - 10 * side, WEST + 10 * side, NORTH)
    west, south, east, north = rasterio.warp.transform_bounds(_CRS, _OTHER_CRS, *bounds)
    width, height = int((east - west) / 20) + 4, int((north - south) / 20) + 4
    for number in range(dates[1]):
        path = folder / f"s1_{number:02d}.tif"
        values = texture(2, pattern or max(width, height), 100 + number) * 2 - 14
        profile = {"count": 2, "dtype": "float32", "crs": _OTHER_CRS, "transform": from_origin(west - 40, north + 40, 20, 20)}  # fmt: skip
        _write(path, values, height, width, profile)
        rows.append({"modality": "s1", "path": path.name, "date": f"2021-{2 * number + 1:02d}-09", "bands": {"VV": 1, "VH": 2}, "units": "db"})  # fmt: skip
    return _scene(folder, rows)


def make_hr(folder: Path, side: int, pattern: int = 2_000) -> Path:
    """A picture of `side` pixels of 0.5 m, RGB, in EPSG:32631."""
    folder.mkdir(parents=True)
    profile = {"count": 3, "dtype": "uint8", "crs": _CRS, "transform": from_origin(WEST, NORTH, 0.5, 0.5), "photometric": "RGB"}  # fmt: skip
    values = (texture(3, min(pattern, side), 0) * 25 + 110).clip(1, 255).astype(np.uint8)
    _write(folder / "hr.tif", values, side, side, profile)
    return _scene(
        folder,
        [{"modality": "hr", "path": "hr.tif", "date": "2021-06-01", "bands": {"R": 1, "G": 2, "B": 3}}],
    )


def make_labels(path: Path, side: int, gsd: float) -> Path:
    """Six squares of 6 x 6 pixels on each half of a scene; field `class`."""
    squares, names = [], []
    for name, share in (("bright", 0.25), ("dark", 0.75)):
        for place in range(6):
            west, north = WEST + gsd * side * share, NORTH - gsd * side * (place + 0.5) / 6
            squares.append(shapely.to_wkb(shapely.box(west, north - 6 * gsd, west + 6 * gsd, north)))
            names.append(name)
    pyogrio.raw.write(
        path, np.array(squares, object), [np.array(names, object)], ["class"], crs=_CRS, geometry_type="Polygon",
        layer="train", driver="GPKG",
    )  # fmt: skip
    return path


def _write(path: Path, values: np.ndarray, height: int, width: int, profile: dict) -> None:
    """The pattern repeated over the whole raster."""
    side = values.shape[1]
    with rasterio.open(path, "w", width=width, height=height, **_FILE, **profile) as out:
        for row in range(0, height, side):
            for col in range(0, width, side):
                h, w = min(side, height - row), min(side, width - col)
                out.write(values[:, :h, :w], window=rasterio.windows.Window(col, row, w, h))


def _scene(folder: Path, rows: list[dict]) -> Path:
    path = folder / "scene.json"
    path.write_text(json.dumps({"version": 1, "name": folder.name, "acquisitions": rows}))
    return path
