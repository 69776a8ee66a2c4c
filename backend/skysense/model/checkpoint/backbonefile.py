"""The backbone file: a whole model's weights as safetensors, under the released combined names, with a JSON header.

Header: {"format", "kind": "backbone", "licence": {...}, "source": {...}, "backbone": {"preset", "config", "weights",
"sha256", "left_initial"}}; an extension of contract C5.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from skysense.errors import InputError
from skysense.model.config import ModelConfig
from skysense.model.digest import digest_entries, tensor_bytes
from skysense.model.modelfile import BACKBONE, FORMAT, read_header
from skysense.model.skysense import SkySense
from skysense.model.tensorfile import Spec, write_tensors


@dataclass(frozen=True)
class Licence:
    """Under which terms weights may be used.

    Attributes:
        name: short.
        terms: a sentence for people.
        may_embed: they may be passed on inside another model file.
    """

    name: str
    terms: str
    may_embed: bool


#: Of every released SkySense and SkySense++ file, whatever the page of a copy says.
RELEASED = Licence(
    "non-commercial research only",
    "SkySense's authors allow non-commercial research only; for commercial use ask them (Wuhan University).",
    may_embed=False,
)


@dataclass(frozen=True)
class BackboneHeader:
    """What a backbone file says of itself.

    Attributes:
        preset: name of its size, or "custom".
        config: its shape.
        weights: where they come from, for people.
        licence: their terms.
        left_initial: see `report.left_initial`.
        source: {"files": {name: SHA-256}}.
    """

    preset: str
    config: ModelConfig
    weights: str
    licence: Licence
    left_initial: tuple[dict[str, Any], ...] = ()
    source: Mapping[str, Any] | None = None

    def entry(self, sha256: str) -> dict[str, Any]:
        """The header's "backbone"."""
        return {
            "preset": self.preset,
            "config": self.config.to_json(),
            "weights": self.weights,
            "sha256": sha256,
            "left_initial": list(self.left_initial),
        }


def save_backbone(
    path: Path, header: BackboneHeader, specs: Mapping[str, Spec], tensors: Iterable[tuple[str, Tensor]]
) -> str:
    """Write a backbone file; returns the digest of its tensors.

    Args:
        specs, tensors: see `tensorfile.write_tensors`.

    Raises:
        StorageError: it cannot be written.
    """
    return write_tensors(
        path,
        specs,
        lambda sha256: {
            "format": FORMAT,
            "kind": "backbone",
            "licence": asdict(header.licence),
            "source": dict(header.source or {}),
            "backbone": header.entry(sha256),
        },
        tensors,
    )


def holds_backbone(header: Mapping[str, Any]) -> bool:
    """Whether a file with this header, as `read_header` gives it, holds a backbone's weights."""
    return header.get("kind") == "backbone" or bool(header.get("backbone", {}).get("embedded"))


def load_weights(path: Path) -> SkySense:
    """The model of a backbone file (or of a standalone model file) on the CPU, in evaluation mode.

    Its float32 tensors stay where the file is mapped and are not copied; halves become float32 one by one, so that loading takes no
    more than the model and one tensor.

    Raises:
        InputError: the file cannot be read, or was changed: tensors are missing or misshapen, or not those of its
            header's digest.
    """
    header = read_header(path)
    if not holds_backbone(header):
        raise InputError("holds no backbone", str(path), "Choose a backbone file")
    entry = header["backbone"]
    try:
        config = ModelConfig.from_json(entry["config"])
        with torch.device("meta"):
            model = SkySense(config).eval()
    except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
        raise InputError(
            f"has a header that cannot be used ({error!r})", str(path), "Convert it again"
        ) from None
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    prefix = "" if header.get("kind") == "backbone" else BACKBONE
    tensors: dict[str, Tensor] = {}
    try:
        with safe_open(path, framework="pt") as file:
            _check_shapes(file, prefix, expected, path)
            digest = digest_entries(_reading(path, file, prefix, sorted(expected), tensors))
    except (SafetensorError, OSError) as error:
        raise InputError(f"cannot be read ({error})", str(path), "Convert or download it again") from None
    if digest != entry["sha256"]:
        raise InputError(
            "has been damaged or changed (its weights are not those of its SHA-256)",
            str(path),
            "Convert or download it again",
        )
    model.load_state_dict(tensors, assign=True)
    return model


def _check_shapes(file: Any, prefix: str, expected: Mapping[str, tuple[int, ...]], path: Path) -> None:
    held = {
        name.removeprefix(prefix): tuple(file.get_slice(name).get_shape())
        for name in file.keys()  # noqa: SIM118 - not a dict
        if name.startswith(prefix)
    }
    wrong = next((name for name in sorted(expected) if name not in held), None)
    if wrong is not None:
        raise InputError(f"lacks the tensor {wrong}", str(path), "Convert it again")
    for name, shape in held.items():
        if shape != expected.get(name):
            raise InputError(
                f"has {name} of shape {shape}, expected {expected.get(name, 'none')}",
                str(path),
                "Convert it again",
            )


def _reading(
    path: Path, file: Any, prefix: str, names: Iterable[str], tensors: dict[str, Tensor]
) -> Iterator[tuple[str, torch.dtype, Sequence[int], Iterable[memoryview]]]:
    """Each tensor as `digest_entries` takes it; once that is done with it, it is in `tensors` as the model computes.

    Halves are read by themselves: whatever is read of one mapping stays in memory as long as anything else of it does.
    """
    for name in names:
        key = prefix + name
        if file.get_slice(key).get_dtype() in ("F16", "BF16"):
            with safe_open(path, framework="pt") as alone:
                tensor = alone.get_tensor(key)
        else:
            tensor = file.get_tensor(key)
        yield name, tensor.dtype, tensor.shape, (tensor_bytes(tensor),)
        tensors[name] = (
            tensor.float() if tensor.is_floating_point() else tensor
        )  # region ids stay what they are
        del tensor  # or its mapping would stay while the next one is read
