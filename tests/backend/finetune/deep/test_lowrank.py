"""LoRA: nothing at first, then a low-rank update that gives the same merged and beside the weights."""

import pytest
import torch
from skysense.errors import InputError
from skysense.finetune.deep.lowrank import ALPHA, RANK, linear_weights
from skysense.finetune.deep.weights import adapted, entry_of, prepare, trained_parts
from skysense.model.backbone import Backbone
from skysense.model.checkpoint.backbonefile import Licence
from skysense.model.inputs import Inputs
from skysense.model.presets import seeded_model, state_sha256

SERIES = ("s2", "s1")


@pytest.fixture(scope="module")
def base():
    return seeded_model("tiny", 3)


@pytest.fixture(scope="module")
def inputs():
    random = torch.Generator().manual_seed(0)
    return Inputs(
        s2=torch.randn(1, 3, 10, 16, 16, generator=random),
        s1=torch.randn(1, 2, 2, 16, 16, generator=random),
    )


def backbone(model):
    return Backbone(
        model, "tiny", "of a test", state_sha256(model), "", Licence("free", "", True), weak=("hr",)
    )


def stirred(trained):
    """Every trained weight away from where it began."""
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in trained.parameters.values():
            p += 0.02 * torch.randn(p.shape, generator=random)
    return trained


@torch.no_grad()
def fused(model, inputs):
    return model(inputs).fused


def test_before_the_first_step_it_is_the_base_model_exactly(base, inputs):
    trained = prepare("lora", base, SERIES, 0)
    assert torch.equal(fused(trained.model.eval(), inputs), fused(base, inputs))
    merged = adapted(backbone(base), header("lora"), trained.tensors(), "m")
    assert torch.equal(fused(merged.model, inputs), fused(base, inputs))


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_what_a_file_keeps_gives_the_trained_model_and_leaves_the_base_alone(base, inputs, mode):
    before = state_sha256(base)
    trained = stirred(prepare(mode, base, SERIES, 0))
    beside = fused(trained.model.eval(), inputs)
    assert (beside - fused(base, inputs)).abs().max() > 0.01
    own = adapted(backbone(base), header(mode), trained.tensors(), "m")
    torch.testing.assert_close(fused(own.model, inputs), beside, rtol=0, atol=1e-5)
    assert state_sha256(base) == before == own.header()["sha256"] != own.sha256
    assert own.weak == () and own.sha256 == state_sha256(own.model)


def test_the_update_is_of_low_rank_and_scaled(base):
    trained = stirred(prepare("lora", base, SERIES, 0))
    name = "fusion.layers.0.attn.attn.in_proj_weight"
    own = adapted(backbone(base), header("lora"), trained.tensors(), "m").model.state_dict()
    change = own[name] - base.state_dict()[name]
    assert torch.linalg.matrix_rank(change, atol=1e-4) == RANK
    update = trained.updates[name]
    torch.testing.assert_close(change, ALPHA / RANK * update.up @ update.down, rtol=0, atol=1e-6)


def test_only_the_encoders_that_are_used_learn(base):
    def learning(mode, modalities):
        return {name.partition(".")[0] for name in prepare(mode, base, modalities, 0).parameters}

    assert learning("lora", ("s2",)) == {"backbone_s2", "fusion"}
    assert learning("full", ("s2",)) == {"backbone_s2", "head_s2", "fusion", "ctpe"}
    assert learning("full", ("hr",)) == learning("lora", ("hr",)) == {"backbone_gep"}
    names = [name for name, _, _ in linear_weights(base, trained_parts(("hr", *SERIES)))]
    assert (
        "fusion.porj_linear.weight" in names
        and "backbone_gep.stages.0.blocks.0.attn.w_msa.qkv.weight" in names
    )
    assert not any("cpb_mlp" in name for name in names)


def test_tensors_of_another_backbone_are_refused(base):
    tensors = prepare("lora", base, SERIES, 0).tensors()
    other = backbone(seeded_model("small"))
    with pytest.raises(InputError, match="does not fit its backbone"):
        adapted(other, header("lora"), tensors, "m")
    with pytest.raises(InputError, match="does not fit its backbone"):
        adapted(backbone(base), header("full"), tensors, "m")


def test_a_file_without_an_adaptation_keeps_the_shared_backbone(base):
    shared = backbone(base)
    assert adapted(shared, {"backbone": {}}, {}, "m") is shared
    assert adapted(shared, {**header("lora"), "backbone": {"embedded": True}}, {}, "m") is shared


def header(mode):
    return {"backbone": {}, "adaptation": entry_of(mode)}
