from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from skysense.errors import InputError
from skysense.hub.own_files import convert_weights, inspect_weights
from skysense.jobs.control import JobControl
from skysense.model.backbone import open_backbone
from skysense.model.modelfile import save_model
from skysense.model.presets import seeded_model

QUIET = JobControl(lambda event: None)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("own") / "released.pth"
    torch.save({"model": seeded_model("tiny", 1).state_dict()}, path)
    return path


def test_a_checkpoint_becomes_a_backbone_that_is_used_as_it_is(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("SKYSENSE_MODELS", str(tmp_path / "models"))
    assert inspect_weights([checkpoint]) == {"kind": "checkpoint"}
    out = Path(convert_weights([checkpoint], QUIET)["out"])
    assert out.parent == tmp_path / "models" and out.name.startswith("released-")
    assert inspect_weights([out]) == {"kind": "backbone"}
    assert convert_weights([checkpoint], QUIET)["out"] == str(out)


def test_files_of_one_name_from_two_places_do_not_meet(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("SKYSENSE_MODELS", str(tmp_path / "models"))
    other = tmp_path / checkpoint.name
    other.write_bytes(checkpoint.read_bytes())
    assert convert_weights([checkpoint], QUIET)["out"] != convert_weights([other], QUIET)["out"]


def test_other_bands_are_another_file(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("SKYSENSE_MODELS", str(tmp_path / "models"))
    usual = convert_weights([checkpoint], QUIET)
    four = convert_weights([checkpoint], QUIET, {"hr": ["R", "G", "B", "NIR"]})
    assert four["out"] != usual["out"] == convert_weights([checkpoint], QUIET, {})["out"]
    assert open_backbone(Path(four["out"]), torch.device("cpu")).model.config.hr_bands[3] == "NIR"
    with pytest.raises(InputError, match="no encoder takes the bands"):
        convert_weights([checkpoint], QUIET, {"s2": ["B2"]})


def test_safetensors_that_are_not_ours_are_a_checkpoint(tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    assert inspect_weights([tmp_path / "x.safetensors"]) == {"kind": "checkpoint"}


def test_what_cannot_be_trained_on_is_named(checkpoint, tmp_path):
    trained = tmp_path / "trained.safetensors"
    save_model(trained, {"classes": []}, {"head": torch.zeros(1)})
    with pytest.raises(InputError, match="Choose it as the trained model"):
        inspect_weights([trained])
    (tmp_path / "cut.safetensors").write_bytes(trained.read_bytes()[:20])
    with pytest.raises(InputError, match="is not a safetensors file"):
        inspect_weights([tmp_path / "cut.safetensors"])
    with pytest.raises(InputError, match="does not exist"):
        inspect_weights([checkpoint, tmp_path / "no.pth"])
