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
from collections.abc import Iterator
from typing import Any

import numpy as np
import rasterio
import torch
from numpy.typing import NDArray
from torch import Tensor

import skysense
from skysense.finetune.collect import gather
from skysense.finetune.extraction import open_extractor
from skysense.finetune.features import FeatureExtractor, FeatureMap, TileFeatures, over_core
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
from skysense.inference.embedding import Scaling
from skysense.inference.journal import begin, check_unchanged, close_journal, journal_folder, manifest
from skysense.inference.lock import RunLock
from skysense.inference.numbers import Parts, map_numbers
from skysense.inference.resample import OutputSampler
from skysense.jobs.control import JobControl
from skysense.jobs.recipe import Options, Recipe
from skysense.jobs.sidecar import write_recipe
from skysense.model.backbone import Backbone, open_backbone
from skysense.model.device import computed_by, pick_device, usual_precision
from skysense.model.regions import match_note
from skysense.raster.chunks import plan_chunks, value_path, write_raster
from skysense.raster.identity import file_identities
from skysense.raster.layout import plan_layout
from skysense.raster.maps import merge_aside, put
from skysense.raster.reader import SceneReader
from skysense.raster.tiles import Tiling, chunk_size, plan_tiles
from skysense.scene.acquisition import Scene
from skysense.scene.sensors import Modality
from skysense.scene.validate import check

#: Tiles that the features' means and spreads are taken from, and pixels of each.
_TILES, _PIXELS = 24, 1_000
#: Bits of a float32 that its place in the histogram of distances leaves out: 8 significant ones stay.
_DROPPED = 15
_SAMPLING, _MERGING = 0.15, 0.95  # where on the progress bar the distances begin and end


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
    control.progress(0.0, "Checking the scene")
    scene, options = recipe.open_scene(control.note), recipe.options
    check(scene)
    layout = plan_layout(scene, area=options.area, area_crs=options.area_crs)
    periods = split_scene(scene, options.split, layout.modalities)
    device = pick_device(options.device)
    backbone = open_backbone(recipe.model, device)
    precision, tiling = options.precision or usual_precision(device), plan_tiles(layout)
    settings = {
        "change": backbone.identity,
        "split": str(periods.split),
        "output": repr(layout.output),
        "fusion_stride": options.fusion_stride,
        "precision": precision,
        "computed": computed_by(device),
    }
    if note := periods.season_note:
        control.note(note)
    chunks = plan_chunks(layout, chunk_size(tiling))
    parts, before = journal_folder(recipe.output), file_identities(scene)
    with RunLock(parts, recipe.output, backbone.weights) as lock:
        chosen = begin(parts, manifest(scene, settings), usual_choice(device))
        with SceneReader(scene, layout) as reader:
            extractor = _extractor(periods, reader, tiling, backbone, precision, options)
            if note := match_note(extractor.geo_matches(tiling.over(layout.area))):
                control.note(note)
            extractor.compute_as(**chosen)
            with Lanes(extractor, chosen["threads"]) as lanes:
                painter = ChangePainter(lanes, tiling, control.share(0.0, _SAMPLING))
                canvas = TileCanvas(lanes, painter, tiling, layout.area, 1)
                mapping = control.share(_SAMPLING, _MERGING)
                sampler = OutputSampler(canvas, layout.compute, layout.output.crs, layout.aligned)
                canvas.expect(
                    [sampler.needs(c.grid) for c in chunks if not value_path(parts, c, "distance").is_file()],
                    lambda share: mapping.progress(share, "Comparing the periods"),
                )
                distances = map_numbers(sampler, chunks, ["distance"], parts, control, lock)
        check_unchanged(scene, before, parts)
        control.progress(_MERGING, "Ranking the distances")
        shares = smaller_shares(_read(distances["distance"]))
        ranks: Parts = []
        for chunk, values in zip(chunks, _read(distances["distance"])):
            path = value_path(parts, chunk, "change")
            write_raster(path, chunk.grid, ranked(values, shares))
            ranks.append((chunk.window, path))
        metadata = {
            "SKYSENSE_VERSION": skysense.__version__,
            "SKYSENSE_BACKBONE": f"{backbone.preset}, {backbone.weights}",
            "SKYSENSE_MODALITIES": ",".join(layout.modalities),
            "SKYSENSE_SPLIT": str(periods.split),
            "SKYSENSE_CHANGE": "share of pixels with a shorter change vector, %",
        }
        told = f"change at {periods.split}, rank 1..100"
        out = recipe.output
        put(merge_aside(ranks, out, layout.output, [], metadata, "confidence", (told,)), out)
        write_recipe(recipe)
        close_journal(parts)
    control.progress(1.0, "Compared")
    return {
        "change": str(recipe.output),
        "split": str(periods.split),
        "blocks": painter.names,
        "seconds": time.monotonic() - started,
    }


def _extractor(
    periods: Periods,
    reader: SceneReader,
    tiling: Tiling,
    backbone: Backbone,
    precision: str,
    options: Options,
) -> PairExtractor:
    """Of both periods, with what the backbone sees usefully and all spectral values."""
    bands = tuple(b for b in hr_bands(periods.first) if b in hr_bands(periods.second))
    anchors = common_anchors(series_anchors(periods.first), series_anchors(periods.second))
    encoded = backbone.useful(tiling.layout.modalities)

    def make(scene: Scene, reader: SceneReader, anchors: dict[Modality, Anchors]) -> FeatureExtractor:
        return open_extractor(scene, reader, tiling, backbone, precision, options, encoded, anchors, bands)

    return open_pair(make, periods, reader, anchors)


class ChangePainter:
    """Distances of the two periods' features.

    Args:
        lanes, tiling: of the scene, from whose tiles the features' means and spreads are taken.

    Attributes:
        names: of the blocks that are compared.

    Raises:
        Cancelled: between two tiles.
    """

    def __init__(self, lanes: Lanes, tiling: Tiling, control: JobControl) -> None:
        blocks = [block for block in lanes.extractor.blocks if block.name.startswith((BEFORE, AFTER))]
        self.names = [b.name.removeprefix(BEFORE) for b in blocks if b.name.startswith(BEFORE)]
        # Evenly spaced ones would all lie at the scene's edges where their number is a multiple of its width.
        chosen = tiling.drawn(tiling.layout.area, _TILES)
        rows = []
        for _, number, features in lanes.features((tile, number) for number, tile in enumerate(chosen)):
            control.progress(number / len(chosen), "Looking at the features")
            row, col = np.nonzero(features.valid)
            keep = np.random.default_rng((0, number)).permutation(len(row))[:_PIXELS]
            rows.append(gather(features, tuple(blocks), row[keep], col[keep]))
        drawn = np.concatenate(rows)
        scaling = Scaling.of(drawn if len(drawn) else np.zeros((1, drawn.shape[1]), np.float32))
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


def _read(parts: Parts) -> Iterator[NDArray[np.float32]]:
    for _, path in parts:
        with rasterio.open(path) as dataset:
            yield dataset.read(1)
