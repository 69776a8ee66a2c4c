"""What a pretraining recipe may set, checked before torch is imported."""

import math
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from skysense.errors import InputError
from skysense.pretrain.config import PretrainConfig

_TYPES: dict[str, type] = {item.name: type(item.default) for item in fields(PretrainConfig)}
#: Settings that make no sense at zero.
_POSITIVE = {
    "steps", "batch", "accumulate", "window", "crop", "hr_window", "hr_crop", "s2_dates", "s1_dates", "save_every",
    "pixels_per_view", "head_hidden", "head_bottleneck", "student_temperature", "teacher_temperature",
    "teacher_temperature_start", "align_temperature", "object_clusters", "sinkhorn_epsilon", "sinkhorn_iterations",
    "clip", "hr_scale",
}  # fmt: skip
#: Shares, chances and momenta.
_UP_TO_ONE = {
    "drop_modality", "drop_place", "drop_date", "hr_scale", "hr_colour_chance", "hr_brightness", "hr_saturation", "hr_grey_chance",
    "hr_solarise_chance", "geo_momentum", "teacher_momentum", "warmup", "area_exponent", "min_valid",
}  # fmt: skip
#: With one output there is nothing to tell apart.
_LEAST = {"head_outputs": 2}
_WORDS = {bool: "true or false", int: "a whole number", float: "a number"}


@dataclass(frozen=True)
class PretrainOptions:
    """Options of the task "pretrain", beside `device`, `seed` and `resume`.

    Attributes:
        preset: the model's size; of no account where the recipe names a `model` to go on from.
        settings: fields of `PretrainConfig` that differ from its defaults.
        sources: a JSON file with the licences under which imagery may be used; None = any.
        leave_out: names of scenes or folders that are not trained on.
        synthetic: how many synthetic landscapes are added.
        probe: labelled scenes on which the frozen features are scored at intervals.
        half: the model file holds float16, half the size.
    """

    preset: str = "tiny"
    settings: dict[str, bool | int | float] = field(default_factory=dict)
    sources: Path | None = None
    leave_out: tuple[str, ...] = ()
    synthetic: int = 0
    probe: tuple[str, ...] = ()
    half: bool = False

    def to_json(self) -> dict[str, Any]:
        """What differs from the defaults; `parse_pretrain_options` gives an equal one back."""
        default = PretrainOptions()
        chosen = {
            name: getattr(self, name) for name in _FIELDS if getattr(self, name) != getattr(default, name)
        }
        return {
            name: list(value)
            if isinstance(value, tuple)
            else str(value)
            if isinstance(value, Path)
            else value
            for name, value in chosen.items()
        }


#: Settings that may stand beside "settings" too.
_SHORT = ("steps", "batch", "workers")
_FIELDS = tuple(item.name for item in fields(PretrainOptions))


def option_names() -> set[str]:
    """The options that `parse_pretrain_options` knows."""
    return set(_FIELDS) | set(_SHORT)


def parse_pretrain_options(data: dict[str, Any], root: Path) -> PretrainOptions:
    """Check the options of a pretraining; relative paths count from `root`.

    Args:
        data: of `option_names` only.

    Raises:
        InputError: naming the option that is wrong.
    """
    settings = data.get("settings") or {}
    if not isinstance(settings, dict):
        raise _wrong('"settings" is not an object', 'Write {"lr": 0.0005, ...}')
    settings = {**settings, **{name: data[name] for name in _SHORT if data.get(name) is not None}}
    preset, sources, half = data.get("preset", "tiny"), data.get("sources"), data.get("half", False)
    if not isinstance(preset, str):
        raise _wrong(f"preset is {preset!r}", "Use tiny, small, base or huge")
    if sources is not None and not isinstance(sources, str):
        raise _wrong(f"sources is {sources!r}", "Give the path of a JSON file")
    if not isinstance(half, bool):
        raise _wrong(f"half is {half!r}", "Use true or false")
    return PretrainOptions(
        preset=preset,
        settings={name: check_setting(name, value) for name, value in settings.items()},
        sources=None if sources is None else root / sources,
        leave_out=_names(data, "leave_out"),
        synthetic=_count(data.get("synthetic", 0), "synthetic"),
        probe=tuple(str(root / path) for path in _names(data, "probe")),
        half=half,
    )


def check_setting(name: str, value: Any) -> bool | int | float:
    """One setting of `PretrainConfig`, in the field's type.

    Raises:
        InputError: no such setting, or a value that it cannot have.
    """
    if name not in _TYPES:
        raise _wrong(f"unknown setting {name!r}", f"Known are {', '.join(sorted(_TYPES))}")
    kind = _TYPES[name]
    fits = isinstance(value, int | float if kind is float else kind) and (
        kind is bool or not isinstance(value, bool)
    )
    if not fits:
        raise _wrong(f"the setting {name} is {value!r}", f"Use {_WORDS[kind]}")
    least, most = _LEAST.get(name, 0), 1 if name in _UP_TO_ONE else math.inf
    if not math.isfinite(value) or not least <= value <= most or (value == 0 and name in _POSITIVE):
        above = "above 0" if name in _POSITIVE else f"from {least}"
        up_to = "" if most == math.inf else f" up to {most}"
        raise _wrong(f"the setting {name} is {value!r}", f"Use {_WORDS[kind]} {above}{up_to}")
    checked: bool | int | float = kind(value)
    return checked


def _names(data: dict[str, Any], option: str) -> tuple[str, ...]:
    names = data.get(option) or []
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise _wrong(f"{option} is {names!r}", 'Write a list: ["...", "..."]')
    return tuple(names)


def _count(value: Any, option: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise _wrong(f"{option} is {value!r}", "Use a whole number, 0 or more")
    return value


def _wrong(what: str, fix: str) -> InputError:
    return InputError(what, "recipe", fix)
