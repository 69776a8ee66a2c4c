"""Detection of objects: from a scene and a trained model to a layer of boxes or points.

Shape legend: N objects.
"""

import time
from dataclasses import replace
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from skysense.errors import InputError
from skysense.finetune.features import FeatureExtractor
from skysense.finetune.lanes import usual_choice
from skysense.finetune.objects.boxes import polygons_of
from skysense.finetune.objects.detect import Found, detect
from skysense.finetune.objects.network import ObjectNet, blocks_of, net_of
from skysense.finetune.objects.views import objects_layout, objects_tiling, reach, views
from skysense.finetune.shapes import transform
from skysense.finetune.train_objects import PREFIX
from skysense.inference.journal import begin, check_unchanged, close_journal, journal_folder
from skysense.inference.lock import RunLock
from skysense.inference.session import Session, open_session
from skysense.inference.state import RunState
from skysense.jobs.control import JobControl
from skysense.jobs.recipe import Recipe
from skysense.raster.grid import Grid, Lattice
from skysense.raster.identity import file_identities
from skysense.raster.reader import SceneReader
from skysense.raster.vectorfile import write_layer

LAYER = "objects"
#: The imagery may have pixels so many times as large as those that the model was trained on, before the user is told.
_COARSER = 1.5


def predict_objects(recipe: Recipe, control: JobControl) -> dict[str, Any]:
    """Find the objects that a model was trained on, over a scene or `options.area` of it, and write them as a GeoPackage.

    The layer is in the CRS of the HR imagery. An object is a rectangle of four sides, or a point where the model was trained on points,
    with the fields "class", "class_id", "confidence" (calibrated, 1..100) and, of a rectangle, "width_m" (the longer side),
    "height_m" and "angle" (of the longer side, degrees anticlockwise from east, 0 to below 180). Objects go from north to south, then
    from west to east, whatever the area and the tiles: those of a part are those of the whole whose centre lies in it.

    Returns:
        {"objects" (the file), "layer", "geometry" ("Polygon" or "Point"), "classes", "count", "run", "seconds"}.

    Raises:
        InputError: the scene does not fit the model, cannot be used or changed meanwhile, or another run makes the same
        layer; StorageError: the result cannot be written; Cancelled: what was found stays for the next run.
    """
    started = time.monotonic()
    output = recipe.output
    if output.suffix.lower() != ".gpkg":
        raise InputError(
            "is no name of a GeoPackage, and objects are to be found",
            str(output),
            "Use “Find objects with a model” in Processing, or give the result a name that ends in .gpkg",
        )
    session = open_session(recipe, control)
    head = session.model.header["head"]
    whole = session.layout
    if whole.base.gsd > _COARSER * head["gsd"]:
        control.note(
            f"The imagery has pixels of {whole.base.gsd:.3g} m, and the model was trained on {head['gsd']:.3g} m: expect it to miss "
            "objects."
        )
    layout = objects_layout(whole, head["gsd"])
    session = replace(session, layout=layout, tiling=objects_tiling(layout))
    net = net_of(head, session.model.tensors, PREFIX).to(session.device)
    folder, before = journal_folder(output), file_identities(session.scene)
    with RunLock(folder, output, session.path.name) as lock:
        chosen = begin(folder, session.manifest(), usual_choice(session.device))
        with SceneReader(session.scene, layout) as reader:
            extractor = session.extractor(reader)
            extractor.compute_as(**chosen)
            matches = session.matches(extractor, control)
            session.check_fits(blocks_of(head), extractor)
            found = _look(session, extractor, net, chosen["threads"], RunState(folder, lock), control)
        check_unchanged(session.scene, before, folder)
        shapes, found = _placed(found.surest(head["tolerance"]), layout.base, whole.output)
        names = {int(item["id"]): str(item["name"]) for item in session.model.header["classes"]}
        ids = np.array(head["ids"], np.int32)[found.classes]
        columns: dict[str, NDArray[Any]] = {
            "class": np.array([names[int(k)] for k in ids], object),
            "class_id": ids,
            "confidence": np.rint(100 * found.scores).clip(1, 100).astype(np.int32),
        }
        if head["sized"]:
            columns |= _sizes(found, layout.base.gsd)
        kind = "Polygon" if head["sized"] else "Point"
        control.progress(0.98, "Writing the objects")
        wkb = np.asarray(shapely.to_wkb(shapes), object)
        write_layer(output, LAYER, wkb, kind, columns, whole.output.crs)
        seconds = time.monotonic() - started
        log = session.write_log(matches, seconds)
        close_journal(folder)
    control.progress(1.0, "Found")
    return {
        "objects": str(output),
        "layer": LAYER,
        "geometry": kind,
        "classes": session.model.header["classes"],
        "count": len(ids),
        "run": str(log),
        "seconds": seconds,
    }


def _look(
    session: Session,
    extractor: FeatureExtractor,
    net: ObjectNet,
    threads: int,
    state: RunState,
    control: JobControl,
) -> Found:
    """What the tiles show, those of a run that was cut off not looked at again; objects at tiles' edges more than once."""
    head = session.model.header["head"]
    kept = state.load()
    done = int(kept.pop("tiles", 0))
    parts = [Found(**kept)] if kept else []
    tiles = list(session.tiling.over(reach(session.layout.area)))
    for view in views(extractor, tiles[done:], threads):
        if view is not None:
            parts.append(detect(net, view, head["threshold"], head["usual"], head["sized"]))
        done += 1
        if state.due():
            parts = [Found.joined(parts)]
            state.keep({"tiles": done, **vars(parts[0])})
        control.progress(0.97 * done / len(tiles), "Looking for objects")
    return Found.joined(parts)


def _placed(found: Found, lattice: Lattice, output: Grid) -> tuple[NDArray[np.object_], Found]:
    """The objects whose centre lies in the grid of the map, and their shapes in its CRS."""

    def on_ground(shapes: NDArray[np.object_]) -> NDArray[np.object_]:
        # The corner of the lattice's pixel (0, 0), as in `raster.grid.Lattice`.
        moved = shapely.transform(
            shapes, lambda xy: xy * (lattice.gsd, -lattice.gsd) + (lattice.x0, lattice.y0)
        )
        return transform(np.asarray(moved, object), lattice.crs, output.crs, "the objects")

    centres = on_ground(np.asarray(shapely.points(found.boxes[:, :2]), object))
    places = [output.place(x, y) for x, y in shapely.get_coordinates(centres)]
    inside = np.array([0 <= col < output.width and 0 <= row < output.height for col, row in places], bool)
    found = found.take(inside)
    sized = bool((found.boxes[:, 2] > 0).any())
    return on_ground(polygons_of(found.boxes)) if sized else centres[inside], found


def _sizes(found: Found, gsd: float) -> dict[str, NDArray[Any]]:
    """Width (the longer side) and height in metres, and the angle of the width in degrees."""
    _, _, w, h, a = found.boxes.T
    turned = h > w
    angle = np.degrees(np.where(turned, a + np.pi / 2, a))
    return {
        "width_m": np.round(np.maximum(w, h) * gsd, 3),
        "height_m": np.round(np.minimum(w, h) * gsd, 3),
        # Pixels count downwards, the map upwards.
        "angle": np.round(-angle, 2) % 180,
    }
