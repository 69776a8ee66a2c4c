"""Mapping of numbers: from a scene and a model of them to a raster of values and one of their uncertainty, chunk by chunk.

Shape legend: K values of a pixel (the number, and its spread where the head tells it), S the side of a tile's core.
"""

import time
from typing import Any

import torch
from torch import Tensor

from skysense.finetune.features import TileFeatures
from skysense.finetune.value_head import ValueHead
from skysense.inference.canvas import TileCanvas
from skysense.inference.journal import close_journal
from skysense.inference.numbers import map_numbers
from skysense.inference.resample import OutputSampler
from skysense.inference.scores import LinearPainter, at_every_pixel
from skysense.inference.session import open_session
from skysense.inference.smooth import Smooth, grown
from skysense.jobs.control import JobControl
from skysense.jobs.recipe import Recipe
from skysense.raster.maps import merge_chunks
from skysense.raster.reader import SceneReader
from skysense.raster.tiles import chunk_size

_MERGING = 0.97  # share of the progress bar that mapping takes; the rest is merging


def predict_values(recipe: Recipe, control: JobControl) -> dict[str, Any]:
    """Map the number that a model was trained on, over a scene or `options.area` of it.

    The map is float32 in the units of the field, NaN where nothing was seen; its band and its metadata item `SKYSENSE_FIELD` name
    the field. Each pixel shows the mean over its 5 x 5 pixels, as in a map of classes. Where the model knows it,
    `<map>_uncertainty.tif` beside it is the half width of an interval that held the number of 9 in 10 polygons held out.

    Returns:
        {"map", "uncertainty" (or None), "run", "field", "range" (smallest, mean and largest number of the labels), "seconds"}.

    Raises:
        InputError: the scene does not fit the model, or cannot be used; StorageError: the map cannot be written;
        Cancelled: the finished chunks stay for `--resume`.
    """
    started = time.monotonic()
    session = open_session(recipe, control)
    layout, tiling, header = session.layout, session.tiling, session.model.header
    head = ValueHead.load(header["head"], session.model.tensors)
    field, factor = str(header["field"]), head.factor
    layers = ["value"] if factor is None else ["value", "spread"]
    parts = session.open_journal()
    with SceneReader(session.scene, layout) as reader:
        extractor = session.extractor(reader)
        matches = session.matches(extractor, control)
        session.check_fits(head.blocks, extractor)
        painter = ValuePainter(head, session.device)
        canvas = TileCanvas(extractor, painter, tiling, grown(layout.area), head.depth)
        canvas.on_tile = lambda share: control.progress(_MERGING * share, "Mapping")
        sampler = OutputSampler(
            Smooth(canvas, layout.area), layout.compute, layout.output.crs, layout.aligned
        )
        try:
            files = map_numbers(sampler, layout, chunk_size(tiling), layers, parts, control)
        finally:
            canvas.close()
    control.progress(_MERGING, "Writing the map")
    metadata = {**session.metadata(), "SKYSENSE_FIELD": field}
    output, uncertainty = recipe.output, None
    merge_chunks(files["value"], output, layout.output, [], metadata, "value", field)
    if factor is not None:
        uncertainty = output.with_name(f"{output.stem}_uncertainty{output.suffix}")
        told = f"half width of an interval of 90 % of {field}"
        merge_chunks(files["spread"], uncertainty, layout.output, [], metadata, "value", told)
    seconds = time.monotonic() - started
    log = session.write_log(matches, seconds)
    close_journal(parts)
    control.progress(1.0, "Mapped")
    return {
        "map": str(output),
        "uncertainty": uncertainty and str(uncertainty),
        "run": str(log),
        "field": field,
        "range": header["report"]["range"],
        "seconds": seconds,
    }


class ValuePainter:
    """Applies a head for numbers to tiles.

    Args:
        head: the head; moved to `device`.
    """

    def __init__(self, head: ValueHead, device: torch.device) -> None:
        self._head, self._linear = head, LinearPainter(head.blocks, head.weight, head.bias, device)
        self._trees, self._factor = head.trees and head.trees.to(device), head.factor or 1.0

    @torch.inference_mode()
    def __call__(self, features: TileFeatures, side: int) -> Tensor:
        """The number and, with trees, the half width of its interval, (K, S, S)."""
        linear, moments = self._linear(features, side)[0], None
        if self._trees is not None:
            seen = at_every_pixel(features, self._head.seen_by_trees, side)
            moments = self._trees.means(seen.to(linear.device))
        found = self._head.combine(linear.reshape(-1), moments)
        found[:, 1:] *= self._factor
        return found.T.reshape(-1, side, side)
