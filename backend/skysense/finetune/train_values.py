"""Fine-tuning for a number of every pixel: from a scene and polygons with a number to a model file."""

import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skysense.errors import InputError
from skysense.finetune.collect import PIXELS_PER_POLYGON, collect
from skysense.finetune.features import plain_values
from skysense.finetune.labels import PixelLabels
from skysense.finetune.report import facts, open_folder
from skysense.finetune.session import open_session
from skysense.finetune.value_head import fit_value_head
from skysense.finetune.value_judging import (
    forest_values,
    judge_values,
    value_blocks,
    value_folds,
    values_not_judged,
)
from skysense.finetune.value_report import write_value_report
from skysense.finetune.values import read_values
from skysense.jobs.control import JobControl
from skysense.jobs.recipe import Recipe
from skysense.raster.reader import SceneReader

#: Pixels that are learned from in all: of many polygons fewer of each, and of more polygons than that not all.
_PIXELS = 10_000


def finetune_values(recipe: Recipe, control: JobControl) -> dict[str, Any]:
    """Train a head on the numbers of the scene's labels and write the model file.

    Returns:
        {"model", "field", "report" (see `value_judging.judge_values`), "page" (of the written report, or None), "seconds"}.

    Raises:
        InputError: the scene, the labels or the backbone cannot be used; StorageError: the model cannot be written; Cancelled.
    """
    started = time.monotonic()
    folder = None if recipe.options.report is None else Path(recipe.options.report)
    if folder is not None:
        open_folder(folder)
    session = open_session(recipe, control)
    polygons, numbers = read_values(session.labels, session.layout.base.crs)
    header = session.header()
    chosen = _drawn(len(polygons.ids), recipe.options.seed, control)
    each = max(1, min(PIXELS_PER_POLYGON, _PIXELS // int(chosen.sum())))
    with SceneReader(session.scene) as reader:
        x, ids, groups, blocks = collect(
            session.extractor(reader, control),
            session.tiling,
            session.layout,
            PixelLabels(polygons).only(chosen),
            polygons.source,
            recipe.options.seed,
            control,
            most=(each, each * len(polygons.ids)),
        )
    values = numbers[ids - 1]
    if len(np.unique(values)) < 2:
        raise InputError(
            "all polygons on valid pixels of the imagery have the same number",
            polygons.source,
            "Draw polygons with different numbers inside the area",
        )
    control.progress(0.9, "Fitting the head")
    gsd = session.layout.base.gsd
    repeats = value_folds(values, groups, polygons.polygons, gsd)
    if not recipe.options.judged:
        repeats = repeats[:1]  # the head's penalty and the spread of its numbers need one
    head, held_out = fit_value_head(x, values, groups, repeats, blocks)
    if recipe.options.judged:
        control.progress(0.95, "Judging it on polygons held out")
        forest = forest_values(x[:, plain_values(blocks)], values, groups, repeats[0])
        report = judge_values(values, groups, held_out, forest, value_blocks(groups, polygons.polygons, gsd))
    else:
        report = values_not_judged(values, groups, "not scored: a first look")
    if recipe.options.judged and report["rmse"] is None:
        control.note(f"Nothing can be judged: {report['scored_on'].removeprefix('not scored: ')}.")
    field = session.labels.field
    header |= {"head": head.header(), "field": field, "report": report}
    session.save(header, head.tensors())
    page = None
    if folder is not None:
        told = facts(header, polygons.source)
        page = write_value_report(folder, report, field, session.scene.name, told)
    control.progress(1.0, "Trained")
    return {
        "model": str(recipe.output),
        "field": field,
        "report": report,
        "page": page and str(page),
        "seconds": time.monotonic() - started,
    }


def _drawn(number: int, seed: int, control: JobControl) -> NDArray[np.bool_]:
    """(number,) the polygons that are learned from: all, or `_PIXELS` of them drawn at random, which is told in a note."""
    if number <= _PIXELS:
        return np.ones(number, bool)
    control.note(f"Of {number} polygons {_PIXELS} are learned from, drawn at random.")
    chosen = np.zeros(number, bool)
    chosen[np.random.default_rng(seed).choice(number, _PIXELS, replace=False)] = True
    return chosen
