"""Change without labels: how much each pixel's features differ between two periods of a scene, as a rank among all of them.

The distance is the length of the change vector (Malila 1980, Change vector analysis) of each block of features by itself (F_fus,
and each sensor's spectral series or HR bands), a feature's share alike, and the mean over the blocks. Features are standardised for
each period by itself, so what differs everywhere (a wet year, haze, another processing) is no change. Seasons are compared with
seasons (see `finetune.periods`). What distance is a change differs from scene to scene, so the map shows ranks.

Where the water of Boadella came or went between June 2020 and June 2022, ranks by this distance have an area under the ROC curve of
0.94, and by the cosine of the angle 0.73: pixels near the mean point anywhere.

Shape legend: F features of a block, h x w its map, S the side of a tile's core, N pixels.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from numpy.typing import NDArray
from torch import Tensor

import skysense
from skysense.finetune.collect import gather
from skysense.finetune.extraction import open_extractor
from skysense.finetune.features import Block, FeatureExtractor, FeatureMap, TileFeatures, over_core
from skysense.finetune.lanes import Lanes, usual_choice
from skysense.finetune.periods import (
    AFTER,
    BEFORE,
    PairExtractor,
    Periods,
    common_anchors,
    open_pair,
    split_scene,
)
from skysense.finetune.series import Anchors, series_anchors
from skysense.finetune.session import hr_bands
from skysense.inference.canvas import TileCanvas
from skysense.inference.chunked import compute_chunks
from skysense.inference.embedding import Scaling
from skysense.inference.journal import begin, check_unchanged, close_journal, journal_folder, manifest
from skysense.inference.lock import RunLock
from skysense.inference.plan import plan_map
from skysense.inference.resample import OutputSampler
from skysense.inference.work import Work
from skysense.jobs.control import JobControl
from skysense.jobs.recipe import Recipe
from skysense.jobs.sidecar import write_recipe
from skysense.model.backbone import Backbone, open_backbone
from skysense.model.device import computed_by, pick_device, usual_precision
from skysense.model.regions import match_note
from skysense.raster.chunks import Chunk, value_path, write_raster
from skysense.raster.identity import file_identities
from skysense.raster.layout import Layout, plan_layout
from skysense.raster.maps import merge_aside, put
from skysense.raster.reader import SceneReader
from skysense.raster.tiles import Tiling, plan_tiles
from skysense.scene.acquisition import Scene
from skysense.scene.sensors import Modality
from skysense.scene.validate import check

#: Tiles that the features' means and spreads are taken from, and pixels of each.
_TILES, _PIXELS = 24, 1_000
_DISTANCE = "distance"  # names the chunks
#: Bits of a float32 that its place in the histogram of distances leaves out: 8 significant ones stay.
_DROPPED = 15


def find_changes(recipe: Recipe, control: JobControl) -> dict[str, Any]:
    """Write where a scene (or `options.area` of it) changed: uint8, 0 = not seen in both periods, else 1..100; a COG.

    The value is the share of the scene's pixels whose distance is smaller, in %, rounded up: 100 are those that changed most.
    Every scene has pixels of 100, whether or not anything happened.

    Returns:
        {"change" (the file), "split", "blocks" (that were compared), "seconds"}.

    Raises:
        InputError: the scene, the date or the backbone cannot be used; StorageError: the raster cannot be written; Cancelled:
        the finished chunks stay for the next run.
    """
    started = time.monotonic()
    session = _open_session(recipe, control)
    layout, backbone, periods = session.layout, session.backbone, session.periods
    if note := periods.season_note:
        control.note(note)
    folder, before, out = journal_folder(recipe.output), file_identities(session.scene), recipe.output
    with RunLock(folder, out, session.about) as lock:
        content = session.manifest()
        chosen = begin(folder, content, usual_choice(session.device))
        work = compute_chunks(Comparison, session, content, chosen, folder, lock, control)
        check_unchanged(session.scene, before, folder)
        control.progress(Comparison.span[1], "Ranking the distances")
        chunks = work.plan.chunks
        shares = smaller_shares(_distances(folder, chunks))
        ranks = []
        for chunk, values in zip(chunks, _distances(folder, chunks)):
            path = value_path(folder, chunk, "change")
            write_raster(path, chunk.grid, ranked(values, shares))
            ranks.append((chunk.window, path))
        metadata = {
            "SKYSENSE_VERSION": skysense.__version__,
            "SKYSENSE_BACKBONE": f"{backbone.preset}, {backbone.weights}",
            "SKYSENSE_MODALITIES": ",".join(layout.modalities),
            "SKYSENSE_SPLIT": str(periods.split),
        }
        told = f"change at {periods.split}, rank 1..100"
        put(merge_aside(ranks, out, layout.output, [], metadata, "confidence", (told,)), out)
        write_recipe(recipe)
        close_journal(folder)
    control.progress(1.0, "Compared")
    return {
        "change": str(out),
        "split": str(periods.split),
        "blocks": work.blocks,
        "seconds": time.monotonic() - started,
    }


@dataclass(frozen=True)
class _Session:
    """A scene in two periods and a backbone made ready; `precision`: of its numbers."""

    recipe: Recipe
    scene: Scene
    periods: Periods
    backbone: Backbone
    device: torch.device
    precision: str
    layout: Layout
    tiling: Tiling

    @property
    def about(self) -> str:
        """What the periods are compared with, for people."""
        return self.backbone.weights

    def manifest(self) -> dict[str, Any]:
        """All that the chunks depend on."""
        settings = {
            "change": self.backbone.identity,
            "split": str(self.periods.split),
            "output": repr(self.layout.output),
            "fusion_stride": self.recipe.options.fusion_stride,
            "precision": self.precision,
            "computed": computed_by(self.device),
        }
        return manifest(self.scene, settings)

    def extractor(self, reader: SceneReader) -> PairExtractor:
        """Of both periods, with what the backbone sees usefully and all spectral values."""
        bands = tuple(b for b in hr_bands(self.periods.first) if b in hr_bands(self.periods.second))
        anchors = common_anchors(series_anchors(self.periods.first), series_anchors(self.periods.second))
        encoded = self.backbone.useful(self.layout.modalities)

        def make(scene: Scene, reader: SceneReader, anchors: dict[Modality, Anchors]) -> FeatureExtractor:
            return open_extractor(
                scene,
                reader,
                self.tiling,
                self.backbone,
                self.precision,
                self.recipe.options,
                encoded,
                anchors,
                bands,
            )

        return open_pair(make, self.periods, reader, anchors)


def _open_session(recipe: Recipe, control: JobControl) -> _Session:
    control.progress(0.0, "Checking the scene")
    scene, options = recipe.open_scene(control.note), recipe.options
    check(scene, control.note)
    layout = plan_layout(scene, area=options.area, area_crs=options.area_crs)
    periods = split_scene(scene, options.split, layout.modalities)
    device = pick_device(options.device, options.memory_gb)
    backbone, precision = open_backbone(recipe.model, device), options.precision or usual_precision(device)
    return _Session(recipe, scene, periods, backbone, device, precision, layout, plan_tiles(layout))


class Comparison(Work[_Session]):
    """Computes chunks of the distances of the two periods' features.

    Attributes:
        blocks: names of those that are compared.
    """

    text, span = "Comparing the periods", (0.15, 0.95)

    @staticmethod
    def open(recipe: Recipe, control: JobControl) -> _Session:
        return _open_session(recipe, control)

    def _prepare(self, chosen: dict[str, int], control: JobControl, share: int) -> None:
        layout, tiling = self.session.layout, self.session.tiling
        reader = self._open.enter_context(SceneReader(self.session.scene, layout))
        extractor = self.session.extractor(reader)
        if note := match_note(extractor.geo_matches(tiling.over(layout.area))):
            control.note(note)
        extractor.compute_as(**chosen)
        lanes = self._open.enter_context(Lanes(extractor, chosen["threads"], share))
        blocks = tuple(block for block in extractor.blocks if block.name.startswith((BEFORE, AFTER)))
        if "scaling" not in self.found:
            self.found["scaling"] = _scaling(lanes, blocks, tiling, control.share(0.0, self.span[0]))
        painter = ChangePainter(blocks, self.found["scaling"])
        self.blocks = painter.names
        self.plan = plan_map(layout, tiling, smooth=False)
        canvas = TileCanvas(lanes, painter, tiling, layout.area, 1)
        self._open.callback(canvas.close)
        self._canvas, compute = canvas, layout.compute
        self._sampler = OutputSampler(canvas, compute, layout.output.crs, layout.aligned)

    def expect(self, chunks: Sequence[Chunk], told: Callable[[float], None] | None = None) -> None:
        self._canvas.expect([self._sampler.needs(chunk.grid) for chunk in chunks], told)

    def compute(self, chunk: Chunk, control: JobControl) -> NDArray[np.float32]:
        """Distances (1, h, w), NaN where nothing was seen in both periods."""
        values, valid = self._sampler.chunk(chunk.grid, control)
        return values.masked_fill(~valid, torch.nan).numpy()

    def is_whole(self, folder: Path, chunk: Chunk) -> bool:
        return value_path(folder, chunk, _DISTANCE).is_file()

    def write(self, folder: Path, chunk: Chunk, values: NDArray[np.float32]) -> None:
        write_raster(value_path(folder, chunk, _DISTANCE), chunk.grid, values)


def _scaling(lanes: Lanes, blocks: tuple[Block, ...], tiling: Tiling, control: JobControl) -> Scaling:
    """Of blocks side by side, over pixels all over the scene.

    Raises:
        Cancelled: between two tiles.
    """
    # Evenly spaced ones would all lie at the scene's edges where their number is a multiple of its width.
    chosen = tiling.drawn(tiling.layout.area, _TILES)
    rows = []
    for _, number, features in lanes.features((tile, number) for number, tile in enumerate(chosen)):
        control.progress(number / len(chosen), "Looking at the features")
        row, col = np.nonzero(features.valid)
        keep = np.random.default_rng((0, number)).permutation(len(row))[:_PIXELS]
        rows.append(gather(features, blocks, row[keep], col[keep]))
    drawn = np.concatenate(rows)
    return Scaling.of(drawn if len(drawn) else np.zeros((1, drawn.shape[1]), np.float32))


class ChangePainter:
    """Distances of the two periods' features.

    Args:
        blocks: of both periods; scaling: of their features side by side.

    Attributes:
        names: of the blocks that are compared.
    """

    def __init__(self, blocks: tuple[Block, ...], scaling: Scaling) -> None:
        self.names = [b.name.removeprefix(BEFORE) for b in blocks if b.name.startswith(BEFORE)]
        ends = np.cumsum([block.dim for block in blocks])
        self._scale = {
            block.name: (torch.from_numpy(scaling.mean[to - block.dim : to]), torch.from_numpy(scaling.std[to - block.dim : to]))
            for block, to in zip(blocks, ends)
        }  # fmt: skip

    @torch.inference_mode()
    def __call__(self, features: TileFeatures, side: int) -> Tensor:
        """Distances (1, S, S), from 0 on; of independent features about 1.4."""
        total, count = torch.zeros(side, side), 0
        for name in self.names:
            one, two = (self._standard(features, part + name) for part in (BEFORE, AFTER))
            if one is None or two is None:
                continue
            # At the block's own resolution: what lies between its pixels is interpolated.
            length = (one.values - two.values).square().mean(0).sqrt()
            distance = over_core(FeatureMap(length[None], one.stride, one.origin), side)[0]
            total, count = total.to(distance.device) + distance, count + 1
        return (total / max(count, 1)).clamp_min(0)[None]

    def _standard(self, features: TileFeatures, name: str) -> FeatureMap | None:
        feature = features.maps.get(name)
        if feature is None:
            return None
        mean, std = (part.to(feature.values.device)[:, None, None] for part in self._scale[name])
        return FeatureMap((feature.values - mean) / std, feature.stride, feature.origin)


def smaller_shares(chunks: Iterator[NDArray[np.float32]]) -> NDArray[np.float64]:
    """For each bin of distances the share of all pixels that are in a smaller one; see `_bins`."""
    count = np.zeros(1 << (32 - _DROPPED), np.int64)
    for values in chunks:
        count += np.bincount(_bins(values[np.isfinite(values)]), minlength=len(count))
    return (np.cumsum(count) - count) / max(int(count.sum()), 1)


def ranked(values: NDArray[np.float32], shares: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Distances (h, w) as ranks 1..100, 0 where there are none."""
    rank = np.zeros(values.shape, np.uint8)
    seen = np.isfinite(values)
    rank[seen] = np.ceil(100 * shares[_bins(values[seen])]).clip(1, 100)
    return rank


def _bins(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Bins of numbers from 0 on, narrow where they are small: their leading bits, which are in their order (IEEE 754)."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32) >> _DROPPED
    return bits.astype(np.int64)


def _distances(folder: Path, chunks: Sequence[Chunk]) -> Iterator[NDArray[np.float32]]:
    for chunk in chunks:
        with rasterio.open(value_path(folder, chunk, _DISTANCE)) as dataset:
            yield dataset.read(1)
