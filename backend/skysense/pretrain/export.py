"""From a pretraining to a backbone file: the teacher's weights, with a header that says how they came about.

The teacher and not the student: an average over many steps, it has the better features all along (DINO, Caron et
al. 2021, section 5.3).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from skysense.model.checkpoint.backbonefile import BackboneHeader, Licence, save_backbone
from skysense.model.checkpoint.report import left_initial
from skysense.model.config import ModelConfig
from skysense.scene.sensors import Modality

#: Where the imagery's licences were checked against a list of open ones.
OPEN = Licence(
    "GPL-2.0-or-later",
    "These weights were pretrained with SkySense for QGIS on openly licensed imagery and are under its licence.",
    may_embed=True,
)
#: Where nobody checked them.
UNCHECKED = Licence(
    "as its imagery",
    "These weights were pretrained on imagery whose terms were not checked: pass them on as that imagery allows.",
    may_embed=True,
)


@dataclass(frozen=True)
class Origin:
    """What a pretraining began with.

    Attributes:
        preset: the model's size.
        weights: what they were, for people: "random, seed 0", "SkySense: ...".
        licence: of a file that was gone on from; None: fresh weights.
        initial: tensors that no training has reached so far.
    """

    preset: str
    weights: str
    licence: Licence | None
    initial: frozenset[str]


def export_backbone(
    path: Path,
    config: ModelConfig,
    state: Mapping[str, Tensor],
    origin: Origin,
    modalities: Iterable[Modality],
    card: Mapping[str, Any],
    *,
    checked: bool,
    half: bool = False,
) -> str:
    """Write the backbone file; returns the digest of its tensors.

    Args:
        state: of the teacher's model, whole, on any device.
        modalities: that the pretraining had.
        card: what the header tells of the training, plain JSON types; has "steps".
        checked: the imagery's licences were held against a list of open ones.
        half: float16, half the size.

    Raises:
        StorageError: it cannot be written.
    """
    kept = {name: _stored(tensor, half) for name, tensor in state.items()}
    initial = origin.initial - {name for name in kept if name.split(".")[0] in _trained(modalities)}
    header = BackboneHeader(
        preset=origin.preset,
        config=config,
        weights=f"pretrained for {card['steps']} steps from {origin.weights}",
        licence=_licence(origin.licence, checked),
        left_initial=tuple(left_initial(name for name in kept if name in initial)),
        source={"training": dict(card)},
    )
    specs = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in kept.items()}
    return save_backbone(path, header, specs, kept.items())


def fresh_names(names: Iterable[str]) -> frozenset[str]:
    """Of a model with fresh weights, the tensors that mean nothing until they are trained (geo-context says so itself)."""
    return frozenset(name for name in names if not name.startswith("geo_context."))


def _licence(before: Licence | None, checked: bool) -> Licence:
    """Terms of a file that was gone on from stay, but weights are open only while all their imagery was checked."""
    if before is None or before == OPEN:
        return OPEN if checked else UNCHECKED
    return before


def _trained(modalities: Iterable[Modality]) -> set[str]:
    """The model's parts that imagery of these modalities trains."""
    parts: set[str] = set()
    for modality in modalities:
        parts |= (
            {"backbone_gep"}
            if modality == "hr"
            else {f"backbone_{modality}", f"head_{modality}", "fusion", "ctpe"}
        )
    return parts


def _stored(tensor: Tensor, half: bool) -> Tensor:
    tensor = tensor.detach().cpu()
    return tensor.to(torch.float16 if half else torch.float32) if tensor.is_floating_point() else tensor
