"""Embedding: from a scene and a backbone to a raster of its frozen features, chunk by chunk, in constant memory.

A scene with Sentinel series is embedded as F_fus (with geo-context: both its halves) on its 10 m pixels, HR alone
as Swin's four stages side by side on the pixels of the finest, 4 HR pixels a side: the model's own resolution, so
nothing is lost and nothing is made up.

Shape legend: F features, S the side of a tile's core, h x w a chunk, in cells (pixels of the raster).
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import skysense
from skysense.finetune.extraction import learned_gaps, open_extractor, with_gaps
from skysense.finetune.features import Block, FeatureMap, TileFeatures, over_core
from skysense.finetune.lanes import Lanes, usual_choice
from skysense.finetune.series import series_anchors
from skysense.finetune.store import cache_limit
from skysense.inference.canvas import TileCanvas
from skysense.inference.chunked import compute_chunks
from skysense.inference.journal import begin, check_unchanged, close_journal, journal_folder, manifest
from skysense.inference.lock import RunLock
from skysense.inference.plan import MapPlan
from skysense.inference.principal import check_components, write_components
from skysense.inference.work import Work
from skysense.jobs.control import JobControl
from skysense.jobs.recipe import Recipe
from skysense.jobs.sidecar import write_recipe
from skysense.model.backbone import Backbone, open_backbone
from skysense.model.device import computed_by, pick_device, usual_precision
from skysense.model.regions import match_note
from skysense.raster.chunks import Chunk
from skysense.raster.featurefile import merge_features, write_feature_chunk
from skysense.raster.grid import Grid, Lattice, Window
from skysense.raster.identity import file_identities
from skysense.raster.layout import Layout, plan_layout
from skysense.raster.reader import SceneReader
from skysense.raster.tiles import Tiling, plan_tiles
from skysense.scene.acquisition import Scene
from skysense.scene.validate import check

#: HR pixels per side of Swin's patch: a pixel of its first stage.
_SWIN_PATCH = 4
#: Cells of a chunk's side, in tiles: a few MB to a few hundred, by the model's width.
_TILES_PER_CHUNK = {"hr": 1, "fused": 4}


def embed(recipe: Recipe, control: JobControl) -> dict[str, Any]:
    """Write the frozen features of a scene (or of `options.area` of it), and the recipe beside them.

    The raster is float32 with NaN where nothing was seen, in the working CRS; its bands are named by block and
    number. Its metadata names the backbone; `SKYSENSE_FEATURES` is JSON, block -> number of bands. With
    `options.components` their principal components lie beside it, see `principal.write_components`.

    Returns:
        {"embedding", "features": {block: dims}, "gsd", "width", "height", "backbone", "seconds"}; gsd in units of
        the CRS. Of components also {"pca", "pca_rgb"}, the files.

    Raises:
        InputError: the scene or the backbone cannot be used; StorageError: the raster cannot be written; Cancelled:
        the finished chunks stay for the next run.
    """
    started = time.monotonic()
    session = _open_session(recipe, control)
    folder, before = journal_folder(recipe.output), file_identities(session.scene)
    with RunLock(folder, recipe.output, session.about) as lock:
        content = session.manifest()
        chosen = begin(folder, content, usual_choice(session.device))
        work = compute_chunks(Embedding, session, content, chosen, folder, lock, control)
        check_unchanged(session.scene, before, folder)
        number, written = recipe.options.components, 0.93 if recipe.options.components else 1.0
        writing = control.share(Embedding.span[1], written)
        merge_features(
            [(chunk.window, _path(folder, chunk)) for chunk in work.plan.chunks],
            recipe.output,
            session.grid,
            [f"{block.name} {number}" for block in work.blocks for number in range(1, block.dim + 1)],
            {
                **session.metadata(),
                "SKYSENSE_FEATURES": json.dumps({block.name: block.dim for block in work.blocks}),
            },
            lambda share: writing.progress(share, "Writing the raster"),
        )
        write_recipe(recipe)
        reducing = control.share(written, 1.0)
        # Before the journal is closed: stopped here, the next run has all features yet.
        reduced = write_components(recipe.output, number, reducing) if number else {}
        close_journal(folder)
    control.progress(1.0, "Embedded")
    return {
        "embedding": str(recipe.output),
        **reduced,
        "features": {block.name: block.dim for block in work.blocks},
        "gsd": session.grid.gsd,
        "width": session.grid.width,
        "height": session.grid.height,
        "backbone": session.backbone.header(),
        "seconds": time.monotonic() - started,
    }


@dataclass(frozen=True)
class _Session:
    """A scene and a backbone made ready; `precision`: of its numbers."""

    recipe: Recipe
    scene: Scene
    backbone: Backbone
    device: torch.device
    precision: str
    layout: Layout
    tiling: Tiling

    @property
    def about(self) -> str:
        """What the features are made with, for people."""
        return self.backbone.weights

    @property
    def cells(self) -> "_Cells":
        """The raster's pixels."""
        return _cells(self.layout)

    @property
    def grid(self) -> Grid:
        """Of the raster."""
        return self.cells.lattice.grid(self.cells.area)

    def manifest(self) -> dict[str, Any]:
        """All that the chunks depend on."""
        settings = {
            "embed": self.backbone.identity,
            "output": repr(self.grid),
            "fusion_stride": self.recipe.options.fusion_stride,
            "precision": self.precision,
            "computed": computed_by(self.device),
        }
        return manifest(self.scene, settings)

    def metadata(self) -> dict[str, str]:
        """What the raster says of its making."""
        return {
            "SKYSENSE_VERSION": skysense.__version__,
            "SKYSENSE_BACKBONE": f"{self.backbone.preset}, {self.backbone.weights}",
            "SKYSENSE_BACKBONE_SHA256": self.backbone.sha256,
            "SKYSENSE_MODALITIES": ",".join(self.layout.modalities),
        }


def _open_session(recipe: Recipe, control: JobControl) -> _Session:
    control.progress(0.0, "Checking the scene")
    scene, options = recipe.open_scene(control.note), recipe.options
    check(scene, control.note)
    device = pick_device(options.device, options.memory_gb)
    backbone, precision = open_backbone(recipe.model, device), options.precision or usual_precision(device)
    layout = plan_layout(scene, area=options.area, area_crs=options.area_crs)
    if warning := backbone.warning_for(layout.modalities):
        control.note(warning)
    return _Session(recipe, scene, backbone, device, precision, layout, plan_tiles(layout))


class Embedding(Work[_Session]):
    """Computes chunks of features.

    Attributes:
        blocks: whose features they are, side by side.
    """

    text, span = "Computing features", (0.0, 0.85)

    @staticmethod
    def open(recipe: Recipe, control: JobControl) -> _Session:
        return _open_session(recipe, control)

    def _prepare(self, chosen: dict[str, int], control: JobControl, share: int) -> None:
        session, cells, tiling = self.session, self.session.cells, self.session.tiling
        scene, options = session.scene, session.recipe.options
        if "gaps" not in self.found:
            # The same features as a training's, so that either finds what the other has kept.
            self.found["gaps"] = learned_gaps(scene, options, control) if cache_limit() else {}
        reader = self._open.enter_context(SceneReader(scene))
        extractor = open_extractor(
            scene,
            reader,
            tiling,
            session.backbone,
            session.precision,
            options,
            session.layout.modalities,
            with_gaps(series_anchors(scene), self.found["gaps"]),
            (),
        )
        if note := match_note(extractor.geo_matches(tiling.over(session.layout.area))):
            control.note(note)
        # In a fused scene the HR stages are left out: F_fus has seen them.
        encoded = [block for block in extractor.blocks if not block.spectral]
        self.blocks = tuple(block for block in encoded if cells.kind == "hr" or block.name == "fused")
        dims = sum(block.dim for block in self.blocks)
        check_components(options.components, dims)
        core = tiling.core // cells.stride
        size = core * _TILES_PER_CHUNK[cells.kind]
        windows = [window.shift(-cells.area.row, -cells.area.col) for window in _chunks(cells.area, size)]
        self.plan = MapPlan(tuple(Chunk(w, session.grid.sub(w)) for w in windows), size, core)
        extractor.compute_as(**chosen)
        lanes = self._open.enter_context(Lanes(extractor, chosen["threads"], share))
        painter = FeaturePainter(self.blocks, cells.stride)
        self._canvas = TileCanvas(lanes, painter, tiling, cells.area, dims, cells.stride)
        self._open.callback(self._canvas.close)

    def expect(self, chunks: Sequence[Chunk], told: Callable[[float], None] | None = None) -> None:
        self._canvas.expect([self._window(chunk) for chunk in chunks], told)

    def compute(self, chunk: Chunk, control: JobControl) -> NDArray[np.float32]:
        """Features (F, h, w), NaN where nothing was seen."""
        values, valid = self._canvas.window(self._window(chunk), control)
        return values.masked_fill_(~valid, np.nan).numpy()

    def is_whole(self, folder: Path, chunk: Chunk) -> bool:
        return _path(folder, chunk).is_file()

    def write(self, folder: Path, chunk: Chunk, values: NDArray[np.float32]) -> None:
        write_feature_chunk(_path(folder, chunk), values)

    def _window(self, chunk: Chunk) -> Window:
        """On the lattice."""
        area = self.session.cells.area
        return chunk.window.shift(area.row, area.col)


def _path(folder: Path, chunk: Chunk) -> Path:
    return folder / f"r{chunk.window.row:07d}_c{chunk.window.col:07d}.npy"


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
