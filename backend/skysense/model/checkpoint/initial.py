"""Values for what no file holds: those a new model begins with, from one seed and part by part."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from skysense.model.config import ModelConfig
from skysense.model.skysense import SkySense

_SEED = 0
_FIELDS = {"backbone_gep": "hr", "backbone_s2": "s2", "backbone_s1": "s1", "fusion": "fusion"}


def initial_values(config: ModelConfig, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
    """Initial values of some tensors of `SkySense(config)`, with at most one part at full depth in memory.

    A value depends on the configuration only, not on which others are asked for.
    """
    wanted = set(names)
    shallow = _seeded(_cut(config, keep=None))
    for name in sorted(wanted & shallow.keys() - _deep(config, wanted)):
        yield name, shallow[name]
    for part in _FIELDS:
        rest = {name for name in _deep(config, wanted) if name.split(".")[0] == part}
        if rest:
            state = _seeded(_cut(config, keep=part))
            for name in sorted(rest):
                yield name, state[name]


def _deep(config: ModelConfig, names: set[str]) -> set[str]:
    """Those of parts of which more is asked for than a model of the least depth has."""
    with torch.device("meta"):
        shallow = SkySense(_cut(config, keep=None)).state_dict().keys()
    parts = {name.split(".")[0] for name in names - shallow}
    return {name for name in names if name.split(".")[0] in parts}


def _cut(config: ModelConfig, keep: str | None) -> ModelConfig:
    """The same dimensions with one layer per part and stage, but for the part to keep."""
    parts = {
        "hr": replace(config.hr, depths=(1, 1, 1, 1)),
        "s2": replace(config.s2, layers=1),
        "s1": replace(config.s1, layers=1),
        "fusion": replace(config.fusion, layers=1),
    }
    if keep is not None:
        del parts[_FIELDS[keep]]
    return replace(config, **parts)  # type: ignore[arg-type]


def _seeded(config: ModelConfig) -> dict[str, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        return SkySense(config).state_dict()
