"""Learning rates fall layer by layer from the top of the fusion to what sees the pixels, and reach the optimiser."""

from itertools import pairwise

import pytest
import torch
from skysense.finetune.deep.plan import PLANS, layer_scale
from skysense.model.presets import PRESETS, seeded_model
from skysense.pretrain.optimiser import make_optimiser, set_rates
from skysense.pretrain.schedule import rates


@pytest.mark.parametrize("preset", ["tiny", "huge"])
def test_the_rate_falls_by_the_same_factor_with_each_layer(preset):
    config = PRESETS[preset]
    scale = layer_scale(config)
    top, s2 = config.fusion.layers, config.s2.layers
    layers = [scale(f"backbone_s2.layers.{i}.ln1.weight") for i in range(s2)]
    factors = [after / before for before, after in pairwise(layers)]
    assert factors == pytest.approx([10 ** (1 / (s2 + top))] * (s2 - 1))
    for name in ("backbone_s2.pos_embed", "backbone_gep.patch_embed.projection.weight"):
        assert scale(name) == pytest.approx(0.1)
    assert scale(f"fusion.layers.{top - 1}.ffn.layers.1.bias") == 1 == scale("linear.weight")
    assert layers[-1] < scale("fusion.layers.0.ln1.weight") <= 1
    blocks = [scale(f"backbone_gep.stages.{i}.blocks.0.norm1.bias") for i in range(4)]
    assert blocks == sorted(blocks) and len(set(blocks)) == 4
    assert blocks[1] > scale("backbone_gep.stages.1.downsample.norm.weight") >= blocks[0]


def test_every_parameter_is_in_one_group_with_its_share():
    model = seeded_model("tiny")
    optimiser = make_optimiser([model], layer_scale(model.config))
    set_rates(optimiser, rates(20, PLANS["full"].rates))
    peak = PLANS["full"].rates.lr
    held = [p for group in optimiser.param_groups for p in group["params"]]
    assert len(held) == len(set(map(id, held))) == len(list(model.parameters()))
    lr = {id(p): group["lr"] for group in optimiser.param_groups for p in group["params"]}
    expected = layer_scale(model.config)
    now = rates(20, PLANS["full"].rates).lr
    assert 0.5 * peak < now < peak
    for name, p in model.named_parameters():
        assert lr[id(p)] == pytest.approx(now * expected(name))
    decays = {id(p): group["weight_decay"] for group in optimiser.param_groups for p in group["params"]}
    assert decays[id(model.fusion.porj_linear.weight)] > 0 == decays[id(model.fusion.porj_linear.bias)]


@pytest.mark.parametrize("mode", list(PLANS))
def test_looks_end_with_the_training(mode):
    plan = PLANS[mode]
    assert plan.rates.steps % plan.every == 0 and 0 < plan.untold <= plan.rates.steps
    assert (
        torch.tensor([rates(s, plan.rates).lr for s in range(plan.rates.steps)]).argmax()
        <= 0.1 * plan.rates.steps + 1
    )
