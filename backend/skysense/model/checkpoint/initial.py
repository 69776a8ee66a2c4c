"""Values for what no file holds: those a new model begins with, from one seed and part by part."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from skysense.model.config import ModelConfig
from skysense.model.presets import PRESETS
from skysense.model.skysense import SkySense

_SEED = 0

#: The parts that have layers; the others, and the Swin's output norms, are alike in a model of one layer each.
_DEEP = {"backbone_gep": "hr", "backbone_s2": "s2", "backbone_s1": "s1", "fusion": "fusion"}


def initial_values(config: ModelConfig, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
    """Initial values of some tensors of `SkySense(config)`, with one part at a time in memory.

    A value depends on the configuration only, not on which others are asked for.
    """
    groups: dict[str | None, list[str]] = {}
    for name in names:
        part = name.split(".")[0]
        deep = part in _DEEP and not name.startswith("backbone_gep.norm")
        groups.setdefault(part if deep else None, []).append(name)
    for group, members in groups.items():
        yield from _seeded(_around(config, group), members).items()


def _around(config: ModelConfig, part: str | None) -> ModelConfig:
    """The smallest model that has a part as it is (None: what has no layers)."""
    if part is None:
        return _shallow(config)
    around = replace(_shallow(PRESETS["tiny"]), hr_bands=config.hr_bands, s2_bands=config.s2_bands)
    if part == "fusion":  # its projection takes what the Swin's last stage gives
        around = replace(around, hr=_shallow(config).hr)
    return replace(around, **{_DEEP[part]: getattr(config, _DEEP[part])})  # type: ignore[arg-type]


def _shallow(config: ModelConfig) -> ModelConfig:
    return replace(
        config,
        hr=replace(config.hr, depths=(1, 1, 1, 1)),
        s2=replace(config.s2, layers=1),
        s1=replace(config.s1, layers=1),
        fusion=replace(config.fusion, layers=1),
    )


def _seeded(config: ModelConfig, names: list[str]) -> dict[str, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        state = SkySense(config).state_dict()
    return {name: state[name] for name in names}
