"""Fine-tuning for whole polygons: from a scene and polygons with a class to a model that classifies parcels."""

import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from skysense.errors import InputError
from skysense.finetune.classes import map_classes
from skysense.finetune.collect import tell_left_out
from skysense.finetune.features import plain_values
from skysense.finetune.head import fit_head
from skysense.finetune.judging import MIN_POLYGONS, blocks_of, forest_probabilities, judge, repeated_folds
from skysense.finetune.labels import LabelledPolygons, PixelLabels, read_labels
from skysense.finetune.polygon_features import PolygonFeatures, polygon_features
from skysense.finetune.report import facts, open_folder, write_report
from skysense.finetune.session import open_session
from skysense.finetune.stages import columns_of, helpful_blocks
from skysense.jobs.control import JobControl
from skysense.jobs.recipe import Recipe
from skysense.raster.layout import Layout
from skysense.raster.reader import SceneReader


def finetune_polygons(recipe: Recipe, control: JobControl) -> dict[str, Any]:
    """Train a head on one row of features a polygon, and write the model file.

    Returns:
        As `train.finetune`.

    Raises:
        InputError: the scene, the labels or the backbone cannot be used; StorageError: the model cannot be written; Cancelled.
    """
    started = time.monotonic()
    folder = None if recipe.options.report is None else Path(recipe.options.report)
    if folder is not None:
        open_folder(folder)
    session = open_session(recipe, control)
    polygons = read_labels(session.labels, session.layout.base.crs, session.scene.root, session.ids_before)
    if (shapely.get_type_id(polygons.polygons) == shapely.GeometryType.POINT).any():
        raise InputError(
            "holds points, and whole polygons are to be classified",
            polygons.source,
            "Use a layer of polygons, or train for the class of every pixel",
        )
    header = session.header()
    labels = PixelLabels(polygons)
    with SceneReader(session.scene) as reader:
        extractor = session.extractor(reader, control)
        found = list(
            polygon_features(extractor, session.tiling, session.layout, labels, control.share(0.05, 0.9))
        )
        blocks = extractor.blocks
    _tell(labels, session.layout, found, control)
    found.sort(key=lambda item: item.number)
    numbers = np.array([item.number for item in found], np.int64)
    ids = polygons.ids[numbers]
    if len(np.unique(ids)) < 2:
        raise InputError(
            "fewer than two classes have polygons on valid pixels of the imagery",
            polygons.source,
            "Draw polygons of at least two classes inside the area",
        )
    x = np.stack([item.values for item in found])
    control.progress(0.9, "Fitting the head")
    gsd = session.layout.base.gsd
    repeats = repeated_folds(ids, numbers, polygons.polygons, gsd)
    together = blocks_of(ids, numbers, polygons.polygons, gsd)
    seen = helpful_blocks(x, ids, together[numbers], repeats, blocks)
    head, held_out = fit_head(x[:, columns_of(seen, blocks)], ids, repeats, seen, trees=False)
    control.progress(0.95, "Judging it on polygons held out")
    forest = forest_probabilities(x[:, plain_values(blocks)], ids, repeats[0])
    report = judge(ids, numbers, held_out, forest, blocks=together)
    _count_pixels(report, ids, np.array([item.pixels for item in found], np.int64))
    if report["oa"] is None:
        control.note(
            f"Nothing can be judged: two classes need {MIN_POLYGONS} polygons each that do not overlap."
        )
    classes = [
        vars(item) for item in map_classes({i: polygons.names[i] for i in head.ids}, recipe.options.colors)
    ]
    header |= {"head": head.header(), "classes": classes, "report": report}
    session.save(header, head.tensors())
    page = None
    if folder is not None:
        page = write_report(folder, report, classes, session.scene.name, facts(header, polygons.source))
    control.progress(1.0, "Trained")
    return {
        "model": str(recipe.output),
        "classes": classes,
        "report": report,
        "page": page and str(page),
        "seconds": time.monotonic() - started,
    }


def _tell(labels: PixelLabels, layout: Layout, found: list[PolygonFeatures], control: JobControl) -> None:
    """Notes of the layer, and on polygons that were left out."""
    polygons: LabelledPolygons = labels.labels
    for note in polygons.notes:
        control.note(note)
    inside = set(labels.meeting(layout.compute.grid(layout.area)).tolist())
    if not inside:
        raise InputError(
            "no polygon lies inside the imagery",
            polygons.source,
            "Check the layer's CRS, or draw polygons where the imagery is",
        )
    seen = {item.number for item in found}
    outside = sorted(set(range(len(polygons.ids))) - inside)
    tell_left_out(labels, outside, sorted(inside - seen), Counter(), control)


def _count_pixels(report: dict[str, Any], ids: np.ndarray, pixels: np.ndarray) -> None:
    """Say how many pixels the rows of a report stand for, and on what it was scored."""
    report["n_pixels"] = int(pixels.sum())
    for item in report["classes"]:
        item["n_pixels"] = int(pixels[ids == item["id"]].sum())
    if report["oa"] is not None:
        report["scored_on"] = "polygons held out in turn"
