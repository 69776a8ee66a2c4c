"""Fine-tuning for classes of pixels: from a scene and labelled polygons to a model file."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from skysense.errors import InputError
from skysense.finetune.classes import map_classes
from skysense.finetune.collect import collect
from skysense.finetune.features import plain_values
from skysense.finetune.head import fit_head
from skysense.finetune.judging import MIN_POLYGONS, forest_probabilities, judge, repeated_folds
from skysense.finetune.labels import PixelLabels, read_labels
from skysense.finetune.report import facts, open_folder, write_report
from skysense.finetune.session import open_session
from skysense.jobs.control import JobControl
from skysense.jobs.recipe import Recipe
from skysense.raster.reader import SceneReader


def finetune(recipe: Recipe, control: JobControl) -> dict[str, Any]:
    """Train a head on the scene's labels and write the model file.

    Returns:
        {"model", "classes", "report", "page" (of the written report, or None), "seconds"}.

    Raises:
        InputError: the scene, the labels or the backbone cannot be used; StorageError: the model cannot be written; Cancelled.
    """
    started = time.monotonic()
    folder = None if recipe.options.report is None else Path(recipe.options.report)
    if folder is not None:
        open_folder(folder)
    session = open_session(recipe, control)
    polygons = read_labels(session.labels, session.layout.base.crs, session.scene.root)
    header = session.header()
    with SceneReader(session.scene) as reader:
        x, ids, groups, blocks = collect(
            session.extractor(reader, control),
            session.tiling,
            session.layout,
            PixelLabels(polygons),
            polygons.source,
            recipe.options.seed,
            control,
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
    repeats = repeated_folds(ids, groups, polygons.polygons, session.layout.compute.gsd)
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
    header |= {"head": head.header(), "classes": [vars(item) for item in classes], "report": report}
    session.save(header, head.tensors())
    page = None
    if folder is not None:
        told = facts(header, polygons.source)
        page = write_report(folder, report, [vars(item) for item in classes], session.scene.name, told)
    control.progress(1.0, "Trained")
    return {
        "model": str(recipe.output),
        "classes": header["classes"],
        "report": report,
        "page": page and str(page),
        "seconds": time.monotonic() - started,
    }
