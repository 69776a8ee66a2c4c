"""A head fitted to a scene's labels, whatever the backbone's features are."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from skysense.errors import InputError
from skysense.finetune.collect import collect
from skysense.finetune.features import Block
from skysense.finetune.head import Head, fit_head
from skysense.finetune.judging import Fold, repeated_folds
from skysense.finetune.labels import LabelledPolygons, PixelLabels
from skysense.finetune.session import Session
from skysense.jobs.control import JobControl
from skysense.raster.reader import SceneReader


@dataclass(frozen=True)
class Fitted:
    """A head and what it was fitted to.

    Attributes:
        session: with the backbone that the features are of.
        head: for the model file.
        x, ids, polygons, blocks: see `collect.collect`.
        repeats, held_out: see `head.fit_head`.
        header, tensors: what the model file holds beside the head.
    """

    session: Session
    head: Head
    x: NDArray[np.float32]
    ids: NDArray[np.int64]
    polygons: NDArray[np.int64]
    blocks: tuple[Block, ...]
    repeats: list[list[Fold]]
    held_out: list[NDArray[np.float32]]
    header: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)


def fit_frozen(
    session: Session, reader: SceneReader, labels: LabelledPolygons, control: JobControl
) -> Fitted:
    """Fit a head on the features of the backbone as it is.

    Raises:
        InputError: the labels and the imagery do not meet in two classes.
    """
    x, ids, groups, blocks = collect(
        session.extractor(reader, control),
        session.tiling,
        session.layout,
        PixelLabels(labels),
        labels.source,
        session.recipe.options.seed,
        control,
    )
    check_classes(ids, labels, control)
    control.progress(0.9, "Fitting the head")
    repeats = repeated_folds(ids, groups, labels.polygons, session.layout.compute.gsd)
    head, held_out = fit_head(x, ids, repeats, blocks)
    return Fitted(session, head, x, ids, groups, blocks, repeats, held_out)


def check_classes(ids: NDArray[np.int64], labels: LabelledPolygons, control: JobControl) -> None:
    """Tell which classes have no pixel; raises InputError where fewer than two have one.

    Args:
        ids: of the labelled pixels.
    """
    found = set(np.unique(ids).tolist())
    for class_id in sorted(set(labels.names) - found):
        control.note(f"The class {labels.names[class_id]!r} has no polygon on valid pixels and was left out.")
    if len(found) < 2:
        raise InputError(
            "only one class has polygons on valid pixels of the imagery",
            labels.source,
            "Draw polygons of at least two classes inside the area",
        )
