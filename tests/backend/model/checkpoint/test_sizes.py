"""Configurations read off shapes."""

from dataclasses import replace

import pytest
import torch
from skysense.errors import InputError
from skysense.model.checkpoint.sizes import fewer_layers, infer_config
from skysense.model.config import ModelConfig
from skysense.model.presets import PRESETS
from skysense.model.skysense import SkySense

Shapes = dict[str, tuple[int, ...]]
NOWHERE = frozenset[str]()


def shapes_of(config: ModelConfig, *parts: str) -> tuple[Shapes, dict[str, str]]:
    """Shapes of a model's parts (all without names), and the file of each."""
    with torch.device("meta"):
        state = SkySense(config).state_dict()
    shapes = {k: tuple(x.shape) for k, x in state.items() if not parts or k.split(".")[0] in parts}
    return shapes, {key.split(".")[0]: "a.pth" for key in shapes}


@pytest.mark.parametrize("name", PRESETS)
def test_presets_whole_and_by_part(name: str) -> None:
    config = PRESETS[name]
    assert infer_config(*shapes_of(config), NOWHERE, None) == (name, config)
    for part in ("backbone_gep", "backbone_s2", "backbone_s1", "head_s2", "head_s1", "fusion", "ctpe"):
        assert infer_config(*shapes_of(config, part), NOWHERE, None) == (name, config)


@pytest.mark.parametrize("name", PRESETS)
def test_other_depths_are_custom(name: str) -> None:
    config = PRESETS[name]
    config = replace(
        config,
        hr=replace(config.hr, depths=(1, 3, 2, 7), drop_path=0.0),
        s2=replace(config.s2, layers=3, drop_path=0.0),
        s1=replace(config.s1, layers=2, drop_path=0.0),
        fusion=replace(config.fusion, layers=5, drop_path=0.0),
    )
    assert infer_config(*shapes_of(config), NOWHERE, None) == ("custom", config)


def test_other_extra_norms_are_seen() -> None:
    tiny = PRESETS["tiny"]
    config = replace(tiny, hr=replace(tiny.hr, depths=(2, 2, 9, 2), extra_norm_every=3))
    assert infer_config(*shapes_of(config), NOWHERE, None) == ("custom", config)


@pytest.mark.parametrize("cls", [0, 1])
def test_the_grid_of_the_positions_is_kept(cls: int) -> None:
    shapes, where = shapes_of(PRESETS["huge"])
    shapes["backbone_s1.pos_embed"] = (1, 16 + cls, 1024)
    huge = PRESETS["huge"]
    expected = replace(huge, s1=replace(huge.s1, img_size=16))
    assert infer_config(shapes, where, NOWHERE, None) == ("huge", expected)


def test_parts_that_are_not_given_are_sized_to_fit() -> None:
    small = PRESETS["small"]
    cut = replace(small, s1=replace(small.s1, layers=2))
    assert infer_config(*shapes_of(cut, "backbone_s1"), NOWHERE, None) == ("custom", cut)
    shapes, where = shapes_of(PRESETS["base"], "head_s2")
    more, there = shapes_of(PRESETS["tiny"], "backbone_s1")
    name, config = infer_config({**shapes, **more}, {**where, **there}, NOWHERE, None)
    assert (
        name == "custom" and config.token_dim == PRESETS["base"].token_dim and config.s1 == PRESETS["tiny"].s1
    )


def test_heads_that_cannot_be_told_are_not_guessed() -> None:
    tiny = PRESETS["tiny"]
    odd = replace(tiny, s2=replace(tiny.s2, dim=64, heads=2))
    with pytest.raises(InputError, match="64 channels, and its number of heads cannot be told"):
        infer_config(*shapes_of(odd), NOWHERE, None)


def test_a_preset_with_a_layer_less_is_told() -> None:
    huge = PRESETS["huge"]
    assert fewer_layers(huge) == "" and fewer_layers(PRESETS["tiny"]) == ""
    told = fewer_layers(replace(huge, fusion=replace(huge.fusion, layers=23)))
    assert told.startswith("Fewer layers than huge has:") and "23 instead of 24. Check" in told
    assert fewer_layers(replace(huge, fusion=replace(huge.fusion, dim=96, layers=2))) == ""
