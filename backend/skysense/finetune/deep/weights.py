"""What is trained of a backbone, what a model file keeps of it, and the backbone that a model file's head was fitted on.

The backbone that a process keeps is never changed: whatever is trained is a twin, which shares the tensors that stay.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from skysense.errors import InputError
from skysense.finetune.deep.lowrank import ALPHA, RANK, LowRank, attach, merged
from skysense.model.backbone import Backbone, parts_of, with_weights
from skysense.model.presets import state_sha256
from skysense.model.skysense import SkySense
from skysense.scene.sensors import SENSORS, Modality

#: Before the names of a model file's tensors.
LORA, FULL = "lora.", "full."


@dataclass(frozen=True)
class Trained:
    """A twin of a backbone, of which some weights learn.

    Attributes:
        mode: "lora" or "full".
        model: the twin; what learns of it requires a gradient.
        updates: of the weights, by their names, in "lora".
    """

    mode: str
    model: SkySense
    updates: dict[str, LowRank]

    @property
    def parameters(self) -> dict[str, Tensor]:
        """The tensors that learn, by their names in the twin."""
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}

    def tensors(self) -> dict[str, Tensor]:
        """For the model file."""
        if self.mode == "full":
            return {FULL + name: p.detach().clone() for name, p in self.parameters.items()}
        return {
            f"{LORA}{name}.{side}": p.detach().clone()
            for name, update in self.updates.items()
            for side, p in update.named_parameters()
        }


def entry_of(mode: str) -> dict[str, Any]:
    """The header's "adaptation" of a model file."""
    return {"mode": mode, **({"rank": RANK, "alpha": ALPHA} if mode == "lora" else {})}


def prepare(mode: str, base: SkySense, modalities: tuple[Modality, ...], seed: int) -> Trained:
    """Make a twin of a model ready to be trained.

    Args:
        mode: "lora": low-rank updates of the linear maps of the encoders and the fusion; "full": every weight of theirs.
        modalities: that it sees; encoders of others stay as they are.
    """
    parts = trained_parts(modalities)
    state = base.state_dict()
    if mode == "lora":
        model = with_weights(base, state)
        model.requires_grad_(False)
        return Trained(mode, model, attach(model, parts, seed))
    own = {name for name, _ in base.named_parameters() if name.partition(".")[0] in parts}
    model = with_weights(base, {name: t.clone() if name in own else t for name, t in state.items()})
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in own)
    return Trained(mode, model, {})


def trained_parts(modalities: tuple[Modality, ...]) -> frozenset[str]:
    """First words of the names of the weights that features of these modalities depend on."""
    fused = {"fusion", "ctpe", "geo_context"} if set(modalities) - {"hr"} else set()
    return frozenset(set[str]().union(*map(parts_of, modalities)) | fused)


def adapted(
    backbone: Backbone, header: Mapping[str, Any], tensors: Mapping[str, Tensor], where: str
) -> Backbone:
    """The backbone with what a model file has trained of it; the same one where that is nothing.

    Args:
        header, tensors: of the model file; where: its name.

    Raises:
        InputError: the file's tensors do not fit the backbone.
    """
    entry = header.get("adaptation")
    # No step helped, or an embedded backbone is the adapted one.
    if entry is None or entry.get("steps") == 0 or header["backbone"].get("embedded"):
        return backbone
    state = backbone.model.state_dict()
    try:
        if entry["mode"] == "full":
            own = _by_name(tensors, FULL)
            state |= {name: t.to(state[name]) for name, t in own.items()}
        else:
            own = _by_name(tensors, LORA)
            names = {name.rpartition(".")[0] for name in own}
            # With the file's own scale, whatever this version trains with.
            scale = entry["alpha"] / entry["rank"] / (ALPHA / RANK)
            updates = {
                name: LowRank(own[f"{name}.down"].to(state[name]), scale * own[f"{name}.up"].to(state[name]))
                for name in names
            }
            state = merged(state, updates)
        if not own:
            raise KeyError("no tensor")
        model = with_weights(backbone.model, state)
    except (KeyError, RuntimeError, TypeError) as error:
        raise InputError(
            f"does not fit its backbone ({error})", where, "Train it again with this version of SkySense"
        ) from None
    return with_model(backbone, model)


def with_model(backbone: Backbone, model: SkySense) -> Backbone:
    """The backbone with other weights of its own, which sees every modality that it is trained for."""
    return replace(backbone, model=model, sha256=state_sha256(model), weak=(), named=dict(backbone.header()))


def check_trainable(backbone: Backbone, modalities: tuple[Modality, ...], mode: str) -> tuple[Modality, ...]:
    """The modalities that are adapted: those that the backbone was pretrained for, whether or not its features help as they are.

    Raises:
        InputError: none.
    """
    useful = replace(backbone, weak=()).useful(modalities)
    if not useful:
        titles = " and ".join(SENSORS[m].title for m in modalities)
        raise InputError(
            f"was not pretrained for {titles} imagery, so it cannot be adapted ({mode})",
            f"the backbone {backbone.weights}",
            'Train in the mode "head", or choose another base model',
        )
    return useful


def _by_name(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
