"""Spare heads: what maps a scene that lacks a sensor which the model was trained with.

Fused features of fewer sensors are other features, on which the model's own head knows nothing. So beside it stands, for every part
of the sensors, a head on those sensors' own values (series, HR bands), fitted to the same labelled pixels: the backbone takes no part.

A spare is only made of what all classes are seen in: a map without one of its classes would be wrong without saying so.

Shape legend: N labelled pixels, F features.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from skysense.errors import InputError
from skysense.finetune.extraction import gap_tensors, load_anchors
from skysense.finetune.features import Block
from skysense.finetune.head import Head, fit_head
from skysense.finetune.judging import Fold, overall
from skysense.finetune.report_words import named, without
from skysense.jobs.control import JobControl
from skysense.model.modelfile import ModelFile
from skysense.scene.acquisition import Scene
from skysense.scene.sensors import SENSORS

#: Begins the names of a spare's tensors in a model file, before its key and the names that a head gives them.
_PREFIX = "spare."


@dataclass(frozen=True)
class Spare:
    """A head on some of the sensors.

    Attributes:
        figures: for the report: how good it is on polygons that it has not seen (see `judging.overall`), and "without": the
            modalities that it does not need.
    """

    head: Head
    figures: dict[str, Any]


def fit_spares(
    x: NDArray[np.float32],
    ids: NDArray[np.int64],
    polygons: NDArray[np.int64],
    blocks: tuple[Block, ...],
    folds: list[Fold],
    control: JobControl,
    around: NDArray[np.float32] | None = None,
    together: NDArray[np.int64] | None = None,
) -> dict[str, Spare]:
    """A spare for each proper part of the sensors in which every class is seen.

    Args:
        x, ids, polygons, blocks: (N, F), (N,), (N,): see `collect.collect`.
        folds: one dealing of `judging.repeated_folds`.
        around: (M, F), see `head.fit_head`.
        together: (P,) what was held out together, see `judging.blocks_of`.

    Returns:
        By the modalities that it needs, joined by "+" in the order of `SENSORS`: "s2", "hr+s1".

    Raises:
        Cancelled.
    """
    sensor_of = {block: block.name.split(".")[0] for block in blocks if block.spectral}
    modalities = [modality for modality in SENSORS if modality in sensor_of.values()]
    found = {}
    for size in range(1, len(modalities)):
        for part in combinations(modalities, size):
            control.check()
            own = tuple(block for block in blocks if sensor_of.get(block) in part)
            columns = np.concatenate([np.full(block.dim, block in own) for block in blocks])
            seen = (x[:, columns] != 0).any(axis=1)  # what a sensor did not see is at 0
            kept, target = _among(folds, seen), ids[seen]
            taught = [target, *(target[train] for train, _ in kept)]
            if not all(np.isin(ids, classes).all() for classes in taught):
                continue
            beside = None if around is None else around[:, columns]
            head, held_out = fit_head(
                x[np.ix_(seen, columns)],
                target,
                [kept],
                own,
                polygons=polygons[seen],
                around=None if beside is None else beside[(beside != 0).any(axis=1)],
            )
            others = [modality for modality in modalities if modality not in part]
            figures = {"without": others, **overall(target, polygons[seen], held_out, together)}
            found["+".join(part)] = Spare(head, figures)
    return found


def _among(folds: list[Fold], seen: NDArray[np.bool_]) -> list[Fold]:
    """Folds of all pixels (N,) as folds of those that are `seen`; of which nothing can be judged is left out."""
    place = np.cumsum(seen) - 1
    kept = [(place[train[seen[train]]], place[test[seen[test]]]) for train, test in folds]
    return [(train, test) for train, test in kept if len(test)]


def spare_tensors(spares: dict[str, Spare]) -> dict[str, Tensor]:
    """For the model file; the headers of the heads are its entry "spares", the figures are its report's."""
    return {
        f"{_PREFIX}{key}.{name}": tensor
        for key, spare in spares.items()
        for name, tensor in spare.head.tensors().items()
    }


def for_scene(model: ModelFile, scene: Scene, file: str, note: Callable[[str], None]) -> ModelFile:
    """The model as it maps a scene: itself, or its spare for the sensors that the scene has, which is told in a note.

    Args:
        file: the model's name, for people.

    Raises:
        InputError: the scene lacks a sensor, and the model has no spare for what is left.
    """
    header, inputs = model.header, model.header["inputs"]
    left = [modality for modality in inputs["modalities"] if scene.modality(modality)]
    if left == inputs["modalities"]:
        return model
    key, missing = "+".join(left), named([m for m in inputs["modalities"] if m not in left])
    if key not in header.get("spares", {}):
        again = header.get("target", "classes") == "classes" and left and "spares" not in header
        other = (
            "train this one again in full, which maps such scenes too"
            if again
            else "train one on what it has"
        )
        raise InputError(
            f"the model {file} was trained with {missing} imagery, and the scene has none",
            scene.name,
            f"Add {missing} layers, or {other}",
        )
    note(
        f"The scene has no {missing} imagery, which the model was trained with: it is mapped from {named(left)} alone. Expect "
        f"{without(header['report'], key)}."
    )
    prefix = f"{_PREFIX}{key}."
    return replace(
        model,
        header={name: entry for name, entry in header.items() if name not in ("adaptation", "decoder")}
        | {
            "head": header["spares"][key],
            "inputs": inputs
            | {
                "modalities": left,
                "encoded": [],
                "series": {m: series for m, series in inputs["series"].items() if m in left},
                "hr_bands": inputs["hr_bands"] if "hr" in left else [],
            },
        },
        tensors={
            name.removeprefix(prefix): tensor
            for name, tensor in model.tensors.items()
            if name.startswith(prefix)
        }
        | gap_tensors(load_anchors(inputs["series"], model.tensors)),
    )
