"""Fine-tuning: from a scene and labelled polygons to a model file."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import skysense
from skysense.errors import InputError
from skysense.finetune.classes import map_classes
from skysense.finetune.features import Block, FeatureExtractor, TileFeatures, at_pixels
from skysense.finetune.head import fit_head
from skysense.finetune.labels import LabelledPixels, PixelLabels, read_labels
from skysense.finetune.series import Anchors, day_number
from skysense.jobs.control import JobControl
from skysense.jobs.recipe import Recipe
from skysense.jobs.sidecar import write_recipe
from skysense.model.backbone import open_backbone
from skysense.model.device import pick_device
from skysense.model.modelfile import save_model, save_standalone
from skysense.model.regions import match_note
from skysense.raster.grid import Window
from skysense.raster.layout import Layout, plan_layout
from skysense.raster.reader import SceneReader
from skysense.raster.tiles import Tile, Tiling, plan_tiles
from skysense.scene.acquisition import Labels, Scene
from skysense.scene.sensors import SENSORS, Modality
from skysense.scene.validate import check

#: Labelled pixels kept per class, drawn at random: more of the same polygons teaches the head nothing new.
_PIXELS_PER_CLASS = 5_000
_PIXELS_PER_TILE = 4_000


def finetune(recipe: Recipe, control: JobControl) -> dict[str, Any]:
    """Train a head on the scene's labels and write the model file.

    Returns:
        {"model", "classes", "report", "seconds"}.

    Raises:
        InputError: the scene, the labels or the backbone cannot be used; StorageError: the model cannot be written; Cancelled.
    """
    started = time.monotonic()
    control.progress(0.0, "Checking the scene")
    scene = recipe.open_scene()
    check(scene)
    labels = _labels(recipe, scene)
    layout = plan_layout(scene)
    polygons = read_labels(labels, layout.base.crs, scene.root)
    device = pick_device(recipe.options.device)
    backbone, precision = open_backbone(recipe.model, device), recipe.options.precision or "float32"
    named = backbone.embedded_header() if recipe.options.standalone else backbone.header()
    warning = backbone.warning_for(layout.modalities)
    if warning:
        control.note(warning)
    tiling = plan_tiles(layout)
    anchors = series_anchors(scene)
    hr_bands = _hr_bands(scene)
    with SceneReader(scene) as reader:
        extractor = FeatureExtractor(
            backbone.in_precision(precision),
            reader,
            layout,
            tiling,
            anchors,
            hr_bands,
            recipe.options.fusion_stride,
            backbone.prior_for(layout.modalities),
        )
        if note := match_note(extractor.geo_matches(tiling.over(layout.area))):
            control.note(note)
        x, ids, groups, blocks = _collect(
            extractor, tiling, layout, PixelLabels(polygons), polygons.source, recipe.options.seed, control
        )
    missing = sorted(set(polygons.names) - set(np.unique(ids).tolist()))
    for class_id in missing:
        control.note(
            f"The class {polygons.names[class_id]!r} has no polygon on valid pixels and was left out."
        )
    if len(np.unique(ids)) < 2:
        raise InputError(
            "only one class has polygons on valid pixels of the imagery",
            polygons.source,
            "Draw polygons of at least two classes inside the area",
        )
    control.progress(0.9, "Fitting the head")
    head, report = fit_head(x, ids, groups, blocks)
    classes = map_classes({i: polygons.names[i] for i in head.ids}, recipe.options.colors)
    header = {
        "version": skysense.__version__,
        "backbone": named,
        "head": head.header(),
        "classes": [vars(item) for item in classes],
        "inputs": {
            "modalities": list(layout.modalities),
            "series": {m: {"bands": list(a.bands), "days": list(a.days)} for m, a in anchors.items()},
            "hr_bands": list(hr_bands),
            "fusion_stride": recipe.options.fusion_stride,
            "precision": precision,
            "normalisation": {
                m: {"mean": list(SENSORS[m].mean), "std": list(SENSORS[m].std)} for m in layout.modalities
            },
        },
        "report": report,
        "licence": "The head belongs to whoever trained it; the backbone's licence is named with the backbone.",
    }
    if recipe.options.standalone:
        save_standalone(recipe.output, header, head.tensors(), backbone.model.state_dict())
    else:
        save_model(recipe.output, header, head.tensors())
    write_recipe(recipe)
    control.progress(1.0, "Trained")
    return {
        "model": str(recipe.output),
        "classes": header["classes"],
        "report": report,
        "seconds": time.monotonic() - started,
    }


def series_anchors(scene: Scene) -> dict[Modality, Anchors]:
    """The columns of each modality's series: the bands and dates that the scene has."""
    found: dict[Modality, Anchors] = {}
    for modality in ("s2", "s1"):
        acquisitions = scene.modality(modality)  # type: ignore[arg-type]
        if acquisitions:
            bands = tuple(
                band for band in SENSORS[modality].bands if any(band in item.bands for item in acquisitions)
            )
            days = sorted({day_number(item.date) for item in acquisitions})
            found[modality] = Anchors(bands, tuple(days))  # type: ignore[index]
    return found


def _hr_bands(scene: Scene) -> tuple[str, ...]:
    acquisitions = scene.modality("hr")
    return tuple(
        band for band in (*SENSORS["hr"].bands, "NIR") if any(band in item.bands for item in acquisitions)
    )


def _labels(recipe: Recipe, scene: Scene) -> Labels:
    own = scene.labels
    if recipe.labels is None:
        if own is None:
            raise InputError("has no labels", scene.name, "Choose a polygon layer and its class field")
        return own
    field = recipe.labels.get("field") or (own.field if own else None)
    if not field:
        raise InputError("no class field is chosen", "labels", "Choose the field that holds the class")
    return Labels(Path(recipe.labels["path"]), field, recipe.labels.get("layer"))


def _collect(
    extractor: FeatureExtractor,
    tiling: Tiling,
    layout: Layout,
    labels: PixelLabels,
    source: str,
    seed: int,
    control: JobControl,
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64], tuple[Block, ...]]:
    """Features (N, F), class ids and polygon numbers (N,) of the labelled pixels, and the blocks of the columns."""
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
        rows.append(_gather(features, extractor.blocks, pixels))
        ids.append(pixels.ids)
        polygons.append(pixels.polygons)
    if not rows:
        raise InputError(
            f"the {total} labelled pixels all lie where the imagery is empty or cloudy on every date",
            source,
            "Draw polygons where the imagery is valid",
        )
    x, y, groups = np.concatenate(rows), np.concatenate(ids), np.concatenate(polygons)
    keep = _cap_classes(y, _PIXELS_PER_CLASS, np.random.default_rng(seed))
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


def _gather(features: TileFeatures, blocks: tuple[Block, ...], pixels: LabelledPixels) -> NDArray[np.float32]:
    columns = []
    for block in blocks:
        feature = features.maps.get(block.name)
        if feature is None:  # the tile lacks this modality: its features are at their neutral value
            columns.append(torch.zeros(len(pixels.rows), block.dim))
        else:
            columns.append(at_pixels(feature, pixels.rows, pixels.cols).cpu())
    return torch.cat(columns, 1).numpy()


def _cap_classes(ids: NDArray[np.int64], most: int, random: np.random.Generator) -> NDArray[np.int64]:
    kept = []
    for class_id in np.unique(ids):
        places = np.flatnonzero(ids == class_id)
        kept.append(random.choice(places, most, replace=False) if len(places) > most else places)
    return np.sort(np.concatenate(kept))
