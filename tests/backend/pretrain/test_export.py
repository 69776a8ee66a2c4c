from dataclasses import replace

import pytest
import torch
from skysense.model.backbone import open_backbone
from skysense.model.checkpoint.backbonefile import RELEASED
from skysense.model.config import GeoConfig
from skysense.model.info import describe_model
from skysense.model.modelfile import read_header
from skysense.model.presets import PRESETS
from skysense.model.skysense import SkySense
from skysense.pretrain.export import Origin, export_backbone, fresh_names

CARD = {"steps": 7, "scenes": 2, "settings": {"lr": 0.1}}


@pytest.fixture
def model():
    torch.manual_seed(1)
    return SkySense(replace(PRESETS["tiny"], geo=GeoConfig(2, (5, 60000)))).eval()


def _origin(model, licence=None):
    return Origin("tiny", "random, seed 0", licence, fresh_names(model.state_dict()))


def test_it_is_a_backbone_that_jobs_can_use(tmp_path, model):
    path = tmp_path / "m.safetensors"
    digest = export_backbone(
        path, model.config, model.state_dict(), _origin(model), ("hr", "s2", "s1"), CARD, checked=True
    )
    found = open_backbone(path, torch.device("cpu"))
    assert found.sha256 == digest and found.warning == "" and found.licence.name == "GPL-2.0-or-later"
    assert found.weights == "pretrained for 7 steps from random, seed 0"
    assert found.model.config == model.config
    for name, tensor in model.state_dict().items():
        assert torch.equal(found.model.state_dict()[name], tensor), name
    assert read_header(path)["source"]["training"] == CARD
    assert found.warning_for(("hr", "s2", "s1")) == ""


def test_as_halves_it_is_half_as_large(tmp_path, model):
    sizes = []
    for half in (False, True):
        path = tmp_path / f"{half}.safetensors"
        export_backbone(
            path, model.config, model.state_dict(), _origin(model), ("s2",), CARD, checked=True, half=half
        )
        sizes.append(path.stat().st_size)
    assert 0.5 < sizes[1] / sizes[0] < 0.51
    back = open_backbone(path, torch.device("cpu")).model.state_dict()
    assert back["geo_context.region_ids"].tolist() == [5, 60000]
    torch.testing.assert_close(
        back["fusion.cls_token"], model.fusion.cls_token.detach(), rtol=1e-3, atol=1e-6
    )


def test_what_no_imagery_trained_is_told(tmp_path, model):
    path = tmp_path / "m.safetensors"
    export_backbone(path, model.config, model.state_dict(), _origin(model), ("s2",), CARD, checked=True)
    found = open_backbone(path, torch.device("cpu"))
    assert found.warning_for(("s2",)) == ""
    assert "Sentinel-1" in found.warning_for(("s2", "s1"))
    assert len(describe_model(str(path))["untrained"]) == 3  # HR encoder, Sentinel-1's encoder and its head


@pytest.mark.parametrize(
    ("licence", "checked", "name"),
    [(RELEASED, True, "non-commercial research only"), (None, False, "as its imagery")],
)
def test_the_licence_is_that_of_what_it_was_made_from(tmp_path, model, licence, checked, name):
    path = tmp_path / "m.safetensors"
    export_backbone(
        path, model.config, model.state_dict(), _origin(model, licence), ("s2",), CARD, checked=checked
    )
    assert open_backbone(path, torch.device("cpu")).licence.name == name
