"""A head on an adapted backbone: the same as on a frozen one, and judged on adapters that have not seen what judges them."""

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import shapely
import torch
from numpy.typing import NDArray

from skysense.finetune.calibration import cross_fitted, fit_temperature
from skysense.finetune.collect import collect
from skysense.finetune.deep.adapt import Adapting
from skysense.finetune.deep.pixels import find_pixels, folds_of, held_out_polygons, seen_ground, tile_reader
from skysense.finetune.deep.plan import PLANS
from skysense.finetune.deep.steps import Material, Training
from skysense.finetune.deep.views import Viewer
from skysense.finetune.deep.weights import adapted, check_trainable, entry_of, prepare
from skysense.finetune.fitted import Fitted, check_classes, fit_frozen
from skysense.finetune.head import fit_head
from skysense.finetune.labels import LabelledPolygons, PixelLabels
from skysense.finetune.session import Session
from skysense.inference.journal import close_journal, manifest, open_journal
from skysense.jobs.control import JobControl
from skysense.raster.reader import SceneReader

#: Share of the work that adapting is; the rest is features and heads.
_ADAPTING = 0.8


def fit_adapted(
    session: Session, reader: SceneReader, labels: LabelledPolygons, control: JobControl
) -> Fitted:
    """Adapt the session's backbone in the recipe's mode ("lora" or "full") and fit a head on it.

    Raises:
        InputError: the backbone knows none of the imagery, or two classes have no pixel on it; StorageError: the state cannot be
            written; Cancelled: it is written, and goes on with `--resume`.
    """
    options, tiling, layout = session.recipe.options, session.tiling, session.layout
    mode, plan = options.mode, PLANS[options.mode]
    modalities = check_trainable(session.backbone, layout.modalities, mode)
    polygons = PixelLabels(labels)
    read = tile_reader(reader, tiling, modalities)
    control.progress(0.01, "Finding the labelled pixels")
    pixels = find_pixels(
        lambda tiles: (seen_ground(read(tile), tiling, modalities) for tile in tiles),
        tiling,
        polygons,
        options.seed,
        control,
    )
    held_out = held_out_polygons(pixels, labels.polygons, layout.base.gsd)
    material = Material(
        pixels,
        Viewer(read, tiling, modalities, pixels, session.backbone.model.config.encoder_bands),
        modalities,
        tiling.scale,
        session.device,
        options.seed,
    )
    settings = {
        "mode": mode,
        "plan": asdict(plan),
        "backbone": session.backbone.identity,
        "labels": digest_of(labels),
        "seed": options.seed,
        "modalities": list(modalities),
        "layout": repr(layout),
        "device": session.device.type,
    }
    output = session.recipe.output
    folder = open_journal(output, manifest(session.scene, settings), options.resume)
    log = output.with_name(output.name + ".losses.jsonl")

    def begin(places: NDArray[np.int64], number: int) -> Training:
        trained = prepare(mode, session.backbone.model, modalities, options.seed)
        return Training(trained, material, places, plan, number)

    work = Adapting(begin, "Adapting the model", plan, pixels, folder, log, control.share(0.02, _ADAPTING))
    found = work.adapt(held_out)
    entry = {"adaptation": entry_of(mode) | {"steps": found.steps}}
    if not found.steps:
        control.note(
            "Adapting the model did not help on held-out polygons, so it stays as it is: the head alone is trained."
        )
        rest = control.share(_ADAPTING, 0.97)
        return replace(fit_frozen(session, reader, labels, rest), header=entry)

    def collected(tensors: dict[str, torch.Tensor], part: JobControl) -> tuple[Session, tuple]:  # type: ignore[type-arg]
        backbone = adapted(session.backbone, entry | {"backbone": {}}, tensors, output.name)
        own = replace(session, backbone=backbone)
        table = collect(
            own.extractor(reader, part), tiling, layout, polygons, labels.source, options.seed, part
        )
        return own, table

    step = (0.97 - _ADAPTING) / (1 + len(found.folds))
    own, (x, ids, numbers, blocks) = collected(found.final, control.share(_ADAPTING, _ADAPTING + step))
    folds = folds_of(numbers, held_out)
    check_classes(ids, labels, control)
    head, _ = fit_head(x, ids, [folds], blocks)
    scores = torch.full((len(ids), len(head.ids)), torch.nan)
    gains = []
    for number, ((_, tensors), fold) in enumerate(zip(found.folds, folds, strict=True), start=1):
        control.progress(_ADAPTING + step * number, "Judging it on polygons held out")
        _, (x_fold, _, _, _) = collected(tensors, control.quiet())
        other, (given,) = fit_head(x_fold, ids, [[fold]], blocks)
        gains.append(other.gain)
        test = torch.from_numpy(fold[1])
        # Probabilities are the softmax of scores over a temperature: here are the scores, but for a constant in each row.
        scores[test] = torch.from_numpy(given)[test].clamp_min(1e-30).log() * other.temperature
    judged, target = ~scores[:, 0].isnan(), torch.from_numpy(np.searchsorted(head.ids, ids))
    if bool(judged.any()):
        # What held-out polygons say of the final model's features they say after they have taught it: the folds' models know.
        gain = float(np.exp(np.log(gains).mean())) if head.trees else 0.0
        head = replace(head, temperature=fit_temperature(scores[judged], target[judged]), gain=gain)
    held = cross_fitted(scores, target, folds)
    kept = {} if options.standalone else found.final
    return Fitted(own, head, x, ids, numbers, blocks, [folds], [held], header=entry, tensors=kept)


def forget(output: Path) -> None:
    """A model file is written: remove the state that its training would have gone on from, where there is one."""
    close_journal(output.with_name(output.name + ".parts"))


def digest_of(labels: LabelledPolygons) -> str:
    """Of everything that labels teach."""
    digest = hashlib.sha256(json.dumps([labels.ids.tolist(), labels.names]).encode())
    for wkb in shapely.to_wkb(labels.polygons):
        digest.update(wkb)
    return digest.hexdigest()
