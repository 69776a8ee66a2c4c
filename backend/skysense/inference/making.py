"""A map in the making.

Shape legend: K values of a pixel, h x w pixels of a chunk.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skysense.finetune.features import Block, TileFeatures
from skysense.finetune.lanes import Lanes
from skysense.finetune.value_head import ValueHead
from skysense.inference.canvas import TileCanvas
from skysense.inference.layers import ClassLayers, NumberLayers
from skysense.inference.plan import plan_map
from skysense.inference.resample import OutputSampler
from skysense.inference.scores import open_scorer
from skysense.inference.session import Session, open_session
from skysense.inference.smooth import REACH, Smooth, SmoothProbabilities, grown
from skysense.inference.values import ValuePainter, value_layers
from skysense.inference.work import Work
from skysense.jobs.control import JobControl
from skysense.jobs.recipe import Recipe
from skysense.model.regions import RegionMatch
from skysense.raster.chunks import Chunk
from skysense.raster.maps import MapClass
from skysense.raster.tiles import Tile

Painter = Callable[[TileFeatures, int], Tensor]


class Making(Work[Session]):
    """Computes chunks of one map, of classes, changes or numbers.

    Attributes:
        layers: the rasters that it consists of.
        matches: which region's prototypes serve each tile.
    """

    text, span = "Mapping", (0.0, 0.97)

    @staticmethod
    def open(recipe: Recipe, control: JobControl) -> Session:
        return open_session(recipe, control)

    def _prepare(self, chosen: dict[str, int], control: JobControl, share: int) -> None:
        session = self.session
        layout, tiling, model, output = session.layout, session.tiling, session.model, session.recipe.output
        reader = self._open.enter_context(session.reader())
        extractor = session.extractor(reader)
        extractor.compute_as(**chosen)
        self.matches: list[RegionMatch] = session.matches(extractor, control)
        self.layers: ClassLayers | NumberLayers
        blocks: tuple[Block, ...]
        painter: Painter
        if session.target == "values":
            head = ValueHead.load(model.header["head"], model.tensors)
            painter, blocks, depth = ValuePainter(head, session.device), head.blocks, head.depth
            self.layers = value_layers(output, head, str(model.header["field"]))
        else:
            scorer = open_scorer(model.header, model.tensors, session.device)
            painter, blocks, depth = scorer, scorer.blocks, len(scorer.ids)
            legend = [MapClass(**item) for item in model.header["classes"]]
            self.layers = ClassLayers(output, legend, scorer.ids, session.recipe.options.products)
        session.check_fits(blocks, extractor)
        self._within = session.within
        wanted = None if self._within is None else self._within.meets
        self.plan = plan_map(layout, tiling, session.start, wanted)
        self._canvas = TileCanvas(
            self._open.enter_context(Lanes(extractor, chosen["threads"], share)),
            painter,
            tiling,
            grown(layout.area),
            depth,
            edge=2 * REACH if layout.aligned else None,
            wanted=self._tile_wanted(),
            device=session.device,
        )
        self._open.callback(self._canvas.close)
        smooth = (
            Smooth(self._canvas, layout.area)
            if session.target == "values"
            else SmoothProbabilities(self._canvas, layout.area, scorer.temperature)
        )
        self._sampler = OutputSampler(smooth, layout.compute, layout.output.crs, layout.aligned)

    def expect(self, chunks: Sequence[Chunk], told: Callable[[float], None] | None = None) -> None:
        self._canvas.expect([self._sampler.needs(chunk.grid) for chunk in chunks], told)

    def compute(
        self, chunk: Chunk, control: JobControl
    ) -> list[NDArray[np.uint8]] | list[NDArray[np.float32]]:
        """What a chunk of each layer holds, (h, w) or (bands, h, w)."""
        values, valid = self._sampler.chunk(chunk.grid, control)
        if self._within is not None:
            valid = valid & torch.from_numpy(self._within.mask(chunk.grid)).to(valid.device)
        return self.layers.arrays(values, valid)

    def is_whole(self, folder: Path, chunk: Chunk) -> bool:
        return all(layer.chunk(folder, chunk).is_file() for layer in reversed(self.layers.layers))

    def write(
        self,
        folder: Path,
        chunk: Chunk,
        values: Sequence[NDArray[np.uint8] | NDArray[np.float32]],
    ) -> None:
        """Every layer, in their order: a chunk that has the last is whole."""
        for layer, found in zip(self.layers.layers, values, strict=True):
            layer.write(folder, chunk, found)

    def tell(self, folder: Path, chunk: Chunk, done: int, total: int, control: JobControl) -> None:
        """Of a class map, which is shown while it grows."""
        paths = {layer.name: str(layer.chunk(folder, chunk)) for layer in self.layers.layers}
        if "class" in paths:
            control.chunk(paths["class"], paths["conf"], done, total)

    def _tile_wanted(self) -> Callable[[Tile], bool] | None:
        if self._within is None:
            return None
        tiling, here = self.session.tiling, self._within.in_crs(self.session.layout.compute.crs)
        # Interpolation to the output's pixels, the mean over neighbours and blending reach so far.
        return lambda tile: here.meets(tiling.core_grid(tile), REACH + 2 + tiling.blend)
