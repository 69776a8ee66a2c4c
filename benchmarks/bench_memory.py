"""Peak memory and time of `skysense predict` on large HR RGB pictures and of `skysense vectorize`: it must not grow with the map.

A generated texture with structure at every scale, repeated over the whole picture, every pixel valid, in deflate
tiles; a model trained on a corner of it; class maps of patches of five classes and of single pixels in them. Each size
runs in its own process; the peak is the kernel's VmHWM.
Run: .venv/bin/python benchmarks/bench_memory.py (QUICK=1 for small pictures).
"""

import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyogrio.raw
import rasterio
import shapely
from bench_mapping import QUIET, recipe
from hardware import write_result
from rasterio.transform import from_origin
from skysense.finetune.lanes import usual_choice
from skysense.inference.making import Making
from skysense.inference.session import open_session

SIZES = (2_000, 4_000) if os.environ.get("QUICK") else (5_000, 20_000)
#: Of class maps, 16 times as large as the first.
MAP_SIZES = (2_000, 8_000)
LIMIT_BYTES = 2e9
_BLOCK = 2_000


def texture(seed: int = 0) -> np.ndarray:
    """(3, 2000, 2000) uint8: noise at scales from 1 to 200 pixels, two kinds of ground."""
    random = np.random.default_rng(seed)
    total = np.zeros((3, _BLOCK, _BLOCK), np.float32)
    for cell in (200, 50, 10, 2, 1):
        coarse = random.normal(size=(3, _BLOCK // cell, _BLOCK // cell)).astype(np.float32)
        total += np.kron(coarse, np.ones((cell, cell), np.float32)) * (cell / 200) ** 0.3
    total[:, :, : _BLOCK // 2] += 1.5
    return (total * 25 + 110).clip(1, 255).astype(np.uint8)


def make_scene(folder: Path, size: int, pattern: np.ndarray) -> None:
    folder.mkdir()
    profile = {
        "driver": "GTiff", "width": size, "height": size, "count": 3, "dtype": "uint8", "crs": "EPSG:32632",
        "transform": from_origin(500_000, 5_600_000, 0.5, 0.5), "tiled": True, "blockxsize": 512, "blockysize": 512,
        "compress": "deflate", "photometric": "RGB", "BIGTIFF": "IF_SAFER",
    }  # fmt: skip
    with rasterio.open(folder / "hr.tif", "w", **profile) as out:
        for row in range(0, size, _BLOCK):
            for col in range(0, size, _BLOCK):
                height, width = min(_BLOCK, size - row), min(_BLOCK, size - col)
                window = rasterio.windows.Window(col, row, width, height)
                out.write(pattern[:, :height, :width], window=window)
    bands = {"R": 1, "G": 2, "B": 3}
    acquisition = {"modality": "hr", "path": "hr.tif", "date": None, "bands": bands}
    (folder / "scene.json").write_text(
        json.dumps({"version": 1, "name": f"texture-{size}", "acquisitions": [acquisition]})
    )


def make_labels(path: Path) -> None:
    """Four squares of 40 pixels on each kind of ground."""
    squares, names = [], []
    for name, col in (("bright", 300), ("dark", _BLOCK // 2 + 300)):
        for place in range(4):
            west, north = 500_000 + (col + 100 * place) * 0.5, 5_600_000 - (200 + 400 * place) * 0.5
            squares.append(shapely.to_wkb(shapely.box(west, north - 20, west + 20, north)))
            names.append(name)
    pyogrio.raw.write(
        path, np.array(squares, object), [np.array(names, object)], ["class"], crs="EPSG:32632",
        geometry_type="Polygon", layer="train", driver="GPKG",
    )  # fmt: skip


def measured(*arguments: str) -> tuple[float, float, float]:
    """Run a command; peak resident bytes, wall seconds, CPU seconds."""
    started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.Popen([sys.executable, "-m", "skysense", *arguments])
    peak = 0
    status = Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        with contextlib.suppress(OSError, IndexError):  # it may end between the two lines
            peak = max(peak, int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024)
        time.sleep(0.1)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode:
        sys.exit(f"skysense {' '.join(arguments)} ended with {process.returncode}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return peak, time.monotonic() - started, cpu


def small_area(work: Path, model: Path) -> dict[str, object]:
    """A sparse picture of 100,000 x 100,000 pixels, of which a field of 600 x 500 pixels is mapped."""
    scene, side = work / "sparse", 100_000
    scene.mkdir()
    west, north = 500_000.0, 5_600_000.0
    profile = {
        "driver": "GTiff", "width": side, "height": side, "count": 3, "dtype": "uint8", "crs": "EPSG:32632",
        "transform": from_origin(west, north, 0.5, 0.5), "tiled": True, "blockxsize": 512, "blockysize": 512,
        "compress": "deflate", "photometric": "RGB", "BIGTIFF": "YES", "SPARSE_OK": True, "nodata": 0,
    }  # fmt: skip
    with rasterio.open(scene / "hr.tif", "w", **profile) as out:
        out.write(texture(), window=rasterio.windows.Window(70_000, 40_000, _BLOCK, _BLOCK))
    acquisition = {"modality": "hr", "path": "hr.tif", "date": None, "bands": {"R": 1, "G": 2, "B": 3}}
    (scene / "scene.json").write_text(
        json.dumps({"version": 1, "name": "sparse", "acquisitions": [acquisition]})
    )
    x, y = west + 70_700 * 0.5, north - 40_900 * 0.5
    field = shapely.Polygon([(x, y), (x + 300, y - 20), (x + 280, y - 250), (x + 30, y - 230)])
    pyogrio.raw.write(
        work / "field.gpkg", shapely.to_wkb(np.array([field], object)), [], [], crs="EPSG:32632",
        geometry_type="Polygon", layer="field", driver="GPKG",
    )  # fmt: skip
    peak, wall, cpu = measured(
        "predict", str(scene), "--model", str(model), "--out", str(work / "sparse.tif"), "--within", str(work / "field.gpkg")
    )  # fmt: skip
    planning = planned(scene, work / "field.gpkg", model)
    with rasterio.open(work / "sparse.tif") as found:
        shape, share = found.shape, float((found.read(1) > 0).mean())
    return {"side": side, "map": shape, "mapped_share": round(share, 3), "planning_s": planning, "peak_bytes": peak, "wall_s": round(wall, 1), "cpu_s": round(cpu, 1)}  # fmt: skip


def planned(scene: Path, within: Path, model: Path) -> float:
    """Seconds from a recipe to the list of its chunks: files opened, backbone and model read, tiles counted."""
    out = within.with_name("plan.tif")
    mapping = recipe("predict", scene, out, model=str(model), options={"within": str(within)})
    started = time.monotonic()
    session = open_session(mapping, QUIET)
    with Making(session, usual_choice(session.device), QUIET) as making:
        assert making.plan.chunks
    return round(time.monotonic() - started, 2)


def polygons(work: Path) -> list[dict[str, object]]:
    """Class maps turned into polygons, as they are, and with a least area and smooth outlines."""
    random = np.random.default_rng(0)
    ids = np.kron(random.integers(1, 6, (_BLOCK // 8, _BLOCK // 8), np.uint8), np.ones((8, 8), np.uint8))
    speckle = random.random(ids.shape) < 0.01
    ids[speckle] = random.integers(0, 6, speckle.sum())
    rows = []
    for options in ((), ("--min-area", "2000", "--simplify", "20")):
        peaks = []
        for size in MAP_SIZES:
            path = work / f"classes-{size}.tif"
            with rasterio.open(
                path, "w", driver="GTiff", width=size, height=size, count=1, dtype="uint8", crs="EPSG:32632", nodata=0,
                transform=from_origin(500_000, 5_600_000, 10, 10), tiled=True, blockxsize=512, blockysize=512, compress="deflate",
            ) as out:  # fmt: skip
                whole = np.tile(ids, (size // _BLOCK, size // _BLOCK))
                out.write(whole, 1)
            peak, wall, cpu = measured("vectorize", str(path), "--out", str(work / "p.gpkg"), *options)
            count = pyogrio.read_info(work / "p.gpkg")["features"]
            peaks.append(peak)
            rows.append(
                {"options": " ".join(options), "size": size, "polygons": count, "peak_bytes": peak, "wall_s": round(wall, 1),
                 "cpu_s": round(cpu, 1), "growth": round(peak / peaks[0] - 1, 4)}
            )  # fmt: skip
            print(rows[-1], flush=True)
    return rows


def _growth(rows: list[dict[str, float]], key: str) -> float:
    """How much more a pixel takes in the largest picture than in the smallest, as a factor."""
    first, last = ((row[key] / row["size"] ** 2) for row in (rows[0], rows[-1]))
    return round(last / first, 3)


def main() -> None:
    rows = []
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        pattern = texture()
        labels = work / "labels.gpkg"
        make_labels(labels)
        model = work / "model.safetensors"
        for size in SIZES:
            scene = work / str(size)
            make_scene(scene, size, pattern)
            if not model.exists():
                measured(
                    "finetune", str(scene), "--labels", str(labels), "--field", "class", "--out", str(model)
                )
            peak, wall, cpu = measured(
                "predict", str(scene), "--model", str(model), "--out", str(work / f"{size}.tif")
            )
            with rasterio.open(work / f"{size}.tif") as map_file:
                window = rasterio.windows.Window(size - 512, size - 512, 512, 512)
                whole = map_file.shape == (size, size) and bool((map_file.read(1, window=window) > 0).all())
            rows.append(
                {"size": size, "peak_bytes": peak, "wall_s": round(wall, 1), "cpu_s": round(cpu, 1),
                 "pixels_per_s": round(size * size / wall), "complete": whole}
            )  # fmt: skip
            print(rows[-1], flush=True)
        sparse = small_area(work, model)
        print(sparse, flush=True)
        traced = polygons(work)
    growth = rows[-1]["peak_bytes"] / rows[0]["peak_bytes"] - 1
    result = {
        "rows": rows, "growth": round(growth, 4), "limit_bytes": LIMIT_BYTES,
        "passes": bool(rows[-1]["peak_bytes"] < LIMIT_BYTES and abs(growth) <= 0.10),
        "cpu_per_pixel_growth": _growth(rows, "cpu_s"), "wall_per_pixel_growth": _growth(rows, "wall_s"), "small_area": sparse,
        "vectorize": traced, "vectorize_passes": all(row["growth"] <= 0.10 for row in traced),
    }  # fmt: skip
    write_result("memory-quick" if os.environ.get("QUICK") else "memory", result)


if __name__ == "__main__":
    main()
