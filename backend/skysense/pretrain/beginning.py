"""What a pretraining begins with: fresh weights, or those of a backbone file, with the regions of its imagery."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch

from skysense.model.backbone import open_backbone
from skysense.model.presets import preset
from skysense.model.skysense import SkySense
from skysense.pretrain.config import PretrainConfig
from skysense.pretrain.export import Origin, fresh_names
from skysense.pretrain.objective.geo import with_regions
from skysense.pretrain.scales import begin_with_scales
from skysense.pretrain.seasons import begin_with_seasons


def fresh(
    size: str, places: Iterable[tuple[float, float]], config: PretrainConfig
) -> tuple[SkySense, Origin]:
    """A model of a preset's size with random weights under the run's seed, see `seasons` and `scales`.

    Raises:
        InputError: there is no such preset.
    """
    shape = with_regions(preset(size), places, config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = SkySense(shape)
    if config.structured:
        begin_with_seasons(model, config.seed)
        begin_with_scales(model, config.seed)
    names = fresh_names(model.state_dict())
    return model, Origin(size, f"random, seed {config.seed}", None, names)


def continued(
    path: Path, places: Iterable[tuple[float, float]], config: PretrainConfig
) -> tuple[SkySense, Origin]:
    """The model of a backbone file, with empty prototypes for regions that are new to it.

    A model without geo-context stays without: its features keep their number of channels.

    Raises:
        InputError: the file cannot be used.
    """
    backbone = open_backbone(path, torch.device("cpu"))
    old = backbone.model
    if old.config.geo is None:
        config = replace(config, geo_prototypes=0)
    model = SkySense(with_regions(old.config, places, config))
    names = model.state_dict().keys()
    state = {name: tensor for name, tensor in old.state_dict().items() if name in names}
    if model.geo_context is not None and old.geo_context is not None:
        rows = model.geo_context.region_ids.tolist()
        for region, known in zip(
            old.geo_context.region_ids.tolist(), old.geo_context.prototypes, strict=True
        ):
            model.geo_context.prototypes[rows.index(region)] = known
        state |= {f"geo_context.{name}": tensor for name, tensor in model.geo_context.named_buffers()}
    model.load_state_dict(state)
    initial = frozenset(name for group in backbone.left_initial for name in group["tensors"])
    return model, Origin(backbone.preset, backbone.weights, backbone.licence, initial)
