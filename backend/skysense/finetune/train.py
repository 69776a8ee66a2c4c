"""Fine-tuning: from a scene and labelled polygons to a model file."""

import time
from pathlib import Path
from typing import Any

import numpy as np

import skysense
from skysense.errors import InputError
from skysense.finetune.classes import map_classes
from skysense.finetune.collect import collect
from skysense.finetune.features import FeatureExtractor, plain_values
from skysense.finetune.head import fit_head
from skysense.finetune.judging import MIN_POLYGONS, forest_probabilities, judge, repeated_folds
from skysense.finetune.labels import PixelLabels, choose_labels, read_labels
from skysense.finetune.report import facts, open_folder, write_report
from skysense.finetune.series import Anchors, day_number
from skysense.jobs.control import JobControl
from skysense.jobs.recipe import Recipe
from skysense.jobs.sidecar import write_recipe
from skysense.model.backbone import open_backbone
from skysense.model.device import pick_device
from skysense.model.modelfile import save_model, save_standalone
from skysense.model.regions import match_note
from skysense.raster.layout import plan_layout
from skysense.raster.reader import SceneReader
from skysense.raster.tiles import plan_tiles
from skysense.scene.acquisition import Scene
from skysense.scene.sensors import SENSORS, Modality
from skysense.scene.validate import check


def finetune(recipe: Recipe, control: JobControl) -> dict[str, Any]:
    """Train a head on the scene's labels and write the model file.

    Returns:
        {"model", "classes", "report", "page" (of the written report, or None), "seconds"}.

    Raises:
        InputError: the scene, the labels or the backbone cannot be used; StorageError: the model cannot be written; Cancelled.
    """
    started = time.monotonic()
    control.progress(0.0, "Checking the scene")
    folder = None if recipe.options.report is None else Path(recipe.options.report)
    if folder is not None:
        open_folder(folder)
    scene = recipe.open_scene()
    check(scene)
    chosen = recipe.labels or {}
    path = Path(chosen["path"]) if chosen else None
    labels = choose_labels(scene, path, chosen.get("field"), chosen.get("layer"))
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
    bands = hr_bands(scene)
    encoded = backbone.useful(layout.modalities)
    for modality in set(backbone.weak) & set(layout.modalities):
        control.note(
            f"{SENSORS[modality].title}: the built-in model does not look at it, since maps are better from its bands and texture "
            "alone. Other base models do."
        )
    with SceneReader(scene) as reader:
        extractor = FeatureExtractor(
            backbone.in_precision(precision),
            reader,
            layout,
            tiling,
            anchors,
            bands,
            recipe.options.fusion_stride,
            encoded,
        )
        if note := match_note(extractor.geo_matches(tiling.over(layout.area))):
            control.note(note)
        x, ids, groups, blocks = collect(
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
    repeats = repeated_folds(ids, groups, polygons.polygons, layout.compute.gsd)
    head, held_out = fit_head(x, ids, repeats, blocks)
    control.progress(0.93, "Judging it on polygons held out")
    forest = forest_probabilities(x[:, plain_values(blocks)], ids, repeats[0])
    report = judge(ids, groups, held_out, forest)
    unjudged = [polygons.names[item["id"]] for item in report["classes"] if item["iou"] is None]
    if unjudged:
        control.note(
            f"Of fewer than {MIN_POLYGONS} polygons, and so not to be judged: {', '.join(unjudged)}."
            if report["oa"] is not None
            else f"Nothing can be judged: two classes need {MIN_POLYGONS} polygons each, or more."
        )
    classes = map_classes({i: polygons.names[i] for i in head.ids}, recipe.options.colors)
    header = {
        "version": skysense.__version__,
        "backbone": named,
        "head": head.header(),
        "classes": [vars(item) for item in classes],
        "inputs": {
            "modalities": list(layout.modalities),
            "encoded": list(encoded),
            "series": {m: {"bands": list(a.bands), "days": list(a.days)} for m, a in anchors.items()},
            "hr_bands": list(bands),
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
    page = None
    if folder is not None:
        told = facts(header, polygons.source)
        page = write_report(folder, report, [vars(item) for item in classes], scene.name, told)
    control.progress(1.0, "Trained")
    return {
        "model": str(recipe.output),
        "classes": header["classes"],
        "report": report,
        "page": page and str(page),
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


def hr_bands(scene: Scene) -> tuple[str, ...]:
    """The HR bands that the head sees."""
    acquisitions = scene.modality("hr")
    return tuple(
        band for band in (*SENSORS["hr"].bands, "NIR") if any(band in item.bands for item in acquisitions)
    )
