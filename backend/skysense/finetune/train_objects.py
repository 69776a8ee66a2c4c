"""Fine-tuning for objects: from a scene and drawn boxes or points to a model that finds such objects in HR imagery."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import shapely
import torch
from numpy.typing import NDArray

from skysense.errors import InputError
from skysense.finetune.classes import map_classes
from skysense.finetune.features import FeatureExtractor
from skysense.finetune.objects.crops import Material, material_of
from skysense.finetune.objects.drawn import DrawnObjects, read_areas, read_objects
from skysense.finetune.objects.fit import FittedObjects, fit_objects
from skysense.finetune.objects.network import ObjectNet, band_count, seen_blocks
from skysense.finetune.objects.report import write_object_report
from skysense.finetune.objects.scoring import IOU
from skysense.finetune.objects.supervision import Objects, Supervision, deal, neighbour_blocks
from skysense.finetune.objects.views import (
    USUAL_PIXELS,
    View,
    hr_only,
    objects_layout,
    objects_tiling,
    views,
)
from skysense.finetune.report import facts, open_folder
from skysense.finetune.session import open_session
from skysense.jobs.control import JobControl
from skysense.jobs.recipe import Recipe
from skysense.raster.grid import Lattice
from skysense.raster.layout import Layout, plan_layout
from skysense.raster.reader import SceneReader
from skysense.raster.tiles import Tile, Tiling

#: Objects that a training needs.
MIN_OBJECTS = 10
#: Tiles that are learned from, those with the most objects; and bytes that they may take in memory.
_TILES, _BYTES = 32, 1_500_000_000
#: Prefix of the network's tensors in a model file.
PREFIX = "objects."


def finetune_objects(recipe: Recipe, control: JobControl) -> dict[str, Any]:
    """Train a network that finds objects, and write the model file.

    Returns:
        {"model", "objects" (how many were drawn), "classes", "report" (see `scoring.figures`; None for its figures where nothing
        is found), "page", "seconds"}.

    Raises:
        InputError: the scene, the labels or the backbone cannot be used; StorageError: the model cannot be written; Cancelled.
    """
    started = time.monotonic()
    folder = None if recipe.options.report is None else Path(recipe.options.report)
    if folder is not None:
        open_folder(folder)
    session = open_session(recipe, control)
    scene = hr_only(session.scene)
    layout = plan_layout(scene)
    drawn = read_objects(session.labels, layout.base.crs, session.scene.root, session.ids_before)
    drawn = _on_imagery(drawn, layout, control)
    areas = read_areas(recipe.labels or {}, layout.base.crs)
    usual_m = float(np.median(np.sqrt(drawn.boxes[:, 2] * drawn.boxes[:, 3])))
    gsd = max(layout.base.gsd, usual_m / USUAL_PIXELS)
    layout = objects_layout(layout, gsd)
    session = replace(session, scene=scene, layout=layout, tiling=objects_tiling(layout))
    header = session.header()
    objects = _on_lattice(drawn, layout, recipe.options.seed)
    supervision = Supervision(objects, None if areas is None else to_pixels(areas, layout.base))
    _tell(drawn, areas, supervision, layout, control)
    with SceneReader(scene, layout) as reader:
        extractor = session.extractor(reader, control)
        found = _read(extractor, session.tiling, objects, control)
        blocks = extractor.blocks
    material = material_of(objects, supervision, found)
    _check(material, drawn.source)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.options.seed)
        fresh = ObjectNet(band_count(blocks), seen_blocks(blocks), int(objects.classes.max()) + 1)
    # Convolutions of this size are a quarter faster where channels lie side by side.
    fresh = fresh.to(session.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    fitted = fit_objects(material, fresh, recipe.options.seed, control.share(0.15, 0.98))
    ids = np.unique(drawn.ids).tolist()
    classes = [vars(item) for item in map_classes({i: drawn.names[i] for i in ids}, recipe.options.colors)]
    report = _report(fitted, material, ids, layout.base.gsd)
    header |= {
        "head": {
            "blocks": [[block.name, block.dim] for block in blocks],
            "ids": ids,
            "sized": objects.sized,
            "gsd": layout.base.gsd,
            "usual": objects.usual,
            "threshold": fitted.threshold,
            "tolerance": fitted.tolerance,
        },
        "classes": classes,
        "report": report,
    }
    session.save(header, {PREFIX + name: value for name, value in fitted.net.state_dict().items()})
    page = None
    if folder is not None:
        page = write_object_report(folder, report, classes, scene.name, facts(header, drawn.source))
    control.progress(1.0, "Trained")
    return {
        "model": str(recipe.output),
        "objects": report["n_objects"],
        "classes": classes,
        "report": report,
        "page": page and str(page),
        "seconds": time.monotonic() - started,
    }


def to_pixels(shapes: NDArray[np.object_], lattice: Lattice) -> NDArray[np.object_]:
    """Shapes in the lattice's CRS as shapes in its pixels, y downwards."""
    return np.asarray(
        shapely.transform(shapes, lambda xy: (xy - (lattice.x0, lattice.y0)) * (1, -1) / lattice.gsd), object
    )


def _on_imagery(drawn: DrawnObjects, layout: Layout, control: JobControl) -> DrawnObjects:
    """The objects whose centre lies within the imagery; the others are told of.

    Raises:
        InputError: none does.
    """
    west, south, east, north = layout.compute.grid(layout.area).bounds
    x, y = drawn.boxes[:, 0], drawn.boxes[:, 1]
    inside = (x >= west) & (x < east) & (y > south) & (y <= north)
    if not inside.any():
        raise _beside(drawn.source)
    if not inside.all():
        control.note(
            f"{int((~inside).sum())} of {len(inside)} objects lie beside the imagery, and were left out."
        )
    return replace(drawn, boxes=drawn.boxes[inside], ids=drawn.ids[inside])


def _beside(source: str) -> InputError:
    return InputError(
        "no object lies on the high-resolution imagery",
        source,
        "Check the layer's CRS, or draw objects where the imagery is",
    )


def _on_lattice(drawn: DrawnObjects, layout: Layout, seed: int) -> Objects:
    """The drawn objects in pixels of the lattice."""
    lattice = layout.base
    boxes = drawn.boxes.copy()
    boxes[:, 0] = (boxes[:, 0] - lattice.x0) / lattice.gsd
    boxes[:, 1] = (lattice.y0 - boxes[:, 1]) / lattice.gsd
    boxes[:, 2:4] /= lattice.gsd
    boxes[:, 4] *= -1
    usual = float(np.median(np.sqrt(boxes[:, 2] * boxes[:, 3]))) if drawn.sized else USUAL_PIXELS / 2
    blocks = neighbour_blocks(boxes[:, :2])
    classes = np.searchsorted(np.unique(drawn.ids), drawn.ids)
    return Objects(boxes, classes, blocks, deal(blocks, seed), drawn.sized, usual)


def _read(extractor: FeatureExtractor, tiling: Tiling, objects: Objects, control: JobControl) -> list[View]:
    """The tiles with the most objects."""
    inside = np.floor(objects.boxes[:, [1, 0]] / tiling.core).astype(np.int64)
    places, counts = np.unique(inside, axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    tiles: list[Tile] = [tiling.tile(int(row), int(col)) for row, col in places[order]]
    kept: list[View] = []
    held = 0
    for place, view in enumerate(views(extractor, tiles)):
        control.progress(0.02 + 0.13 * place / min(len(tiles), _TILES), "Reading the imagery")
        if view is None:
            continue
        kept.append(view)
        held += sum(t.numel() * t.element_size() for t in (view.bands, view.valid, *view.features))
        if len(kept) == _TILES or held > _BYTES:
            break
    left = int(counts[order][place + 1 :].sum()) if len(tiles) else 0
    if left:
        control.note(
            f"{left} of {len(inside)} objects were not learned from: the {len(kept)} tiles with the most objects are enough to fill "
            "the memory and the time that a training takes."
        )
    return kept


def _tell(
    drawn: DrawnObjects,
    areas: NDArray[np.object_] | None,
    supervision: Supervision,
    layout: Layout,
    control: JobControl,
) -> None:
    """What was decided about the labels, in notes."""
    for note in drawn.notes:
        control.note(note)
    if areas is None:
        control.note(
            f"No areas were given in which all objects are drawn: everything within {supervision.ring * layout.base.gsd:.3g} m of a "
            "drawn object that is not drawn itself counts as background. Draw all objects there, or give such areas."
        )
    else:
        control.note(
            "Everything inside the areas that is not drawn counts as background; outside of them nothing does."
        )
    if not drawn.sized:
        control.note("The objects are points, which have no size: the model finds places, not boxes.")
    few = [drawn.names[k] for k in np.unique(drawn.ids).tolist() if (drawn.ids == k).sum() < 5]
    if few:
        control.note(
            f"Classes with fewer than 5 objects, of which little can be learned: {', '.join(map(repr, few))}."
        )


def _check(material: Material, source: str) -> None:
    """Whether there is enough to learn from.

    Raises:
        InputError: there is not.
    """
    count = len(material.numbers)
    if not count:
        raise _beside(source)
    if count < MIN_OBJECTS:
        raise InputError(
            f"{count} object{'s' if count > 1 else ''} on the imagery are too few to learn from and to judge by",
            source,
            f"Draw at least {MIN_OBJECTS}, better 50",
        )
    folds = material.objects.folds[material.numbers]
    if len(np.unique(folds)) < 2:
        raise InputError(
            "the objects on the imagery lie all in one place",
            source,
            "Draw objects in other places of the imagery as well",
        )


def _report(fitted: FittedObjects, material: Material, ids: Sequence[int], gsd: float) -> dict[str, Any]:
    """The figures with what they were measured on."""
    report = dict(fitted.report)
    report["classes"] = [
        {"id": ids[item["place"]], **{k: v for k, v in item.items() if k != "place"}}
        for item in report["classes"]
    ]
    found_by = (
        f"intersection over union of {IOU} or more"
        if fitted.tolerance is None
        else f"centres at most {fitted.tolerance * gsd:.3g} m apart"
    )
    numbers = material.numbers
    return {
        "n_objects": len(numbers),
        "n_blocks": len(np.unique(material.objects.blocks[numbers])),
        "found_by": found_by,
        "scored_on": "objects held out in turn, by blocks of neighbours",
        "threshold": fitted.threshold,
        "pixel_m": gsd,
        **report,
    }
