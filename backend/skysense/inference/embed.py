"""Embedding: from a scene and a backbone to a raster of its frozen features, chunk by chunk, in constant memory.

A scene with Sentinel series is embedded as F_fus (with geo-context: both its halves) on its 10 m pixels, HR alone
as Swin's four stages side by side on the pixels of the finest, 4 HR pixels a side: the model's own resolution, so
nothing is lost and nothing is made up.

Shape legend: F features, S the side of a tile's core, h x w a chunk, in cells (pixels of the raster).
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

import skysense
from skysense.finetune.extraction import learned_gaps, open_extractor, with_gaps
from skysense.finetune.features import Block, FeatureMap, TileFeatures, over_core
from skysense.finetune.lanes import Lanes, usual_choice
from skysense.finetune.series import series_anchors
from skysense.finetune.store import cache_limit
from skysense.inference.canvas import TileCanvas
from skysense.inference.journal import begin, check_unchanged, close_journal, journal_folder, manifest
from skysense.inference.lock import RunLock
from skysense.jobs.control import JobControl
from skysense.jobs.recipe import Recipe
from skysense.jobs.sidecar import write_recipe
from skysense.model.backbone import open_backbone
from skysense.model.device import computed_by, pick_device, usual_precision
from skysense.model.regions import match_note
from skysense.raster.featurefile import merge_features, write_feature_chunk
from skysense.raster.grid import Lattice, Window
from skysense.raster.identity import file_identities
from skysense.raster.layout import Layout, plan_layout
from skysense.raster.reader import SceneReader
from skysense.raster.tiles import plan_tiles
from skysense.scene.validate import check

#: HR pixels per side of Swin's patch: a pixel of its first stage.
_SWIN_PATCH = 4
#: Cells of a chunk's side, in tiles: a few MB to a few hundred, by the model's width.
_TILES_PER_CHUNK = {"hr": 1, "fused": 4}
_MERGING = 0.85  # share of the progress bar that computing takes; the rest is merging


def embed(recipe: Recipe, control: JobControl) -> dict[str, Any]:
    """Write the frozen features of a scene (or of `options.area` of it), and the recipe beside them.

    The raster is float32 with NaN where nothing was seen, in the working CRS; its bands are named by block and
    number. Its metadata names the backbone; `SKYSENSE_FEATURES` is JSON, block -> number of bands.

    Returns:
        {"embedding", "features": {block: dims}, "gsd", "width", "height", "backbone", "seconds"}; gsd in units of
        the CRS.

    Raises:
        InputError: the scene or the backbone cannot be used; StorageError: the raster cannot be written; Cancelled:
        the finished chunks stay for the next run.
    """
    started = time.monotonic()
    control.progress(0.0, "Checking the scene")
    scene, options = recipe.open_scene(control.note), recipe.options
    check(scene)
    device = pick_device(options.device)
    backbone, precision = open_backbone(recipe.model, device), options.precision or usual_precision(device)
    # The same features as a training's, so that either finds what the other has kept.
    gaps = learned_gaps(scene, options, control) if cache_limit() else {}
    layout = plan_layout(scene, area=options.area, area_crs=options.area_crs)
    if warning := backbone.warning_for(layout.modalities):
        control.note(warning)
    cells, tiling = _cells(layout), plan_tiles(layout)
    grid = cells.lattice.grid(cells.area)
    settings = {
        "embed": backbone.identity,
        "output": repr(grid),
        "fusion_stride": options.fusion_stride,
        "precision": precision,
        "computed": computed_by(device),
    }
    parts, before = journal_folder(recipe.output), file_identities(scene)
    with RunLock(parts, recipe.output, backbone.weights) as lock:
        chosen = begin(parts, manifest(scene, settings), usual_choice(device))
        with SceneReader(scene) as reader:
            extractor = open_extractor(
                scene,
                reader,
                tiling,
                backbone,
                precision,
                options,
                layout.modalities,
                with_gaps(series_anchors(scene), gaps),
                (),
            )
            if note := match_note(extractor.geo_matches(tiling.over(layout.area))):
                control.note(note)
            # In a fused scene the HR stages are left out: F_fus has seen them.
            encoded = [block for block in extractor.blocks if not block.spectral]
            blocks = tuple(block for block in encoded if cells.kind == "hr" or block.name == "fused")
            dims = sum(block.dim for block in blocks)
            painter = FeaturePainter(blocks, cells.stride)
            size = tiling.core // cells.stride * _TILES_PER_CHUNK[cells.kind]
            files = [
                (window, parts / f"r{window.row - cells.area.row:07d}_c{window.col - cells.area.col:07d}.npy")
                for window in _chunks(cells.area, size)
            ]
            missing = [(window, path) for window, path in files if not path.is_file()]
            extractor.compute_as(**chosen)
            with Lanes(extractor, chosen["threads"]) as lanes:
                canvas = TileCanvas(lanes, painter, tiling, cells.area, dims, cells.stride)
                canvas.expect(
                    [window for window, _ in missing],
                    lambda share: control.progress(_MERGING * share, "Computing features"),
                )
                for window, path in missing:
                    values, valid = canvas.window(window, control)
                    lock.check()
                    write_feature_chunk(path, values.masked_fill_(~valid, np.nan).numpy())
        check_unchanged(scene, before, parts)
        merge_features(
            [(window.shift(-cells.area.row, -cells.area.col), path) for window, path in files],
            recipe.output,
            grid,
            [f"{block.name} {number}" for block in blocks for number in range(1, block.dim + 1)],
            {
                "SKYSENSE_VERSION": skysense.__version__,
                "SKYSENSE_BACKBONE": f"{backbone.preset}, {backbone.weights}",
                "SKYSENSE_BACKBONE_SHA256": backbone.sha256,
                "SKYSENSE_MODALITIES": ",".join(layout.modalities),
                "SKYSENSE_FEATURES": json.dumps({block.name: block.dim for block in blocks}),
            },
            lambda share: control.progress(_MERGING + (1 - _MERGING) * share, "Writing the raster"),
        )
        write_recipe(recipe)
        close_journal(parts)
    control.progress(1.0, "Embedded")
    return {
        "embedding": str(recipe.output),
        "features": {block.name: block.dim for block in blocks},
        "gsd": grid.gsd,
        "width": grid.width,
        "height": grid.height,
        "backbone": backbone.header(),
        "seconds": time.monotonic() - started,
    }


@dataclass(frozen=True)
class _Cells:
    """The raster's pixels: their lattice, the part that is written, and compute pixels per cell side."""

    kind: str
    lattice: Lattice
    area: Window
    stride: int


def _cells(layout: Layout) -> _Cells:
    """10 m pixels, or Swin's patches where HR is alone; cells that the area cuts are written whole."""
    alone = layout.modalities == ("hr",)
    stride = _SWIN_PATCH if alone else max(layout.hr_factor, 1)
    area = layout.area
    row, col = area.row // stride, area.col // stride
    bottom, right = -(-(area.row + area.height) // stride), -(-(area.col + area.width) // stride)
    lattice = replace(layout.compute, gsd=layout.compute.gsd * stride)
    return _Cells("hr" if alone else "fused", lattice, Window(row, col, bottom - row, right - col), stride)


def _chunks(area: Window, size: int) -> Iterator[Window]:
    """Cut along multiples of `size` from the lattice's origin, where the tiles' edges are."""
    for row in range(area.row // size * size, area.row + area.height, size):
        for col in range(area.col // size * size, area.col + area.width, size):
            window = Window(row, col, size, size).intersect(area)
            assert window is not None
            yield window


class FeaturePainter:
    """Lays the blocks of a tile side by side on cells of `stride` compute pixels, bilinearly where they are coarser."""

    def __init__(self, blocks: tuple[Block, ...], stride: int) -> None:
        self._blocks, self._stride = blocks, stride

    @torch.inference_mode()
    def __call__(self, features: TileFeatures, side: int) -> Tensor:
        """Features (F, S, S) of a tile that has seen something."""
        maps = [features.maps[block.name] for block in self._blocks]
        return torch.cat(
            [
                over_core(FeatureMap(m.values, m.stride // self._stride, m.origin // self._stride), side)
                for m in maps
            ]
        )
