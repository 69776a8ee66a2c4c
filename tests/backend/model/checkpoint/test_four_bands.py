"""Encoders of four bands: what conversion makes of the released ones, and what they are then given."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from released_files import QUIET, part_of, save
from skysense.cli import main
from skysense.errors import InputError
from skysense.model.bands import model_bands
from skysense.model.checkpoint.backbonefile import load_weights
from skysense.model.checkpoint.convert import convert
from skysense.model.config import ModelConfig
from skysense.model.inputs import Inputs
from skysense.model.modelfile import read_header
from skysense.model.presets import PRESETS
from skysense.model.skysense import SkySense
from skysense.scene.sensors import SENSORS

HR, S2 = ("R", "G", "B", "NIR"), ("B2", "B3", "B4", "B8")
PATCH = "backbone_{}.patch_embed.projection.weight"


def test_both_encoders(trained: SkySense, combined_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "b.safetensors"
    bands = {"hr": ("red", "Green", "b", "nir"), "s2": ("B08", "B2", "B03", "B4")}  # as people write them
    result = convert([(combined_file, None)], out, QUIET, bands)
    model, before = load_weights(out), trained.state_dict()
    assert (model.config.hr_bands, model.config.s2_bands) == (HR, S2)
    state = model.state_dict()
    hr, s2 = state.pop(PATCH.format("gep")), state.pop(PATCH.format("s2"))
    old_hr, old_s2 = before[PATCH.format("gep")], before[PATCH.format("s2")]
    assert torch.equal(hr[:, :3], old_hr) and torch.equal(hr[:, 3], old_hr[:, 0])
    assert torch.equal(s2, old_s2[:, [0, 1, 2, 6]] * 2.5)
    assert all(torch.equal(tensor, before[name]) for name, tensor in state.items())
    told = [note for note in result["notes"] if "made for" in note]
    assert len(told) == 2 and "R, G, B, NIR (NIR begins as red)" in told[0] and "B2, B3, B4, B8" in told[1]


def test_nothing_is_said_of_the_usual_bands(combined_file: Path, tmp_path: Path) -> None:
    convert([(combined_file, None)], tmp_path / "b.safetensors", QUIET)
    assert not any("bands" in name for name in read_header(tmp_path / "b.safetensors")["backbone"]["config"])
    convert([(combined_file, None)], tmp_path / "b.safetensors", QUIET, {"s2": S2})
    config = read_header(tmp_path / "b.safetensors")["backbone"]["config"]
    assert config["s2_bands"] == list(S2) and "hr_bands" not in config
    assert ModelConfig.from_json(config).s2_bands == S2
    with pytest.raises(ValueError, match="no s2 encoder"):
        ModelConfig.from_json({**config, "s2_bands": ["B2"]})


def test_a_file_of_four_bands_is_taken_as_it_is(trained: SkySense, tmp_path: Path) -> None:
    state = part_of(trained.state_dict(), "backbone_s2")
    state["patch_embed.projection.weight"] = state["patch_embed.projection.weight"][:, :4] * 3
    path = save(state, tmp_path / "s2.pth")
    result = convert([(path, None)], tmp_path / "b.safetensors", QUIET, {"s2": S2, "hr": HR})
    loaded = load_weights(tmp_path / "b.safetensors")
    assert torch.equal(loaded.state_dict()[PATCH.format("s2")], state["patch_embed.projection.weight"])
    assert loaded.state_dict()[PATCH.format("gep")].shape[1] == 4  # of an HR encoder that no file holds
    assert not any("made for" in note for note in result["notes"])


@pytest.mark.parametrize(
    "bands",
    [
        {"hr": ("R", "G")},
        {"s2": ("B2", "B3", "B4", "B5")},
        {"s1": ("VV", "VH")},
        {"x": ("R",)},
        {"hr": ("R", "G", "B", "NIR", "NIR")},
    ],
)
def test_other_bands_are_refused(combined_file: Path, tmp_path: Path, bands: dict) -> None:
    with pytest.raises(InputError, match=r"no encoder takes the bands .* Use hr=R,G,B,NIR or s2=B2,B3,B4,B8"):
        convert([(combined_file, None)], tmp_path / "b.safetensors", QUIET, bands)
    assert not (tmp_path / "b.safetensors").exists()


def test_bands_are_said_once(combined_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bands = [argument for _ in range(2) for argument in ("--bands", "hr=R,G,B,NIR")]
    assert main(["convert", str(combined_file), str(tmp_path / "b.safetensors"), *bands]) == 2
    assert "--bands hr is given twice" in capsys.readouterr().err


def test_another_number_of_bands_is_still_misshapen(trained: SkySense, tmp_path: Path) -> None:
    state = trained.state_dict() | {PATCH.format("gep"): torch.zeros(32, 5, 4, 4)}
    with pytest.raises(InputError, match=r"of shape \(32, 5, 4, 4\), expected \(32, 4, 4, 4\)"):
        convert([(save(state, tmp_path / "a.pth"), None)], tmp_path / "b.safetensors", QUIET, {"hr": HR})


def test_the_commands(combined_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "b.safetensors")
    bands = ["--bands", "hr=R,G,B,NIR", "--bands", "s2=B2,B3,B4,B8"]
    assert main(["convert", str(combined_file), out, *bands]) == 0
    assert "NIR begins as red" in capsys.readouterr().out
    assert main(["info", out, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bands"] == {
        "hr": list(HR),
        "s2": list(S2),
        "s1": ["VV", "VH"],
    }
    assert main(["info", out]) == 0 and "NIR" in capsys.readouterr().out
    for wrong in ("hr", "hr=", "nir=R"):
        assert main(["convert", str(combined_file), out, "--bands", wrong]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_what_an_encoder_is_given() -> None:
    rng = np.random.default_rng(0)
    hr = torch.from_numpy(rng.random((2, 4, 3, 3), np.float32))
    present = np.array([[True] * 4, [True, True, True, False]])
    mean, std = (torch.tensor(x)[:, None, None] for x in (SENSORS["hr"].mean, SENSORS["hr"].std))
    given = model_bands(hr, present, "hr", HR)
    assert torch.allclose(given[:, :3], (hr[:, :3] - mean) / std, atol=1e-6)
    assert torch.allclose(given[0, 3], (hr[0, 3] - mean[0]) / std[0], atol=1e-6) and not given[1, 3].any()
    assert torch.equal(model_bands(hr, present, "hr", HR[:3]), given[:, :3])
    no_nir = model_bands(hr[:, :3], present[:, :3], "hr", HR)
    assert torch.equal(no_nir[:, :3], given[:, :3]) and not no_nir[:, 3].any()
    s2 = torch.from_numpy(rng.random((2, 10, 3, 3), np.float32)) * 4000
    there = np.ones((2, 10), bool)
    there[1, 6] = False  # B8 is told from the others, B8A for one
    whole = model_bands(s2, there, "s2", SENSORS["s2"].bands)
    assert torch.equal(model_bands(s2, there, "s2", S2), whole[:, [0, 1, 2, 6]]) and whole[1, 6].any()


def test_a_grey_world_gives_the_same_tokens_with_four_bands_as_with_ten(tmp_path: Path) -> None:
    """10 / 4 keeps the strength of what the patch embedding gives."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = SkySense(PRESETS["tiny"]).eval()
    with torch.no_grad():
        model.backbone_s2.patch_embed.projection.weight[:] = torch.randn(160, 1, 4, 4)
    path = save(model.state_dict(), tmp_path / "a.pth")
    convert([(path, None)], tmp_path / "b.safetensors", QUIET, {"s2": S2})
    four, image = load_weights(tmp_path / "b.safetensors"), torch.rand(1, 2, 1, 16, 16)
    with torch.inference_mode():
        one = model(Inputs(s2=image.expand(-1, -1, 10, -1, -1))).fused
        two = four(Inputs(s2=image.expand(-1, -1, 4, -1, -1))).fused
    assert one is not None and two is not None and torch.allclose(one, two, atol=1e-4)
