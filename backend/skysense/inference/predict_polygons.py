"""Classification of whole polygons: a layer of parcels, the class of each, and how sure that is.

Shape legend: P polygons, K classes, F features of a polygon.
"""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import shapely
import torch
from numpy.typing import NDArray

from skysense.errors import InputError
from skysense.finetune.features import FeatureExtractor
from skysense.finetune.head import Head
from skysense.finetune.labels import LabelledPolygons, PixelLabels
from skysense.finetune.lanes import usual_choice
from skysense.finetune.polygon_features import OpenPolygons, features_by_tile
from skysense.finetune.shapes import digest_of_shapes, read_table, single_shapes, transform
from skysense.finetune.stages import columns_of
from skysense.inference.journal import begin, check_unchanged, close_journal, journal_folder
from skysense.inference.lock import RunLock
from skysense.inference.session import Session, open_session
from skysense.inference.state import RunState
from skysense.jobs.control import JobControl
from skysense.jobs.recipe import Recipe
from skysense.raster.identity import file_identities
from skysense.raster.reader import SceneReader
from skysense.raster.vectorfile import write_layer

LAYER = "classes"
CLASS, CLASS_ID, CONFIDENCE = "class", "class_id", "confidence"
#: Added to the name of a field of the layer that has the name of one of ours.
_THEIRS = "_before"


def predict_polygons(recipe: Recipe, control: JobControl) -> dict[str, Any]:
    """Classify the polygons of `options.polygons`, and write them as a GeoPackage.

    The layer has the geometries, the CRS and the fields of the one that was given, and "class" (text), "class_id" and
    "confidence" (calibrated probability of the class, 1..100 %); the three are empty where nothing was seen. A field of the
    layer of one of these names is kept as `<name>_before`.

    Returns:
        {"polygons" (the file), "layer", "classes", "classified", "empty" (numbers of features), "run", "seconds"}.

    Raises:
        InputError: the scene or the layer cannot be used, the imagery changed meanwhile, or another run makes the same layer;
        StorageError: the result cannot be written; Cancelled: what was found stays for the next run.
    """
    started = time.monotonic()
    path, output = recipe.options.polygons, recipe.output
    if path is None:
        raise InputError(
            "classifies whole polygons, and no layer of them is given",
            "the model" if recipe.model is None else recipe.model.name,
            "Give the layer of polygons (--polygons)",
        )
    if output.suffix.lower() != ".gpkg":
        raise InputError(
            "is no name of a GeoPackage", str(output), "Give the result a name that ends in .gpkg"
        )
    if Path(path).resolve() == output.resolve():
        raise InputError("is the layer of polygons itself", str(output), "Choose another name for the result")
    where = f"polygons {Path(path).name}"
    meta, geometry, values = read_table(Path(path), recipe.options.polygons_layer, where)
    session = open_session(recipe, control)
    shapes = _shapes(geometry, meta["crs"], session.layout.base.crs, where)
    head = Head.load(session.model.header["head"], session.model.tensors)
    labels = PixelLabels(LabelledPolygons(shapes, np.ones(len(shapes), np.int64), {}, where))
    folder, before = journal_folder(output), file_identities(session.scene)
    with RunLock(folder, output, session.path.name) as lock:
        content = session.manifest() | {"polygons": digest_of_shapes(shapes)}
        chosen = begin(folder, content, usual_choice(session.device))
        with SceneReader(session.scene, session.layout) as reader:
            extractor = session.extractor(reader)
            extractor.compute_as(**chosen)
            matches = session.matches(extractor, control)
            session.check_fits(head.blocks, extractor)
            state, mapping = RunState(folder, lock), control.share(0, 0.97)
            ids, confidence = _classify(session, extractor, head, labels, chosen["threads"], state, mapping)
        check_unchanged(session.scene, before, folder)
        empty = ids == 0
        if empty.any():
            control.note(
                f"{int(empty.sum())} of {len(ids)} polygons lie beside the imagery, or where it is empty or cloudy on every date, "
                "and have no class."
            )
        names = {int(item["id"]): str(item["name"]) for item in session.model.header["classes"]}
        columns, nulls, renamed = _fields(meta, values)
        if renamed:
            control.note(
                f"Fields of the layer that were renamed, since the result has such: {', '.join(renamed)}."
            )
        columns |= {
            CLASS: np.array([names.get(int(k)) for k in ids], object),
            CLASS_ID: ids,
            CONFIDENCE: confidence,
        }
        nulls |= {CLASS_ID: empty, CONFIDENCE: empty}
        control.progress(0.97, "Writing the polygons")
        write_layer(output, LAYER, geometry, meta["geometry_type"] or "Unknown", columns, meta["crs"], nulls)
        seconds = time.monotonic() - started
        log = session.write_log(matches, seconds)
        close_journal(folder)
    control.progress(1.0, "Classified")
    return {
        "polygons": str(output),
        "layer": LAYER,
        "classes": session.model.header["classes"],
        "classified": int((~empty).sum()),
        "empty": int(empty.sum()),
        "run": str(log),
        "seconds": seconds,
    }


def _classify(
    session: Session,
    extractor: FeatureExtractor,
    head: Head,
    labels: PixelLabels,
    threads: int,
    state: RunState,
    control: JobControl,
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """(P,) class ids, 0 where nothing was seen, and (P,) confidence in %; what a run that was cut off has found is taken over."""
    kept = state.load()
    nothing = np.zeros(len(labels.labels.polygons), np.int32)
    ids, confidence = kept.get("ids", nothing), kept.get("confidence", nothing.copy())
    so_far = OpenPolygons(kept)
    layout, tiling = session.layout, session.tiling
    columns = columns_of(head.blocks, extractor.blocks)
    for found in features_by_tile(extractor, tiling, layout, labels, control, so_far, threads):
        if found:
            numbers = [item.number for item in found]
            probabilities = class_probabilities(head, np.stack([item.values for item in found])[:, columns])
            ids[numbers] = np.array(head.ids)[probabilities.argmax(1)]
            confidence[numbers] = np.rint(100 * probabilities.max(1)).clip(1, 100)
        if state.due():
            state.keep({"ids": ids, "confidence": confidence, **so_far.arrays()})
    return ids, confidence


@torch.inference_mode()
def class_probabilities(head: Head, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """(P, K) calibrated probabilities of the head's classes at features (P, F)."""
    scores = torch.from_numpy(x) @ head.weight.T + head.bias
    found: NDArray[np.float32] = torch.softmax(scores / head.temperature, 1).numpy()
    return found


def _shapes(geometry: NDArray[np.object_], source: str, target: str, where: str) -> NDArray[np.object_]:
    """(P,) one shape a feature in the target CRS, empty where it has none.

    Raises:
        InputError: there is no feature, or one that is no polygon.
    """
    if not len(geometry):
        raise InputError("has no features", where, "Choose the layer of the polygons to classify")
    parts, rows = single_shapes(geometry, where)
    if (shapely.get_type_id(parts) == shapely.GeometryType.POINT).any():
        raise InputError("holds points, not polygons", where, "Choose a layer of polygons")
    flat, owner = shapely.get_parts(transform(parts, source, target, where), return_index=True)
    whole = np.full(len(geometry), shapely.Polygon(), object)
    order = np.argsort(rows[owner], kind="stable")
    numbers, starts = np.unique(rows[owner][order], return_index=True)
    for number, members in zip(numbers, np.split(flat[order], starts[1:])):
        members = members[~shapely.is_empty(members)]
        if len(members):
            whole[number] = members[0] if len(members) == 1 else shapely.multipolygons(members)
    return whole


def _fields(
    meta: dict[str, Any], values: list[NDArray[Any]]
) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[np.bool_]], list[str]]:
    """The layer's fields as they can be written again, where they are null, and which got another name."""
    columns: dict[str, NDArray[Any]] = {}
    nulls: dict[str, NDArray[np.bool_]] = {}
    renamed = []
    taken = {str(name).casefold() for name in meta["fields"]} | {CLASS, CLASS_ID, CONFIDENCE}
    for field, dtype, column in zip(meta["fields"], meta["dtypes"], values, strict=True):
        name = str(field)
        if name.casefold() in (CLASS, CLASS_ID, CONFIDENCE):
            while name.casefold() in taken:
                name += _THEIRS
            taken.add(name.casefold())
            renamed.append(f"{field!r} to {name!r}")
        if column.dtype.kind == "f" and np.dtype(dtype).kind in "iub":
            # Whole numbers of which some are null are read as decimal ones.
            nulls[name] = np.isnan(column)
            column = np.where(nulls[name], 0, column).astype(dtype)
        elif column.dtype == object:
            column = np.array([_writable(value) for value in column], object)
        columns[name] = column
    return columns, nulls, renamed


def _writable(value: Any) -> Any:
    """Text, bytes and None as they are; lists, which only some formats have, as JSON."""
    return value if value is None or isinstance(value, str | bytes) else json.dumps(value, default=str)
