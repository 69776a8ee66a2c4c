"""Mapping: from a scene and a model file to a class map and a confidence map, chunk by chunk, in constant memory."""

import platform
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import skysense
from skysense.errors import InputError
from skysense.finetune.features import FeatureExtractor
from skysense.finetune.head import Head
from skysense.finetune.series import Anchors
from skysense.inference.canvas import TileCanvas, classify
from skysense.inference.journal import close_journal, manifest, open_journal
from skysense.inference.resample import OutputSampler
from skysense.inference.scores import TileScorer
from skysense.inference.smooth import SmoothProbabilities, grown
from skysense.jobs.control import JobControl
from skysense.jobs.recipe import Recipe
from skysense.jobs.sidecar import write_json, write_recipe
from skysense.model.backbone import backbone_of
from skysense.model.device import pick_device
from skysense.model.modelfile import ModelFile, load_model
from skysense.model.regions import match_note
from skysense.raster.chunks import ChunkFiles, plan_chunks, write_chunk
from skysense.raster.layout import Layout, plan_layout
from skysense.raster.maps import MapClass, merge_chunks
from skysense.raster.reader import SceneReader
from skysense.raster.tiles import chunk_size, plan_tiles
from skysense.scene.acquisition import Scene
from skysense.scene.sensors import SENSORS, Modality
from skysense.scene.validate import check

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
    control.progress(0.0, "Checking the scene")
    if recipe.model is None:
        raise InputError("no model is chosen", "model", "Train one first, or choose a model file")
    scene = recipe.open_scene()
    check(scene)
    model = load_model(recipe.model)
    device = pick_device(recipe.options.device)
    backbone = backbone_of(model.header, recipe.model, device)
    inputs = model.header["inputs"]
    warning = backbone.warning_for(inputs["modalities"])
    if warning:
        control.note(warning)
    layout = plan_layout(
        _only(scene, inputs["modalities"], recipe.model.name),
        area=recipe.options.area,
        area_crs=recipe.options.area_crs,
    )
    head = Head.load(model.header["head"], model.tensors)
    classes = [MapClass(**item) for item in model.header["classes"]]
    tiling = plan_tiles(layout)
    output = recipe.output
    settings = {
        "model": model.sha256,
        "output": repr(layout.output),
        "fusion_stride": recipe.options.fusion_stride,
        "precision": _precision(recipe, model),
    }
    parts = open_journal(output, manifest(scene, settings), recipe.options.resume)
    with SceneReader(scene) as reader:
        extractor = FeatureExtractor(
            backbone.in_precision(_precision(recipe, model)),
            reader,
            layout,
            tiling,
            {m: Anchors(tuple(a["bands"]), tuple(a["days"])) for m, a in inputs["series"].items()},
            tuple(inputs["hr_bands"]),
            recipe.options.fusion_stride,
            tuple(inputs.get("encoded", inputs["modalities"])),
        )
        matches = extractor.geo_matches(tiling.over(layout.area))
        if note := match_note(matches):
            control.note(note)
        check_fits(head, extractor, recipe.model.name)
        canvas = TileCanvas(extractor, TileScorer(head, device), tiling, grown(layout.area), len(head.ids))
        canvas.on_tile = lambda share: control.progress(_MERGING * share, "Mapping")
        smooth = SmoothProbabilities(canvas, layout.area, head.temperature)
        sampler = OutputSampler(smooth, layout.compute, layout.output.crs, layout.aligned)
        try:
            files = _map(sampler, layout, chunk_size(tiling), head, classes, parts, control)
        finally:
            canvas.close()
    metadata = _metadata(model, inputs["modalities"])
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
    write_recipe(recipe)
    run_log = output.with_name(output.name + ".run.json")
    seconds = time.monotonic() - started
    geo = Counter(match.source for match in matches)
    write_json(run_log, _run_log(recipe, device, seconds) | ({"geo_context": dict(geo)} if geo else {}))
    close_journal(parts)
    control.progress(1.0, "Mapped")
    return {
        "map": str(output),
        "confidence": str(confidence),
        "run": str(run_log),
        "classes": model.header["classes"],
        "seconds": seconds,
    }


def _only(scene: Scene, modalities: list[Modality], model: str) -> Scene:
    """The scene with just the modalities that the model was trained on.

    Raises:
        InputError: the scene lacks one of them.
    """
    for modality in modalities:
        if not scene.modality(modality):
            raise InputError(
                f"the model {model} was trained with {SENSORS[modality].title} imagery, and the scene has none",
                scene.name,
                f"Add {SENSORS[modality].title} layers, or train a model on what the scene has",
            )
    kept = tuple(item for item in scene.acquisitions if item.modality in modalities)
    return replace(scene, acquisitions=kept)


def check_fits(head: Head, extractor: FeatureExtractor, model: str) -> None:
    """Raises InputError where the head's features are not those that this version computes."""
    if set(head.blocks) != set(extractor.blocks):
        raise InputError(
            "was trained by another version of SkySense, on other features", model, "Train it again"
        )


def _precision(recipe: Recipe, model: ModelFile) -> str:
    return recipe.options.precision or str(model.header["inputs"].get("precision", "float32"))


def _map(
    sampler: OutputSampler,
    layout: Layout,
    size: int,
    head: Head,
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
            ids, confidence = classify(probabilities, valid, head.ids)
            write_chunk(target, chunk.grid, ids, confidence, classes)
        files.append(target)
        control.chunk(str(target.classes), str(target.confidence), number, len(chunks))
    return files


def _metadata(model: ModelFile, modalities: list[Modality]) -> dict[str, str]:
    """What the map says of itself: functions of the recipe and the model only."""
    backbone = model.header["backbone"]
    return {
        "SKYSENSE_VERSION": skysense.__version__,
        "SKYSENSE_MODEL_SHA256": model.sha256,
        "SKYSENSE_BACKBONE": f"{backbone['preset']}, {backbone['weights']}",
        "SKYSENSE_MODALITIES": ",".join(modalities),
    }


def _run_log(recipe: Recipe, device: torch.device, seconds: float) -> dict[str, Any]:
    """Times, host and versions: what must not be in the map itself."""
    return {
        "recipe": recipe.to_json(),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "seconds": round(seconds, 3),
        "device": str(device),
        "threads": torch.get_num_threads(),
        "host": platform.node(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "skysense": skysense.__version__,
    }
