"""A head fitted to a scene's labels, whatever the backbone's features are."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from skysense.errors import InputError
from skysense.finetune.collect import collect_parts
from skysense.finetune.features import Block
from skysense.finetune.head import Head, asks_trees, fit_head, held_out_votes, spectral_columns
from skysense.finetune.judging import REPEATS, Fold, blocks_of, repeated_folds
from skysense.finetune.labels import LabelledPolygons
from skysense.finetune.session import Session
from skysense.finetune.stages import columns_of, helpful_blocks
from skysense.finetune.surroundings import Surroundings
from skysense.jobs.control import JobControl
from skysense.raster.reader import SceneReader


@dataclass(frozen=True)
class Fitted:
    """A head and what it was fitted to.

    Attributes:
        session: with the backbone that the features are of.
        head: for the model file; it may look at some of the blocks only.
        x, ids, polygons, blocks: see `collect.collect_parts`.
        repeats, held_out: see `head.fit_head`.
        around: (M, F), see `surroundings`; None where none were drawn.
        bands_only: as `held_out`, of the same head without the model's features; None where it has none, or was not asked for.
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
    bands_only: list[NDArray[np.float32]] | None = None
    around: NDArray[np.float32] | None = None
    header: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)


def fit_frozen(
    session: Session, reader: SceneReader, labels: LabelledPolygons, control: JobControl
) -> Fitted:
    """Fit a head on the features of the backbone as it is.

    Raises:
        InputError: the labels and the imagery do not meet in two classes.
    """
    around = Surroundings(session.recipe.options.seed)
    x, ids, groups, blocks = collect_parts(
        session.parts(reader, labels, control),
        session.tiling,
        session.layout,
        labels.source,
        session.recipe.options.seed,
        control,
        around=around,
    )
    check_classes(ids, labels, control)
    control.progress(0.9, "Fitting the head")
    # One dealing of folds calibrates nearly as well as three; the others are for the figures of the report.
    dealings = REPEATS if session.recipe.options.judged else 1
    where = ids, groups, labels.polygons, session.layout.base.gsd
    repeats = repeated_folds(*where, dealings)
    seen = helpful_blocks(x, ids, blocks_of(*where)[groups], repeats, blocks)
    if len(seen) < len(blocks):
        control.note(_left_out(seen, blocks))
    if session.layout.modalities == ("hr",) and all(block.spectral for block in seen):
        # So that no map computes features for nothing.
        session = replace(session, backbone=replace(session.backbone, weak=("hr",)))
        columns = columns_of(seen, blocks)
        x, around.x, blocks = x[:, columns], around.x[:, columns], seen
    columns = columns_of(seen, blocks)
    own, beside = x[:, columns], around.x[:, columns]
    spectral = tuple(block for block in seen if block.spectral)
    compared = session.recipe.options.judged and any(repeats) and 0 < len(spectral) < len(seen)
    votes = None
    if compared and asks_trees(seen):  # they see the bands alone either way
        votes = held_out_votes(own, ids, repeats, seen)
    head, held_out = fit_head(own, ids, repeats, seen, votes=votes, polygons=groups, around=beside)
    bands_only = None
    if compared:
        bands_only = fit_head(own[:, spectral_columns(seen)], ids, repeats, spectral, votes=votes)[1]
    return Fitted(session, head, x, ids, groups, blocks, repeats, held_out, bands_only, around.x)


def _left_out(seen: tuple[Block, ...], blocks: tuple[Block, ...]) -> str:
    """What is said where not all stages help."""
    kept, there = (len({block.stage for block in some} - {0}) for some in (seen, blocks))
    if not kept:
        return "The base model's own features of the picture do not clearly help on polygons held out: the head looks at the rest alone."
    return f"Of the base model's {there} levels of features of the picture the head looks at the finest {kept}: others do not clearly help."


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
