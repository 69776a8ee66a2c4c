"""Samples to batches: groups that go through the model together, padded with acquisitions that saw nothing.

Shape legend: B samples, T dates (the most of a view in the group), C bands, h w view pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from skysense.model.dates import UNKNOWN_DAY
from skysense.model.inputs import Inputs
from skysense.model.skysense import SERIES
from skysense.pretrain.augment_series import SeriesView
from skysense.pretrain.views import Sample, View
from skysense.scene.sensors import Modality


@dataclass(frozen=True)
class Group:
    """Samples of one kind: HR alone, series, or HR fused with series at one ratio of pixel sizes.

    Attributes:
        views: per view the model's inputs; two global views, then local ones. A modality that no sample has in a
            view is None there; where only some have it, the others are invalid throughout.
        to_window: per view (B, 2, 3) float64, see `View.to_window`.
        order: "s2" and "s1", per view (B, T) int64, see `SeriesView.order`; T is 0 where the view's inputs are None.
        scenes: names for messages.
    """

    views: tuple[Inputs, ...]
    to_window: tuple[Tensor, ...]
    order: dict[Modality, tuple[Tensor, ...]]
    scenes: tuple[str, ...]

    def to(self, device: torch.device) -> "Group":
        """The same on a device; `to_window` stays where it is, places are drawn on the CPU."""
        return replace(
            self,
            views=tuple(_moved(view, device) for view in self.views),
            order={m: tuple(days.to(device) for days in orders) for m, orders in self.order.items()},
        )


def collate(samples: Sequence[Sample]) -> list[Group]:
    """Samples in groups, in the order in which each kind first appears."""
    kinds: dict[tuple[bool, int | None], list[Sample]] = {}
    for sample in samples:
        # HR that stands alone has no other modality to be dropped for: it is in every view.
        alone = sample.hr_per_base is None and sample.views[0].hr is not None
        kinds.setdefault((alone, sample.hr_per_base), []).append(sample)
    return [_group(members) for members in kinds.values()]


def _moved(inputs: Inputs, device: torch.device) -> Inputs:
    tensors = {item.name: getattr(inputs, item.name) for item in fields(Inputs)}
    moved: dict[str, Any] = {name: x.to(device) for name, x in tensors.items() if isinstance(x, Tensor)}
    return replace(inputs, **moved)


def _group(samples: list[Sample]) -> Group:
    region = torch.tensor([sample.place for sample in samples], dtype=torch.float64)
    order: dict[Modality, list[Tensor]] = {modality: [] for modality in SERIES}
    inputs, to_window = [], []
    for views in zip(*(sample.views for sample in samples), strict=True):
        inputs.append(_inputs(views, order, region, samples[0].hr_per_base))
        to_window.append(torch.stack([view.to_window for view in views]))
    return Group(
        tuple(inputs),
        tuple(to_window),
        {modality: tuple(days) for modality, days in order.items()},
        tuple(sample.scene for sample in samples),
    )


def _inputs(
    views: tuple[View, ...], order: dict[Modality, list[Tensor]], region: Tensor, hr_per_base: int | None
) -> Inputs:
    """One view of all samples; appends to `order`."""
    inputs = Inputs(region=region)
    for modality in SERIES:
        padded = _padded([view.s2 if modality == "s2" else view.s1 for view in views])
        if padded is None:
            order[modality].append(torch.zeros(len(views), 0, dtype=torch.int64))
            continue
        setattr(inputs, modality, padded.x)
        setattr(inputs, f"{modality}_valid", padded.valid)
        setattr(inputs, f"{modality}_day", padded.day)
        order[modality].append(padded.order)
    like = next((view.hr for view in views if view.hr is not None), None)
    if like is not None:
        x, valid = (
            like.x.new_zeros(len(views), *like.x.shape),
            like.valid.new_zeros(len(views), *like.valid.shape),
        )
        day = torch.full((len(views),), UNKNOWN_DAY)
        for b, view in enumerate(views):
            if view.hr is not None:
                x[b], valid[b], day[b] = view.hr.x, view.hr.valid, view.hr.day
        inputs.hr, inputs.hr_valid, inputs.hr_day, inputs.hr_per_base = x, valid, day, hr_per_base
    return inputs


def _padded(views: list[SeriesView | None]) -> SeriesView | None:
    """Batched over samples with T of the longest; None where no sample has any."""
    there = [view for view in views if view is not None]
    if not there:
        return None
    shape = (len(views), max(len(view.day) for view in there))
    _, bands, height, width = there[0].x.shape
    batch = SeriesView(
        there[0].x.new_zeros(*shape, bands, height, width),
        torch.zeros(*shape, height, width, dtype=torch.bool),
        torch.full(shape, UNKNOWN_DAY),
        torch.zeros(shape, dtype=torch.int64),
    )
    for b, view in enumerate(views):
        if view is not None:
            dates = len(view.day)
            batch.x[b, :dates], batch.valid[b, :dates] = view.x, view.valid
            batch.day[b, :dates], batch.order[b, :dates] = view.day, view.order
    return batch
