from dataclasses import replace

import torch
from skysense.model.inputs import Inputs
from skysense.model.presets import PRESETS
from skysense.model.skysense import SkySense
from skysense.pretrain.recompute import recompute_layers

CONFIG = replace(
    PRESETS["tiny"],
    s2=replace(PRESETS["tiny"].s2, drop_path=0.5),
    fusion=replace(PRESETS["tiny"].fusion, drop_path=0.5),
)


def _gradients(recomputed):
    torch.manual_seed(0)
    model = SkySense(CONFIG).train()
    if recomputed:
        recompute_layers(model)
    inputs = Inputs(
        s2=torch.randn(2, 2, 10, 8, 8),
        s1=torch.randn(2, 1, 2, 8, 8),
        s2_valid=torch.rand(2, 2, 8, 8) < 0.9,
        hr=torch.randn(2, 3, 64, 64),
        hr_per_base=8,
    )
    kept = 0

    def count(tensor):
        nonlocal kept
        kept += tensor.numel()
        return tensor

    torch.manual_seed(1)  # drop path draws the same again in the backward pass
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        features = model(inputs)
        loss = features.fused.square().mean() + sum(m.square().mean() for m in features.hr)
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in model.named_parameters()}, kept


def test_gradients_are_the_same_to_the_bit_and_less_is_kept():
    loss, plain, kept = _gradients(False)
    other, recomputed, less = _gradients(True)
    assert torch.equal(loss, other) and less < 0.5 * kept
    for name, gradient in plain.items():
        if gradient is None:
            assert recomputed[name] is None
        else:
            assert torch.equal(gradient, recomputed[name]), name
