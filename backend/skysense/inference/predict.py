"""Mapping: from a scene and a model file to a class map and a confidence map, chunk by chunk, in constant memory."""

import time
from pathlib import Path
from typing import Any

from skysense.inference.canvas import TileCanvas, classify
from skysense.inference.journal import close_journal
from skysense.inference.resample import OutputSampler
from skysense.inference.scores import open_scorer
from skysense.inference.session import open_session
from skysense.inference.smooth import SmoothProbabilities, grown
from skysense.jobs.control import JobControl
from skysense.jobs.recipe import Recipe
from skysense.raster.chunks import ChunkFiles, plan_chunks, write_chunk
from skysense.raster.layout import Layout
from skysense.raster.maps import MapClass, merge_chunks
from skysense.raster.reader import SceneReader
from skysense.raster.tiles import chunk_size

_MERGING = 0.97  # share of the progress bar that mapping takes; the rest is merging


def predict(recipe: Recipe, control: JobControl) -> dict[str, Any]:
    """Map a scene (or `options.area` of it) and write the map, its confidence, the recipe and the run's log.

    Returns:
        {"map", "confidence", "run", "classes", "seconds"}.

    Raises:
        InputError: the scene does not fit the model, or cannot be used; StorageError: the map cannot be written;
        Cancelled: the finished chunks stay for `--resume`.
    """
    started = time.monotonic()
    session = open_session(recipe, control)
    layout, tiling, model = session.layout, session.tiling, session.model
    scorer = open_scorer(model.header, model.tensors, session.device)
    classes = [MapClass(**item) for item in model.header["classes"]]
    parts = session.open_journal()
    with SceneReader(session.scene, layout) as reader:
        extractor = session.extractor(reader)
        matches = session.matches(extractor, control)
        session.check_fits(scorer.blocks, extractor)
        canvas = TileCanvas(extractor, scorer, tiling, grown(layout.area), len(scorer.ids))
        canvas.on_tile = lambda share: control.progress(_MERGING * share, "Mapping")
        smooth = SmoothProbabilities(canvas, layout.area, scorer.temperature)
        sampler = OutputSampler(smooth, layout.compute, layout.output.crs, layout.aligned)
        try:
            files = _map(sampler, layout, chunk_size(tiling), scorer.ids, classes, parts, control)
        finally:
            canvas.close()
    output, metadata = recipe.output, session.metadata()
    confidence = output.with_name(f"{output.stem}_confidence{output.suffix}")
    control.progress(_MERGING, "Writing the map")
    merge_chunks(
        [(item.window, item.classes) for item in files], output, layout.output, classes, metadata, "class"
    )
    merge_chunks(
        [(item.window, item.confidence) for item in files],
        confidence,
        layout.output,
        classes,
        metadata,
        "confidence",
    )
    seconds = time.monotonic() - started
    log = session.write_log(matches, seconds)
    close_journal(parts)
    control.progress(1.0, "Mapped")
    return {
        "map": str(output),
        "confidence": str(confidence),
        "run": str(log),
        "classes": model.header["classes"],
        "seconds": seconds,
    }


def _map(
    sampler: OutputSampler,
    layout: Layout,
    size: int,
    ids: tuple[int, ...],
    classes: list[MapClass],
    parts: Path,
    control: JobControl,
) -> list[ChunkFiles]:
    """Compute every chunk that is not yet on disk; returns the files of all, in plan order."""
    chunks = plan_chunks(layout, size)
    files = []
    for number, chunk in enumerate(chunks, start=1):
        target = ChunkFiles.of(parts, chunk)
        if not target.complete:
            probabilities, valid = sampler.chunk(chunk.grid, control)
            shown, confidence = classify(probabilities, valid, ids)
            write_chunk(target, chunk.grid, shown, confidence, classes)
        files.append(target)
        control.chunk(str(target.classes), str(target.confidence), number, len(chunks))
    return files
