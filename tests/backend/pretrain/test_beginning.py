import pytest
import torch
from skysense.errors import InputError
from skysense.model.checkpoint.backbonefile import RELEASED
from skysense.model.presets import PRESETS
from skysense.model.regions import region_id
from skysense.pretrain.beginning import continued, fresh
from skysense.pretrain.config import PretrainConfig
from skysense.pretrain.export import Origin, export_backbone, fresh_names

BELGIUM, INDIA, PERU = (4.4, 51.2), (77.2, 28.6), (-71.5, -13.5)


def written(tmp_path, model, initial=frozenset(), licence=None):
    path = tmp_path / "base.safetensors"
    origin = Origin("tiny", "random, seed 1", licence, initial)
    export_backbone(path, model.config, model.state_dict(), origin, [], {"steps": 7}, checked=True)
    return path


def test_fresh_weights_follow_the_seed_and_leave_the_generator_alone():
    state = torch.get_rng_state()
    one, origin = fresh("tiny", [BELGIUM], PretrainConfig(seed=1))
    same, _ = fresh("tiny", [BELGIUM], PretrainConfig(seed=1))
    other, _ = fresh("tiny", [BELGIUM], PretrainConfig(seed=2))
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(one.fusion.porj_linear.weight, other.fusion.porj_linear.weight)
    assert origin == Origin("tiny", "random, seed 1", None, fresh_names(one.state_dict()))
    assert one.config.geo.regions == (region_id(*BELGIUM),)


def test_an_unknown_size_is_refused():
    with pytest.raises(InputError, match="unknown model size"):
        fresh("gigantic", [BELGIUM], PretrainConfig())


def test_going_on_keeps_weights_and_prototypes_and_adds_regions(tmp_path):
    old, _ = fresh("tiny", [BELGIUM, PERU], PretrainConfig(geo_prototypes=3, seed=5))
    old.geo_context.prototypes.normal_()
    path = written(tmp_path, old, frozenset({"fusion.porj_linear.weight"}), RELEASED)
    # The number of prototypes is the file's, whatever the settings say.
    new, origin = continued(path, [INDIA, PERU], PretrainConfig(geo_prototypes=16))
    for name, parameter in old.named_parameters():
        assert torch.equal(parameter, new.get_parameter(name)), name
    regions = new.geo_context.region_ids.tolist()
    assert sorted(regions) == sorted(region_id(*place) for place in (BELGIUM, INDIA, PERU))
    for region, prototypes in zip(
        old.geo_context.region_ids.tolist(), old.geo_context.prototypes, strict=True
    ):
        assert torch.equal(new.geo_context.prototypes[regions.index(region)], prototypes)
    assert not new.geo_context.prototypes[regions.index(region_id(*INDIA))].any()
    assert origin.licence == RELEASED and origin.initial == {"fusion.porj_linear.weight"}
    assert origin.weights == "pretrained for 7 steps from random, seed 1"
    # The file's tensors are not what is trained.
    with torch.no_grad():
        new.ctpe.add_(1.0)
    assert not torch.equal(continued(path, [], PretrainConfig())[0].ctpe, new.ctpe)


def test_a_model_without_geo_context_keeps_its_features(tmp_path):
    old, _ = fresh("tiny", [BELGIUM], PretrainConfig(geo_prototypes=0))
    new, _ = continued(written(tmp_path, old), [BELGIUM], PretrainConfig())
    assert new.geo_context is None and new.config.fused_dim == PRESETS["tiny"].fusion.dim


def test_geo_context_can_be_given_up(tmp_path):
    old, _ = fresh("tiny", [BELGIUM], PretrainConfig())
    new, _ = continued(written(tmp_path, old), [BELGIUM], PretrainConfig(geo_prototypes=0))
    assert new.geo_context is None and torch.equal(new.ctpe, old.ctpe)
