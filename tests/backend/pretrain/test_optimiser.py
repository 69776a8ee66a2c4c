import pytest
import torch
from skysense.model.presets import seeded_model
from skysense.pretrain.optimiser import clip, make_optimiser, set_rates
from skysense.pretrain.schedule import Rates
from torch import nn


def test_every_parameter_of_the_model_is_in_one_group_and_values_do_not_decay():
    model = seeded_model("tiny")
    decaying, others = make_optimiser([model]).param_groups
    names = {id(p): name for name, p in model.named_parameters()}
    decays = {names[id(p)] for p in decaying["params"]}
    stays = {names[id(p)] for p in others["params"]}
    assert decays | stays == set(names.values()) and not decays & stays
    assert "backbone_s2.layers.0.attn.attn.in_proj_weight" in decays and "head_s2.decoder.0.weight" in decays
    assert {"ctpe", "backbone_s2.pos_embed", "backbone_s2.cls_token", "fusion.cls_token"} <= stays
    assert "backbone_gep.stages.0.blocks.0.attn.w_msa.logit_scale" in stays
    assert all(model.get_parameter(name).ndim > 1 for name in decays)
    assert all(name in stays for name in names.values() if name.endswith("bias"))


def test_one_step_of_adamw_by_hand():
    layer = nn.Linear(2, 1).double()
    weight, bias = layer.weight.detach().clone(), layer.bias.detach().clone()
    optimiser = make_optimiser([layer])
    set_rates(optimiser, Rates(lr=0.1, weight_decay=0.5, momentum=0.0, teacher_temperature=0.0))
    layer(torch.ones(1, 2, dtype=torch.float64)).sum().backward()
    optimiser.step()
    # Adam's first step is lr * sign(g); decay comes before it: w (1 - lr wd).
    torch.testing.assert_close(layer.weight, weight * (1 - 0.1 * 0.5) - 0.1, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(layer.bias, bias - 0.1, rtol=1e-6, atol=1e-8)


def test_frozen_parameters_are_left_out():
    layer = nn.Linear(2, 1)
    layer.weight.requires_grad_(False)
    assert [len(group["params"]) for group in make_optimiser([layer]).param_groups] == [0, 1]


def test_gradients_are_clipped_by_their_common_norm():
    a, b = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    a.weight.grad, b.weight.grad = torch.tensor([[3.0]]), torch.tensor([[4.0]])
    assert clip([a, b], 1.0) == pytest.approx(5.0)
    assert a.weight.grad.item() == pytest.approx(0.6) and b.weight.grad.item() == pytest.approx(0.8)
    assert clip([a, b], 9.0) == pytest.approx(1.0)
    assert a.weight.grad.item() == pytest.approx(0.6)
