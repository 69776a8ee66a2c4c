"""Training of the head: on two thirds of the objects in turn, to learn for how long and how well; then on all of them.

The networks of the folds go on in step. After every round they are asked for the objects that they have not seen, and where that
is at its best tells how many rounds the network of all objects gets: one number is chosen, so that the figures stay honest.
"""

import copy
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from sklearn.neighbors import KDTree
from torch import nn

from skysense.finetune.objects.confidence import fit_confidence, held_out_confidence
from skysense.finetune.objects.crops import CropDrawer, Material
from skysense.finetune.objects.detect import Found, detect
from skysense.finetune.objects.loss import object_loss
from skysense.finetune.objects.network import STRIDE, ObjectNet
from skysense.finetune.objects.scoring import (
    Matches,
    best_threshold,
    figures,
    matched,
    mean_average_precision,
)
from skysense.finetune.objects.supervision import FOLDS
from skysense.finetune.reliability import binned
from skysense.jobs.control import JobControl

#: Steps of a round, rounds at most and at least, and rounds without a gain after which there are no more.
_STEPS, _ROUNDS, _LEAST_ROUNDS, _PATIENCE = 40, 24, 8, 4
#: Average precision from which on more rounds than so many only cost time.
_ENOUGH, _FEWEST = 0.99, 4
_BATCH = 8
_RATE, _DECAY, _WARM = 2e-3, 1e-4, 20
#: The network that is used is a running mean over the last steps, about 1 / (1 - this) of them.
_MEAN = 0.97
#: Score from which a peak counts in the average precision.
_LEAST = 0.05
#: Objects' centres may be off by this many pixels and half the distance of the nearest neighbours, where they have no size.
_TOLERANCE = 12.0


@dataclass(frozen=True)
class FittedObjects:
    """A head and what is known of it.

    Attributes:
        net: in evaluation mode, on the CPU.
        threshold: score from which a peak is taken for an object; the network's scores are confidences (see `confidence`).
        tolerance: in pixels, of centres of objects without a size; None: they have one.
        report: see `scoring.figures`; also "steps" and "folds", and "reliability": see `reliability.binned`, of what is found.
    """

    net: ObjectNet
    threshold: float
    tolerance: float | None
    report: dict[str, Any]


class _Run:
    """One network on its way."""

    def __init__(self, fresh: ObjectNet, drawer: CropDrawer, sized: bool) -> None:
        self._net, self.mean = copy.deepcopy(fresh), copy.deepcopy(fresh).eval()
        self._drawer, self._sized, self._done = drawer, sized, 0
        self._optimiser = torch.optim.AdamW(self._net.parameters(), _RATE, weight_decay=_DECAY)

    def round(self, control: JobControl) -> float:
        """`_STEPS` steps; the mean loss of them."""
        device, losses = next(self._net.parameters()).device, []
        self._net.train()
        for _ in range(_STEPS):
            control.check()
            batch = self._drawer.batch(_BATCH)
            heat, geometry = self._net(
                batch.bands.to(device), batch.valid.to(device), [v.to(device) for v in batch.features]
            )
            target = replace(
                batch.target,
                heat=batch.target.heat.to(device),
                geometry=batch.target.geometry.to(device),
                weight=batch.target.weight.to(device),
            )
            parts = object_loss(heat, geometry, target, batch.teaches.to(device), self._sized)
            loss = parts[0] + parts[1]
            self._done += 1
            self._optimiser.param_groups[0]["lr"] = _RATE * min(1.0, self._done / _WARM)
            self._optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self._net.parameters(), 10.0)
            self._optimiser.step()
            self._follow()
            losses.append(float(loss.detach()))
        return float(np.mean(losses))

    @torch.no_grad()
    def _follow(self) -> None:
        keep = min(_MEAN, self._done / (self._done + 5))
        own = self._net.state_dict()
        for name, value in self.mean.state_dict().items():
            if value.is_floating_point():
                value.lerp_(own[name], 1 - keep)
            else:
                value.copy_(own[name])


def fit_objects(material: Material, fresh: ObjectNet, seed: int, control: JobControl) -> FittedObjects:
    """Train the head and judge it.

    Args:
        material: the tiles and objects.
        fresh: the network as it begins, on the device.

    Raises:
        Cancelled: between two steps.
    """
    objects, count = material.objects, fresh.classes
    tolerance = None if objects.sized else point_tolerance(material)
    _normalise(fresh, material)

    def run(fold: int | None) -> _Run:
        random = np.random.default_rng((seed, 0 if fold is None else 1 + fold))
        return _Run(fresh, CropDrawer(material, count, fold, random), objects.sized)

    runs = [run(fold) for fold in range(FOLDS)]
    best, best_ap, best_round, rounds = None, -1.0, 0, 0
    while rounds < _ROUNDS and not (rounds >= _FEWEST and best_ap >= _ENOUGH):
        if rounds >= _LEAST_ROUNDS and rounds - best_round >= _PATIENCE:
            break
        began = time.monotonic()
        losses = [item.round(control) for item in runs]
        rounds += 1
        speed = FOLDS * _STEPS * _BATCH / (time.monotonic() - began)
        control.metrics(rounds * _STEPS, float(np.mean(losses)), {}, lr=_RATE, samples_per_s=speed)
        found = _held_out(material, [item.mean for item in runs], tolerance, control)
        ap = mean_average_precision(found)
        if ap > best_ap or ap >= _ENOUGH:
            best, best_ap, best_round = found, ap, rounds
        control.progress(0.75 * rounds / _ROUNDS, f"Training, average precision {ap:.2f}")
    assert best is not None
    threshold = best_threshold(best, _LEAST)
    final = run(None)
    for done in range(best_round):
        control.progress(0.75 + 0.25 * done / best_round, "Training on all objects")
        final.round(control)
    kept = best.scores >= threshold
    scores, right = best.scores[kept], best.right[kept]
    scale = fit_confidence(scores, right)
    scale.put_into(final.mean)
    shown = held_out_confidence(scores, right, best.blocks[kept])
    report = figures(best, threshold) | {
        "reliability": binned(shown, right, np.ones(len(right))),
        "steps": best_round * _STEPS,
        "folds": FOLDS,
    }
    return FittedObjects(final.mean.cpu(), float(scale.of(np.array(threshold))), tolerance, report)


def _held_out(
    material: Material, nets: list[ObjectNet], tolerance: float | None, control: JobControl
) -> Matches:
    """What each fold's network finds where it has not learned."""
    objects, all_ = material.objects, material.numbers
    parts: list[list[Found]] = [[] for _ in nets]
    for view, cells in zip(material.views, material.cells):
        for fold, net in enumerate(nets):
            control.check()
            if (cells == fold).any():
                found = detect(net, view, _LEAST, objects.usual, objects.sized)
                place = (found.boxes[:, :2] - (view.tile.window.col, view.tile.window.row)) // STRIDE
                col, row = place.astype(np.int64).T
                parts[fold].append(found.take(cells[row, col] == fold))
    scores, right, classes, blocks = [], [], [], []
    for fold, found_parts in enumerate(parts):
        found = Found.joined(found_parts).surest(tolerance)
        own = all_[objects.folds[all_] == fold]
        right.append(matched(found, objects.boxes[own], objects.classes[own], tolerance))
        scores.append(found.scores)
        classes.append(found.classes)
        blocks.append(_nearest_blocks(found, material))
    return Matches(
        np.concatenate(scores),
        np.concatenate(right),
        np.concatenate(classes),
        np.concatenate(blocks),
        objects.classes[all_],
        objects.blocks[all_],
    )


def _nearest_blocks(found: Found, material: Material) -> np.ndarray:
    if not len(found.scores):
        return np.zeros(0, np.int64)
    tree = KDTree(material.objects.boxes[:, :2])
    nearest: np.ndarray = tree.query(found.boxes[:, :2], return_distance=False)[:, 0]
    return material.objects.blocks[nearest]


def point_tolerance(material: Material) -> float:
    """How far in pixels a centre may be off, where objects have no size."""
    centres = material.objects.boxes[:, :2]
    if len(centres) < 2:
        return _TOLERANCE
    distances = np.sort(KDTree(centres).query(centres, k=2)[0][:, 1])  # the first is the centre itself
    middle = float(distances[(len(distances) - 1) // 2])
    return float(min(_TOLERANCE, max(STRIDE, middle / 2)))


def _normalise(net: ObjectNet, material: Material) -> None:
    """Give the network the mean and deviation of the bands."""
    pixels = torch.cat([view.bands[:, view.valid][:, ::17] for view in material.views], 1).double()
    net.mean.copy_(pixels.mean(1))
    net.std.copy_(pixels.std(1).clamp_min(1e-3))
