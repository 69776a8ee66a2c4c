"""One model from one or several files: what each tensor is taken from, checked before anything is read or written."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from skysense.errors import InputError
from skysense.model.checkpoint.adapt import FOUR_BANDS, with_cls_position
from skysense.model.checkpoint.initial import initial_values
from skysense.model.checkpoint.layout import PARTS, LeftOut, Recognised, recognise
from skysense.model.checkpoint.reading import Opened, open_checkpoint
from skysense.model.checkpoint.sizes import infer_config, misshapen, missing
from skysense.model.config import ModelConfig
from skysense.model.skysense import SkySense
from skysense.model.tensorfile import Spec
from skysense.scene.sensors import SENSORS, Modality

#: Output norms of the Swin's first three stages. The released HR file was made without them, others without some.
_OPTIONAL = tuple({f"backbone_gep.norm{i}.{kind}" for kind in ("weight", "bias")} for i in range(3))
_KEPT = (torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Source:
    """A file, what it holds of the model, and what to note of it; its tensors are opened again when they are needed."""

    path: Path
    files: tuple[Path, ...]
    held: Recognised
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Assembly:
    """A model whose every tensor is accounted for.

    Attributes:
        preset: name of its size, or "custom".
        config: its shape.
        sources: the files.
        specs: type and shape of every tensor of the model.
        initial: tensors that no file holds.
        without_cls: names of pos_embeds that have no position for the cls token in the file.
        four_bands: patch embeddings that are made for four bands.
    """

    preset: str
    config: ModelConfig
    sources: tuple[Source, ...]
    specs: dict[str, Spec]
    initial: tuple[str, ...]
    without_cls: tuple[str, ...]
    four_bands: tuple[str, ...]

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Every tensor once, one file at a time."""
        for source in self.sources:
            yield from self._of(source)
        yield from initial_values(self.config, self.initial)

    def _of(self, source: Source) -> Iterator[tuple[str, Tensor]]:
        opened = open_checkpoint(source.path, checked=True)
        for name, key in source.held.keys.items():
            tensor = opened.tensors[key]
            if name in self.without_cls:
                tensor = with_cls_position(tensor)
            elif name in self.four_bands:
                tensor = FOUR_BANDS[name](tensor)
            yield name, tensor.to(self.specs[name][0])


def assemble(
    inputs: Sequence[tuple[Path, str | None]], bands: Mapping[Modality, tuple[str, ...]]
) -> Assembly:
    """Find out what model the files make.

    Args:
        inputs: files, each with its part where the content does not tell (see `layout.recognise`).
        bands: of encoders that take others than the released ones, see `ModelConfig.bands`.

    Raises:
        InputError: a file cannot be used, a part comes twice, or a tensor is missing, misshapen or out of place.
    """
    sources: list[Source] = []
    found: dict[str, Spec] = {}
    where: dict[str, str] = {}
    dates: Tensor | None = None
    for path, part in inputs:
        opened = open_checkpoint(path)
        held = recognise(opened, part)
        if "ctpe" in held.keys:
            if dates is None:
                dates = opened.tensors[held.keys["ctpe"]].clone()
            else:
                held = _without_dates(opened, held, dates, where["ctpe"])
        for name in held.parts:
            if name in where:
                raise InputError(
                    f"holds the {PARTS[name]}, which {where[name]} holds too",
                    str(path),
                    "Leave one of them out",
                )
        where.update(dict.fromkeys(held.parts, str(path)))
        found.update(_specs(opened, held))
        sources.append(Source(path, opened.files, held, opened.notes))
        del opened
    plus_plus = frozenset(part for source in sources if source.held.plus_plus for part in source.held.parts)
    window = next((source.held.window for source in sources if source.held.window is not None), None)
    preset, config = infer_config(
        {name: shape for name, (_, shape) in found.items()}, where, plus_plus, window
    )
    config = replace(config, **{f"{modality}_bands": names for modality, names in bands.items()})  # type: ignore[arg-type]
    with torch.device("meta"):
        model = {name: tuple(tensor.shape) for name, tensor in SkySense(config).state_dict().items()}
    initial = _check_complete(model, found, where)
    without_cls, four_bands = [], []
    for name, (_, shape) in found.items():
        if name.endswith(".pos_embed") and shape == (1, model[name][1] - 1, model[name][2]):
            without_cls.append(name)
        elif name in FOUR_BANDS and _lacks_only_bands(name, shape, model[name]):
            four_bands.append(name)
        elif shape != model[name]:
            raise misshapen(name, shape, model[name], where[name.split(".")[0]])
    specs = {
        name: (found[name][0] if name in found else torch.float32, shape) for name, shape in model.items()
    }
    return Assembly(preset, config, tuple(sources), specs, initial, tuple(without_cls), tuple(four_bands))


def _without_dates(opened: Opened, held: Recognised, dates: Tensor, where: str) -> Recognised:
    """A file that repeats the date encoding of another, which the official extractors leave in each single file."""
    key = held.keys["ctpe"]
    if not torch.equal(opened.tensors[key].float(), dates.float()):
        raise InputError(
            f"holds another date encoding than {where}",
            str(opened.path),
            "Give files of one and the same model",
        )
    again = LeftOut(key, f"the same as in {Path(where).name}")
    keys = {name: own for name, own in held.keys.items() if name != "ctpe"}
    return replace(held, keys=keys, left_out=(*held.left_out, again))


def _lacks_only_bands(name: str, shape: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    """Whether a patch embedding is the released one, and the encoder takes four bands."""
    usual = len(SENSORS["hr" if name.startswith("backbone_gep.") else "s2"].bands)
    return expected[1] == 4 and shape == (expected[0], usual, *expected[2:])


def _specs(opened: Opened, held: Recognised) -> Iterator[tuple[str, Spec]]:
    for name, key in held.keys.items():
        tensor = opened.tensors[key]
        if not tensor.is_floating_point():
            raise InputError(
                f"has {key} of type {str(tensor.dtype).removeprefix('torch.')}, expected numbers with a fraction",
                str(opened.path),
                "Get the plain weights, not quantised ones",
            )
        yield name, (tensor.dtype if tensor.dtype in _KEPT else torch.float32, tuple(tensor.shape))


def _check_complete(
    model: dict[str, tuple[int, ...]], found: dict[str, Spec], where: dict[str, str]
) -> tuple[str, ...]:
    """Every tensor has a place, and every part that is given is whole; returns the tensors that stay initial."""
    for name in found:
        if name not in model:
            raise InputError(
                f"holds {name}, for which this model has no place",
                where[name.split(".")[0]],
                "Choose a released SkySense or SkySense++ file",
            )
    lacking = [name for name in model if name not in found]
    optional = set[str]().union(*(pair for pair in _OPTIONAL if pair <= set(lacking)))
    for name in lacking:
        part = name.split(".")[0]
        if part in where and name not in optional:
            raise missing(name, where[part])
    return tuple(lacking)
