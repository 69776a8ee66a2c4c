"""The backbone that jobs use, and how a model file names it."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from skysense.errors import InputError
from skysense.model.checkpoint.backbonefile import Licence, holds_backbone, load_weights
from skysense.model.checkpoint.report import untrained_parts
from skysense.model.config import ModelConfig
from skysense.model.folder import VARIABLE, built_in_model, models_folder
from skysense.model.modelfile import read_header
from skysense.model.presets import state_sha256
from skysense.model.skysense import SkySense
from skysense.scene.sensors import SENSORS, Modality

#: Modalities in which maps are better without the built-in model's features, by labelled scenes
#: (`benchmarks/bench_quality.py`): HR ones cost 7 points of mIoU and more beside the bands and their texture.
BUILT_IN_WEAK: tuple[Modality, ...] = ("hr",)


@dataclass(frozen=True)
class Backbone:
    """A frozen model and its provenance.

    Attributes:
        model: in eval mode, on its device.
        preset: its size.
        weights: where its weights come from.
        sha256: of its tensors, in the types that its file has.
        warning: what the user must be told of it whatever the imagery, or "".
        licence: of its weights.
        path: the file that it was read from; None for the built-in model.
        left_initial: tensors that no checkpoint held, by part (`checkpoint.report.left_initial`).
        weak: modalities in which maps are known to be better without its features.
        named: the "backbone" entry of the model that it was adapted from; None: it is as its file has it.
    """

    model: SkySense
    preset: str
    weights: str
    sha256: str
    warning: str
    licence: Licence
    path: Path | None = None
    left_initial: tuple[dict[str, Any], ...] = ()
    weak: tuple[Modality, ...] = ()
    named: dict[str, Any] | None = None

    @property
    def identity(self) -> str:
        """Of all that features depend on: hex SHA-256 over the digest of the tensors and the configuration.

        Kept features and begun runs go by it. Model files go by the two that it is made of, as their format has it.
        """
        entry = [self.sha256, self.model.config.to_json()]
        return hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()

    def in_precision(self, name: str) -> SkySense:
        """The model in "float32" or "bfloat16"."""
        return self.model if name == "float32" else _cast(self.model, getattr(torch, name))

    def header(self) -> dict[str, Any]:
        """The model file's "backbone" entry; of an adapted model the one that it was adapted from."""
        if self.named is not None:
            return self.named
        entry: dict[str, Any] = {
            "preset": self.preset,
            "weights": self.weights,
            "sha256": self.sha256,
            "note": self.warning,
        }
        if self.path is not None:
            entry |= {
                "path": str(self.path),
                "licence": self.licence.name,
                "config": self.model.config.to_json(),
            }
        return entry

    def embedded_header(self) -> dict[str, Any]:
        """The "backbone" entry of a file that holds the backbone's weights as well, as they are in memory.

        Raises:
            InputError: its licence does not allow that.
        """
        if not self.licence.may_embed:
            raise InputError(
                f"may not be passed on inside another file ({self.licence.name})",
                f"the backbone {self.weights}",
                "Leave --standalone out, and pass on the model without its backbone",
            )
        return {
            **self.header(),
            "sha256": state_sha256(self.model),  # `self.sha256` is of the file's tensors, which may be halves
            "embedded": True,
            "config": self.model.config.to_json(),
            "left_initial": list(self.left_initial),
            "licence": self.licence.name,
            "terms": self.licence.terms,
        }

    def useful(self, modalities: Sequence[Modality]) -> tuple[Modality, ...]:
        """Of these modalities, those that it should see: trained for, and not known to be weak.

        Random features beside spectral values only cost: up to 4 points of mIoU on the labelled HR scenes.
        """
        untrained = set(untrained_parts(self.left_initial))
        if self.warning and not untrained:
            return ()
        return tuple(
            m
            for m in modalities
            if m not in self.weak and not untrained & (parts_of(m) | (set() if m == "hr" else {"fusion"}))
        )

    def warning_for(self, modalities: Sequence[Modality]) -> str:
        """What the user must be told when it is used with these modalities, or ""."""
        used = set[str]().union(*map(parts_of, modalities)) | (
            set() if tuple(modalities) == ("hr",) else {"fusion"}
        )
        untrained = used & set(untrained_parts(self.left_initial))
        if not untrained:
            return self.warning
        titles = [SENSORS[m].title for m in modalities if parts_of(m) & untrained]
        if "fusion" in untrained:
            titles.append("fused")
        return (
            f"The backbone ({self.weights}) is not trained for {' and '.join(titles)} features: "
            "the files it was converted from did not hold those weights. Training does without those features."
        )


@lru_cache(maxsize=1)
def _cast(model: SkySense, dtype: torch.dtype) -> SkySense:
    return with_weights(
        model, {k: t.to(dtype) if t.is_floating_point() else t for k, t in model.state_dict().items()}
    )


def with_weights(model: SkySense, state: Mapping[str, Tensor]) -> SkySense:
    """A model of the same shape in evaluation mode that has these very tensors, by the names of `state_dict`.

    Raises:
        RuntimeError: names or shapes are not those of the model.
    """
    with torch.device("meta"):
        twin = SkySense(model.config).eval()
    twin.load_state_dict(state, assign=True)
    return twin


def parts_of(modality: Modality) -> set[str]:
    """First words of the names of the weights that are of one modality alone."""
    return {"backbone_gep"} if modality == "hr" else {f"backbone_{modality}", f"head_{modality}"}


@lru_cache(maxsize=1)
def default_backbone(device: torch.device) -> Backbone:
    """The built-in model, loaded once per process and device.

    Raises:
        InputError: its file is missing or damaged.
    """
    path = built_in_model()
    try:
        header = read_header(path)
        model = load_weights(path).to(device)
    except InputError as error:
        raise InputError(
            f"the built-in model {error.what}",
            str(path),
            "Install SkySense again: this file is a part of it",
        ) from None
    return replace(_described(model, header, None), weak=BUILT_IN_WEAK)


def open_backbone(path: Path | None, device: torch.device) -> Backbone:
    """The backbone to train on.

    Args:
        path: a backbone file, or a fine-tuned model, whose backbone is then used; None: the built-in model.

    Raises:
        InputError: the file cannot be used, or the fine-tuned model's backbone is not found.
    """
    if path is None or _is_built_in(path):
        return default_backbone(device)
    header = read_header(path)
    return _load(path, header, device) if holds_backbone(header) else backbone_of(header, path, device)


def backbone_of(header: dict[str, Any], path: Path, device: torch.device) -> Backbone:
    """The backbone that a fine-tuned model names: built in, in the file itself, or in a file with the same digest
    and configuration.

    Searched are the path that the header gives, the folder of the model file, the user's model folder, and the
    built-in model.

    Args:
        header, path: of the fine-tuned model.

    Raises:
        InputError: those very weights are not found.
    """
    if holds_backbone(header):
        return _load(path, header, device)
    entry = header.get("backbone", {})
    if not {"preset", "weights", "sha256"} <= entry.keys():
        raise InputError("names no backbone", str(path), "Choose a model that SkySense has trained")
    if "path" not in entry:  # the built-in model, of this version or of another
        built_in = default_backbone(device)
        if entry["sha256"] == built_in.sha256:
            return built_in
        raise InputError(
            f"was trained on another backbone ({entry['preset']}, {entry['weights']})",
            path.name,
            "Train it again with this version of SkySense",
        )
    for file in _candidates(Path(entry["path"]), path.parent):
        found = _header_of(file)
        if found is not None and holds_backbone(found) and _is_named(found["backbone"], entry):
            return default_backbone(device) if _is_built_in(file) else _load(file, found, device)
    raise InputError(
        f"needs its backbone ({entry['preset']}, {entry['weights']}; SHA-256 {entry['sha256'][:16]}...), which is "
        f"neither at {entry['path']}, nor beside the model, nor in {models_folder()}",
        path.name,
        f"Put the backbone file beside the model, or in the folder that {VARIABLE} names",
    )


def _is_named(held: Mapping[str, Any], entry: Mapping[str, Any]) -> bool:
    """Whether a file's backbone is the one that a model's entry names; those of older versions tell no configuration."""
    if held["sha256"] != entry["sha256"] or "config" not in entry:
        return bool(held["sha256"] == entry["sha256"])
    try:
        return ModelConfig.from_json(held["config"]) == ModelConfig.from_json(entry["config"])
    except (KeyError, TypeError, ValueError, AttributeError):
        return False


def _candidates(recorded: Path, beside: Path) -> Iterator[Path]:
    yield recorded
    for folder in (beside, models_folder()):
        if folder.is_dir():
            yield from sorted(folder.glob("*.safetensors"))
    yield built_in_model()


def _is_built_in(path: Path) -> bool:
    return path.resolve() == built_in_model().resolve()  # the plugin's folder may be a link


def _header_of(path: Path) -> dict[str, Any] | None:
    """A file's header; None for whatever is no SkySense file, or has a header that cannot be used."""
    try:
        return read_header(path)
    except InputError:
        return None


#: The weights of the one backbone file that stay loaded between jobs, by digest, configuration and device.
_loaded: dict[tuple[str, str, torch.device], SkySense] = {}


def _load(path: Path, header: dict[str, Any], device: torch.device) -> Backbone:
    """The backbone that a file holds; read once as long as the same one is asked for on the same device."""
    entry = header["backbone"]
    key = (entry["sha256"], json.dumps(entry["config"], sort_keys=True), device)
    if key not in _loaded:
        _cast.cache_clear()
        _loaded.clear()  # before the next one is read: two may not fit in memory
        _loaded[key] = load_weights(path).to(device)
    return _described(_loaded[key], header, path)


def _described(model: SkySense, header: dict[str, Any], path: Path | None) -> Backbone:
    entry = header["backbone"]
    return Backbone(
        model,
        entry["preset"],
        entry["weights"],
        entry["sha256"],
        entry.get("note", ""),
        _licence(header),
        path,
        tuple(entry["left_initial"]),
    )


def _licence(header: dict[str, Any]) -> Licence:
    if header.get("kind") == "backbone":
        terms = header["licence"]
        return Licence(terms["name"], terms["terms"], terms["may_embed"])
    return Licence(header["backbone"]["licence"], header["backbone"]["terms"], may_embed=True)
