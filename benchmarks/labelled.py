"""Labelled scenes as the benchmarks of quality use them: features computed once, then any polygons, head and map on them."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from numpy.typing import NDArray
from skysense.finetune.collect import collect, gather
from skysense.finetune.extraction import learned_gaps, with_gaps
from skysense.finetune.features import Block, FeatureExtractor, TileFeatures
from skysense.finetune.labels import LabelledPolygons, PixelLabels, choose_labels, read_labels
from skysense.finetune.lanes import Lanes
from skysense.finetune.scores import score_map
from skysense.finetune.series import Anchors, series_anchors
from skysense.finetune.session import hr_bands
from skysense.finetune.surroundings import Surroundings
from skysense.inference.canvas import TileCanvas, classify
from skysense.inference.resample import OutputSampler
from skysense.inference.smooth import SmoothProbabilities, grown
from skysense.jobs.control import JobControl
from skysense.jobs.recipe import Options
from skysense.model.backbone import Backbone
from skysense.raster.layout import plan_layout
from skysense.raster.reader import SceneReader
from skysense.raster.tiles import Tile, plan_tiles
from skysense.scene.scenefile import load_scene
from skysense.scene.sensors import SENSORS, Modality

QUIET = JobControl(lambda event: None)

#: Features (N, F), class ids (N,) and polygons (N,) of labelled pixels.
Table = tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True)
class Drawing:
    """One set of polygons and the pixels that it is scored on."""

    name: str
    polygons: LabelledPolygons
    mask: Path

    def few(self, count: int, seed: int) -> "Drawing":
        """With at most `count` polygons of each class, drawn at random."""
        random, ids = np.random.default_rng(seed), self.polygons.ids
        kept = np.sort(
            np.concatenate([random.permutation(np.flatnonzero(ids == k))[:count] for k in np.unique(ids)])
        )
        polygons = LabelledPolygons(
            self.polygons.polygons[kept], ids[kept], self.polygons.names, self.polygons.source
        )  # fmt: skip
        return Drawing(f"{self.name}, {count} a class, {seed}", polygons, self.mask)


class Kept:
    """Stands for an extractor: features of tiles that were computed once, some of their blocks left out."""

    def __init__(self, extractor: FeatureExtractor, blocks: Callable[[Block], bool]) -> None:
        self._extractor, self._wanted = extractor, blocks
        self.device = extractor.device
        self._tiles: dict[tuple[int, int], TileFeatures] = {}

    def only(self, blocks: Callable[[Block], bool]) -> "Kept":
        other = Kept(self._extractor, blocks)
        other._tiles = self._tiles
        return other

    @property
    def blocks(self) -> tuple[Block, ...]:
        return tuple(block for block in self._extractor.blocks if self._wanted(block))

    def read(self, tile: Tile) -> Tile:
        return tile

    def features(self, tile: Tile) -> TileFeatures:
        key = (tile.row, tile.col)
        if key not in self._tiles:
            self._tiles[key] = self._extractor.features(self._extractor.read(tile))
        return self._tiles[key]


class LabelledScene:
    """A scene, its drawings, and its tiles' features; of a time series every date, every second one, ..., of its sensors some."""

    def __init__(
        self,
        folder: Path,
        backbone: Backbone,
        every: int = 1,
        modalities: Collection[Modality] = tuple(SENSORS),
    ) -> None:
        self.folder, self.name = folder, folder.name
        whole = load_scene(folder)
        kept = [
            a for modality in SENSORS if modality in modalities for a in whole.modality(modality)[::every]
        ]
        self.scene = replace(whole, acquisitions=tuple(kept))
        self.layout = plan_layout(self.scene)
        self._tiling = plan_tiles(self.layout)
        reader = SceneReader(self.scene)

        def extractor(
            anchors: dict[Modality, Anchors], encoded: tuple[Modality, ...] | None
        ) -> FeatureExtractor:
            own = {m: item for m, item in anchors.items() if m in modalities}
            return FeatureExtractor(
                backbone.model, reader, self.layout, self._tiling, own, hr_bands(whole), encoded=encoded
            )

        useful = set(backbone.useful(self.layout.modalities))
        self.all = Kept(
            extractor(with_gaps(series_anchors(whole), learned_gaps(whole, Options(), QUIET)), None),
            lambda block: True,
        )
        #: What `finetune` sees.
        self.default = self.all.only(lambda block: block.spectral or "fused" in block.name or "hr" in useful)
        self.values = self.all.only(lambda block: block.spectral)
        #: As today's tools have them, straight lines through the gaps of a series.
        self.plain = Kept(extractor(series_anchors(whole), ()), lambda block: True)
        self.model = self.all.only(lambda block: not block.spectral)

    @property
    def drawings(self) -> list[Drawing]:
        """The scene's own polygons, then the redrawn ones."""
        folder = self.folder / "redraws"
        pairs = [("0", self.folder / "train.gpkg", self.folder / "eval_mask.tif")]
        for path in sorted(folder.glob("train_*.gpkg")):
            number = path.stem.removeprefix("train_")
            pairs.append((number, path, folder / f"eval_mask_{number}.tif"))
        return [
            Drawing(name, read_labels(choose_labels(self.scene, path, None, None), self.layout.base.crs, self.folder), mask)
            for name, path, mask in pairs
        ]  # fmt: skip

    def table(self, kept: Kept, drawing: Drawing, seed: int = 0, around: Surroundings | None = None) -> Table:
        """The labelled pixels as a training would draw them, and those around them where they are asked for."""
        x, ids, polygons, _ = collect(
            kept, self._tiling, self.layout, PixelLabels(drawing.polygons), "labels", seed, QUIET,  # type: ignore[arg-type]
            around=around,
        )  # fmt: skip
        return x, ids, polygons

    def miou(
        self,
        kept: Kept,
        painter: Callable[[TileFeatures, int], torch.Tensor],
        ids: tuple[int, ...],
        temperature: float,
        drawing: Drawing,
        work: Path,
        smoothed: bool = True,
    ) -> float:
        """mIoU of the map that a painter of class scores makes, smoothed and brought to the map's grid as `predict` does."""
        with Lanes(kept) as lanes:  # type: ignore[arg-type]
            canvas = TileCanvas(lanes, painter, self._tiling, grown(self.layout.area), len(ids))
            shown = SmoothProbabilities(canvas, self.layout.area, temperature) if smoothed else canvas
            sampler = OutputSampler(shown, self.layout.compute, self.layout.output.crs, self.layout.aligned)
            probabilities, valid = sampler.chunk(self.layout.output, QUIET)
        path, grid = work / "map.tif", self.layout.output
        with rasterio.open(
            path, "w", driver="GTiff", width=grid.width, height=grid.height, count=1, dtype="uint8", nodata=0,
            crs=grid.crs, transform=grid.transform,
        ) as target:  # fmt: skip
            target.write(classify(probabilities, valid, ids)[0], 1)
        return float(score_map(self.folder, path, eval_mask=drawing.mask)["miou"])


def trees_painter(
    trees: Any, kept: Kept, columns: NDArray[np.bool_]
) -> Callable[[TileFeatures, int], torch.Tensor]:
    """Logarithms of a fitted scikit-learn ensemble's probabilities on some of the columns, as a painter."""

    def paint(features: TileFeatures, side: int) -> torch.Tensor:
        rows, cols = np.divmod(np.arange(side * side), side)
        parts = [
            trees.predict_proba(gather(features, kept.blocks, rows[part], cols[part])[:, columns])
            for part in (slice(start, start + 50_000) for start in range(0, side * side, 50_000))
        ]
        probabilities = torch.from_numpy(np.concatenate(parts)).float()
        return probabilities.clamp_min(1e-4).log().T.reshape(-1, side, side)

    return paint
