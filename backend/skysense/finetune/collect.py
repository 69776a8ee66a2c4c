"""From labelled polygons and tiles to the table that a head or a probe is fitted to."""

import numpy as np
import torch
from numpy.typing import NDArray

from skysense.errors import InputError
from skysense.finetune.features import Block, FeatureExtractor, TileFeatures, at_pixels
from skysense.finetune.labels import LabelledPixels, PixelLabels
from skysense.jobs.control import JobControl
from skysense.raster.grid import Window
from skysense.raster.layout import Layout
from skysense.raster.tiles import Tile, Tiling

#: Labelled pixels kept per class, drawn at random: more of the same polygons teaches the head nothing new.
PIXELS_PER_CLASS = 5_000
_PIXELS_PER_TILE = 4_000


def collect(
    extractor: FeatureExtractor,
    tiling: Tiling,
    layout: Layout,
    labels: PixelLabels,
    source: str,
    seed: int,
    control: JobControl,
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64], tuple[Block, ...]]:
    """Features of the labelled pixels, at most `PIXELS_PER_CLASS` of a class.

    Args:
        source: the labels as the user knows them, for errors.
        seed: of the drawing.

    Returns:
        Features (N, F), class ids (N,), polygon numbers (N,), and the blocks of the columns.

    Raises:
        InputError: no labelled pixel lies on valid imagery.
    """
    control.progress(0.01, "Finding the labelled pixels")
    wanted: list[tuple[Tile, LabelledPixels]] = []
    for tile in tiling.over(layout.area):
        core = tiling.core_grid(tile)
        pixels = _inside(labels.within(core), tile.core, layout.area)
        if len(pixels.rows):
            wanted.append((tile, pixels))
        control.check()
    if not wanted:
        raise InputError(
            "no polygon lies inside the imagery",
            source,
            "Check the layer's CRS, or draw polygons where the imagery is",
        )
    total = sum(min(len(pixels.rows), _PIXELS_PER_TILE) for _, pixels in wanted)
    rows, ids, polygons = [], [], []
    for number, (tile, pixels) in enumerate(wanted):
        control.progress(0.05 + 0.85 * number / len(wanted), "Computing features")
        # Drawn by the tile's place, so that a tile's draw does not depend on which other tiles have labels.
        random = np.random.default_rng((seed, tile.row & 0xFFFFFFFF, tile.col & 0xFFFFFFFF))
        features = extractor.features(extractor.read(tile))
        pixels = _draw(pixels, features.valid[pixels.rows, pixels.cols], _PIXELS_PER_TILE, random)
        if not len(pixels.rows):
            continue
        rows.append(gather(features, extractor.blocks, pixels.rows, pixels.cols))
        ids.append(pixels.ids)
        polygons.append(pixels.polygons)
    if not rows:
        raise InputError(
            f"the {total} labelled pixels all lie where the imagery is empty or cloudy on every date",
            source,
            "Draw polygons where the imagery is valid",
        )
    x, y, groups = np.concatenate(rows), np.concatenate(ids), np.concatenate(polygons)
    keep = _cap_classes(y, PIXELS_PER_CLASS, np.random.default_rng(seed))
    return x[keep], y[keep], groups[keep], extractor.blocks


def _inside(pixels: LabelledPixels, core: Window, area: Window) -> LabelledPixels:
    rows, cols = pixels.rows + core.row - area.row, pixels.cols + core.col - area.col
    keep = (rows >= 0) & (rows < area.height) & (cols >= 0) & (cols < area.width)
    return LabelledPixels(*(getattr(pixels, name)[keep] for name in ("rows", "cols", "ids", "polygons")))


def _draw(
    pixels: LabelledPixels, valid: NDArray[np.bool_], most: int, random: np.random.Generator
) -> LabelledPixels:
    chosen = np.flatnonzero(valid)
    if len(chosen) > most:
        chosen = np.sort(random.choice(chosen, most, replace=False))
    return LabelledPixels(*(getattr(pixels, name)[chosen] for name in ("rows", "cols", "ids", "polygons")))


def gather(
    features: TileFeatures, blocks: tuple[Block, ...], rows: NDArray[np.int64], cols: NDArray[np.int64]
) -> NDArray[np.float32]:
    """All blocks at compute pixels (N,) counted from the core's corner: (N, F)."""
    columns = []
    for block in blocks:
        feature = features.maps.get(block.name)
        if feature is None:  # the tile lacks this modality: its features are at their neutral value
            columns.append(torch.zeros(len(rows), block.dim))
        else:
            columns.append(at_pixels(feature, rows, cols).cpu())
    return torch.cat(columns, 1).numpy()


def _cap_classes(ids: NDArray[np.int64], most: int, random: np.random.Generator) -> NDArray[np.int64]:
    kept = []
    for class_id in np.unique(ids):
        places = np.flatnonzero(ids == class_id)
        kept.append(random.choice(places, most, replace=False) if len(places) > most else places)
    return np.sort(np.concatenate(kept))
