"""The mode "decoder": the head on frozen features, and a spatial decoder beside it where held-out polygons say that it helps."""

from dataclasses import asdict, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skysense.finetune.calibration import cross_fitted, fit_temperature
from skysense.finetune.deep.adapt import Adapted, Adapting
from skysense.finetune.deep.decoder import Entry, decoder_of, strides_of
from skysense.finetune.deep.decoder_steps import DecoderTraining, Material, pixel_losses
from skysense.finetune.deep.decoder_views import FeatureReader, FeatureViewer
from skysense.finetune.deep.fit import digest_of
from skysense.finetune.deep.pixels import find_pixels, folds_of, held_out_polygons
from skysense.finetune.deep.plan import PLANS
from skysense.finetune.features import Block
from skysense.finetune.fitted import Fitted, fit_frozen
from skysense.finetune.judging import blocks_of
from skysense.finetune.labels import LabelledPolygons, PixelLabels
from skysense.finetune.session import Session
from skysense.finetune.stages import columns_of
from skysense.inference.journal import manifest, open_journal
from skysense.jobs.control import JobControl
from skysense.raster.reader import SceneReader
from skysense.raster.tiles import Tiling

#: Shares of the work after which the head is fitted, the pixels are found, and the decoder is trained.
_HEAD, _FOUND, _TRAINED = 0.1, 0.15, 0.95
#: Standard errors, over places, by which held-out polygons must be better with the decoder: it learns a few polygons by heart, and
#: chance favours one time in two what does not help.
_SURE = 2.0


def fit_decoder(
    session: Session, reader: SceneReader, labels: LabelledPolygons, control: JobControl
) -> Fitted:
    """Fit a head as in the mode "head", then a decoder whose logits are added to its scores.

    Raises:
        InputError: the labels and the imagery do not meet in two classes; StorageError: the state cannot be written; Cancelled: it
            is written, and goes on with `--resume`.
    """
    options, tiling, layout = session.recipe.options, session.tiling, session.layout
    alone = fit_frozen(session, reader, labels, control.share(0.0, _HEAD))
    # Features that mislead discriminants need not mislead what learns to read them.
    seeing = replace(session, backbone=replace(session.backbone, weak=()))
    extractor = seeing.extractor(reader, control.quiet())
    features = FeatureReader(extractor)
    part = control.share(_HEAD, _FOUND)
    part.progress(0.0, "Finding the labelled pixels")
    pixels = find_pixels(
        lambda tiles: (found.valid for found in features(tiles)),
        tiling,
        PixelLabels(labels),
        options.seed,
        part,
    )
    assert alone.head.ids == tuple(pixels.classes.tolist())
    held_out = held_out_polygons(pixels, labels.polygons, layout.base.gsd)
    if not held_out:
        control.note(
            "Too few polygons are drawn to hold some out and see whether a decoder helps: the head alone is trained."
        )
        return replace(alone, header=_entry(0))
    entries = tuple(Entry(block.name, block.dim, _stride(block, tiling)) for block in extractor.blocks)
    viewer = FeatureViewer(features, tiling, pixels, strides_of(entries))
    material = Material(
        pixels,
        viewer,
        viewer.table(alone.head.blocks),
        alone.head.blocks,
        viewer.table(extractor.blocks),
        entries,
        labels.polygons,
        layout.base.gsd,
        session.device,
        options.seed,
    )
    plan = PLANS["decoder"]
    settings = {
        "mode": "decoder",
        "plan": asdict(plan),
        "backbone": session.backbone.identity,
        "labels": digest_of(labels),
        "seed": options.seed,
        "fusion_stride": options.fusion_stride,
        "precision": session.precision,
        "layout": repr(layout),
        "device": session.device.type,
    }
    output = session.recipe.output
    work = Adapting(
        lambda places, number: DecoderTraining(material, places, plan, number),
        "Training the decoder",
        plan,
        pixels,
        open_journal(output, manifest(session.scene, settings), options.resume),
        output.with_name(output.name + ".losses.jsonl"),
        control.share(_FOUND, _TRAINED),
    )
    found = work.adapt(held_out)
    control.progress(_TRAINED, "Judging it on polygons held out")
    fitted = _judged(found, material, alone) if found.steps else None
    if fitted is None:
        control.note("A decoder did not help on held-out polygons: the head alone is trained.")
        return replace(alone, header=_entry(0))
    seen = {"gain": alone.head.temperature, "entries": [asdict(entry) for entry in entries]}
    return replace(fitted, session=seeing, header=_entry(found.steps, **seen), tensors=found.final)


def _judged(found: Adapted, material: Material, alone: Fitted) -> Fitted | None:
    """The head with the temperature of head and decoder, and what held-out polygons are given; None where the head alone does better.

    The first part of the polygons has chosen the number of steps; here all parts together say whether these help.
    """
    pixels = material.pixels
    target, classes = torch.from_numpy(pixels.target), len(pixels.classes)
    folds = folds_of(pixels.polygons, [polygons for polygons, _ in found.folds])
    head = torch.full((len(target), classes), torch.nan)
    both = head.clone()
    for (train, test), (_, tensors) in zip(folds, found.folds, strict=True):
        decoder = decoder_of(material.entries, tensors, classes).to(material.device)
        head[test] = material.head_scores(train)[test]
        both[test] = head[test] + material.decoded(decoder, test)
    judged = np.flatnonzero(~both[:, 0].isnan().numpy())
    together = blocks_of(pixels.target, pixels.polygons, material.shapes, material.gsd)[pixels.polygons]
    gain, error = _gain(head[judged], both[judged], target[judged], together[judged])
    if not gain > _SURE * error:
        return None
    temperature = fit_temperature(both[judged], target[judged])
    # At the pixels that were drawn for it, what the head sees is known, and no more.
    own, around = alone.head.blocks, alone.around
    if around is not None:
        around = around[:, columns_of(own, alone.blocks)]
    return replace(
        alone,
        head=replace(alone.head, temperature=alone.head.temperature * temperature),
        x=material.x,
        ids=pixels.classes[pixels.target],
        polygons=pixels.polygons,
        blocks=own,
        around=around,
        repeats=[folds],
        held_out=[cross_fitted(both, target, folds)],
        bands_only=None,
    )


def _gain(before: Tensor, after: Tensor, target: Tensor, places: NDArray[np.int64]) -> tuple[float, float]:
    """By how much the cross-entropy of a place falls on average, and the standard error of that.

    Args:
        before, after: scores (N, K), each made as good as a temperature can make it.
        target, places: (N,) class, and number of the place (see `judging.blocks_of`): polygons that are neighbours fare alike.
    """
    one, other = (pixel_losses(scores, target).numpy() for scores in (before, after))
    _, place, count = np.unique(places, return_inverse=True, return_counts=True)
    gains = np.bincount(place, weights=one - other) / count
    return float(gains.mean()), float(gains.std(ddof=1) / np.sqrt(len(gains)))


def _entry(steps: int, **seen: object) -> dict[str, object]:
    """What a model file's header says of a decoder; of 0 steps there is none."""
    return {"decoder": {"steps": steps, **seen}}


def _stride(block: Block, tiling: Tiling) -> int:
    """Compute pixels per pixel of a block's map."""
    if block.name == "hr.bands":
        return 1
    return 2 ** (int(block.name[3:]) + 1) if block.name.startswith("hr.") else tiling.scale
