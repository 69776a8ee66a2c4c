"""Fine-tuning for classes of pixels: from a scene and labelled polygons to a model file."""

import time
from pathlib import Path
from typing import Any

from skysense.finetune.classes import map_classes
from skysense.finetune.deep.decoder_fit import fit_decoder
from skysense.finetune.deep.fit import fit_adapted, forget
from skysense.finetune.features import plain_values
from skysense.finetune.fitted import fit_frozen
from skysense.finetune.judging import MIN_POLYGONS, blocks_of, forest_probabilities, judge, not_judged
from skysense.finetune.labels import read_labels
from skysense.finetune.report import facts, open_folder, write_report
from skysense.finetune.session import open_session
from skysense.finetune.spares import fit_spares, spare_tensors
from skysense.jobs.control import JobControl
from skysense.jobs.recipe import Recipe
from skysense.raster.reader import SceneReader


def finetune(recipe: Recipe, control: JobControl) -> dict[str, Any]:
    """Train a head on the scene's labels, in the recipe's mode with a decoder or on an adapted backbone, and write the model file.

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
    polygons = read_labels(session.labels, session.layout.base.crs, session.legend, session.ids_before)
    session.header()  # what cannot be written is told before anything is computed
    fit = {"head": fit_frozen, "decoder": fit_decoder}.get(recipe.options.mode, fit_adapted)
    with SceneReader(session.scene) as reader:
        fitted = fit(session, reader, polygons, control)
    session, head, ids = fitted.session, fitted.head, fitted.ids
    control.progress(0.93, "Judging it on polygons held out")
    together = blocks_of(ids, fitted.polygons, polygons.polygons, session.layout.base.gsd)
    if recipe.options.judged:
        forest = forest_probabilities(fitted.x[:, plain_values(fitted.blocks)], ids, fitted.repeats[0])
        report = judge(ids, fitted.polygons, fitted.held_out, forest, fitted.bands_only, together)
    else:
        report = not_judged(ids, fitted.polygons, "not scored: a first look")
    unjudged = [polygons.names[item["id"]] for item in report["classes"] if item["iou"] is None]
    if unjudged and recipe.options.judged:
        control.note(
            f"Of fewer than {MIN_POLYGONS} polygons that do not overlap, and so not to be judged: {', '.join(unjudged)}."
            if report["oa"] is not None
            else f"Nothing can be judged: two classes need {MIN_POLYGONS} polygons each that do not overlap."
        )
    classes = map_classes({i: polygons.names[i] for i in head.ids}, recipe.options.colors)
    trained = {"head": head.header(), "classes": [vars(item) for item in classes], "report": report}
    tensors = {**head.tensors(), **fitted.tensors}
    if recipe.options.judged and session.periods is None:
        control.progress(0.96, "Fitting heads for scenes that lack a sensor")
        spares = fit_spares(
            fitted.x,
            ids,
            fitted.polygons,
            fitted.blocks,
            fitted.repeats[0],
            control,
            fitted.around,
            together,
        )
        report["spares"] = {key: spare.figures for key, spare in spares.items()}
        trained["spares"] = {key: spare.head.header() for key, spare in spares.items()}
        tensors |= spare_tensors(spares)
    header = {**session.header(), **fitted.header, **trained}
    session.save(header, tensors)
    forget(recipe.output)
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
