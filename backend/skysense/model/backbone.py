"""The backbone that jobs use, and how a model file names it."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

from skysense.errors import InputError
from skysense.model.presets import seeded_model, state_sha256
from skysense.model.skysense import SkySense

DEFAULT_PRESET = "tiny"
_SEED = 0
_RANDOM = (
    "The built-in model has random weights for now: its features are not yet pretrained, "
    "and the maps lean on the spectral values."
)

#: Features of untrained weights are kept on a short lead: at 1 they cost up to 4 points of mIoU on the HR scenes.
_RANDOM_PRIOR = 0.3


@dataclass(frozen=True)
class Backbone:
    """A frozen model and its provenance.

    Attributes:
        model: in eval mode, on its device.
        preset: its size.
        weights: where its weights come from.
        sha256: of its tensors.
        warning: what the user must be told of it, or "".
        prior: how far a head trusts its features before it has seen a label, against 1 for spectral values.
    """

    model: SkySense
    preset: str
    weights: str
    sha256: str
    warning: str
    prior: float

    def header(self) -> dict[str, Any]:
        """The model file's "backbone" entry."""
        return {"preset": self.preset, "weights": self.weights, "sha256": self.sha256, "note": self.warning}


@lru_cache(maxsize=1)
def default_backbone(device: torch.device) -> Backbone:
    """The built-in model, loaded once per process and device."""
    model = seeded_model(DEFAULT_PRESET, _SEED)
    digest = state_sha256(model)
    return Backbone(model.to(device), DEFAULT_PRESET, f"random, seed {_SEED}", digest, _RANDOM, _RANDOM_PRIOR)


def backbone_of(header: dict[str, Any], where: str, device: torch.device) -> Backbone:
    """The backbone that a model file names.

    Raises:
        InputError: this installation has not got those very weights.
    """
    backbone = default_backbone(device)
    if header["sha256"] != backbone.sha256:
        raise InputError(
            f"was trained on another backbone ({header['preset']}, {header['weights']})",
            where,
            "Train it again with this version of SkySense",
        )
    return backbone
