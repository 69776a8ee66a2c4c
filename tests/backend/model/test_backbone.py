"""Which backbone a job gets, and how a trained model finds its own again."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from skysense.errors import InputError
from skysense.model import backbone as backbones
from skysense.model.backbone import backbone_of, default_backbone, open_backbone
from skysense.model.checkpoint.backbonefile import (
    RELEASED,
    BackboneHeader,
    Licence,
    load_weights,
    save_backbone,
)
from skysense.model.folder import models_folder
from skysense.model.modelfile import BACKBONE, load_model, read_header, save_model, save_standalone
from skysense.model.presets import PRESETS, state_sha256
from skysense.model.skysense import SkySense

CPU = torch.device("cpu")
FREE = Licence("CC0-1.0", "Anything goes.", may_embed=True)


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The user's model folder, and nothing loaded before."""
    backbones._loaded.clear()
    monkeypatch.setenv("SKYSENSE_MODELS", str(tmp_path / "models"))
    yield tmp_path / "models"
    backbones._loaded.clear()


def make(
    path: Path,
    seed: int = 1,
    licence: Licence = RELEASED,
    left_initial: tuple[Any, ...] = (),
    dtype: torch.dtype = torch.float32,
) -> Path:
    """A small backbone file."""
    tiny = PRESETS["tiny"]
    config = replace(tiny, hr=replace(tiny.hr, depths=(1, 1, 1, 1)), s2=replace(tiny.s2, layers=1))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        state = {
            k: x.to(dtype) if x.is_floating_point() else x for k, x in SkySense(config).state_dict().items()
        }
    header = BackboneHeader("custom", config, f"test, seed {seed}", licence, left_initial)
    save_backbone(path, header, {k: (x.dtype, tuple(x.shape)) for k, x in state.items()}, state.items())
    return path


def fine_tuned(path: Path, backbone: backbones.Backbone) -> Path:
    """A file as fine-tuning writes it."""
    save_model(path, {"backbone": backbone.header()}, {"head.weight": torch.ones(2)})
    return path


def found(path: Path) -> backbones.Backbone:
    return backbone_of(read_header(path), path, CPU)


def test_no_file_is_the_built_in_model() -> None:
    backbone = open_backbone(None, CPU)
    assert (
        backbone is default_backbone(CPU)
        and backbone.prior_for(("s2",)) == 0.3
        and "random weights" in backbone.warning
    )
    assert backbone.header() == {
        "preset": "tiny",
        "weights": "random, seed 0",
        "sha256": state_sha256(backbone.model),
        "note": backbone.warning,
    }
    assert backbone.warning_for(("s2",)) == backbone.warning


def test_a_backbone_file(tmp_path: Path) -> None:
    path = make(tmp_path / "b.safetensors")
    backbone = open_backbone(path, CPU)
    assert (
        backbone.prior_for(("hr", "s2", "s1")) == 1.0
        and backbone.warning == ""
        and backbone.sha256 == state_sha256(backbone.model)
    )
    assert backbone.header() == {
        "preset": "custom",
        "weights": "test, seed 1",
        "sha256": backbone.sha256,
        "note": "",
        "path": str(path),
        "licence": "non-commercial research only",
    }


def test_one_backbone_stays_loaded(tmp_path: Path) -> None:
    one, copy, other = (
        make(tmp_path / f"{n}.safetensors", seed=s) for n, s in (("a", 1), ("b", 1), ("c", 2))
    )
    first = open_backbone(one, CPU)
    again = open_backbone(copy, CPU)
    assert again.model is first.model and again.header()["path"] == str(copy)
    assert open_backbone(other, CPU).model is not first.model
    assert len(backbones._loaded) == 1 and open_backbone(one, CPU).model is not first.model


def test_a_trained_model_stands_for_its_backbone(tmp_path: Path) -> None:
    path = make(tmp_path / "b.safetensors")
    trained = fine_tuned(tmp_path / "m.safetensors", open_backbone(path, CPU))
    assert open_backbone(trained, CPU).header() == open_backbone(path, CPU).header()
    built_in = fine_tuned(tmp_path / "t.safetensors", default_backbone(CPU))
    assert open_backbone(built_in, CPU) is default_backbone(CPU)


def test_a_backbone_is_found_where_it_was_beside_the_model_or_in_the_users_folder(
    tmp_path: Path, own_folder: Path
) -> None:
    path = make(tmp_path / "b.safetensors")
    (tmp_path / "work").mkdir()
    own_folder.mkdir()
    model = fine_tuned(tmp_path / "work" / "m.safetensors", open_backbone(path, CPU))
    assert found(model).path == path
    for folder in (tmp_path / "work", own_folder):
        make(folder / "another.safetensors", seed=5)
        (folder / "broken.safetensors").write_bytes(b"broken")
        save_model(folder / "cut.safetensors", {"kind": "backbone"}, {})
        save_model(folder / "list.safetensors", {"backbone": ["tiny"]}, {})
        moved = path.rename(folder / "renamed.safetensors")
        assert found(model).path == moved
        path = moved
    path.unlink()
    with pytest.raises(InputError) as error:
        found(model)
    sentence = error.value.sentence
    assert "m.safetensors: needs its backbone (custom, test, seed 1; SHA-256" in sentence
    assert str(tmp_path / "b.safetensors") in sentence and "SKYSENSE_MODELS" in sentence


def test_another_file_at_the_recorded_path_is_not_used(tmp_path: Path) -> None:
    path = make(tmp_path / "b.safetensors")
    model = fine_tuned(tmp_path / "m.safetensors", open_backbone(path, CPU))
    make(path, seed=9)
    with pytest.raises(InputError, match="needs its backbone"):
        found(model)


def test_a_file_that_only_claims_the_digest_is_not_used(tmp_path: Path) -> None:
    path = make(tmp_path / "b.safetensors")
    model = fine_tuned(tmp_path / "m.safetensors", open_backbone(path, CPU))
    data = bytearray(path.read_bytes())
    data[-999] ^= 1
    path.write_bytes(data)
    backbones._loaded.clear()
    with pytest.raises(InputError, match=r"b\.safetensors: has been damaged or changed"):
        found(model)


def test_a_model_of_an_older_built_in_backbone(tmp_path: Path) -> None:
    header = {"backbone": {**default_backbone(CPU).header(), "sha256": "0" * 64}}
    save_model(tmp_path / "m.safetensors", header, {})
    with pytest.raises(InputError, match=r"another backbone \(tiny, random, seed 0\)"):
        found(tmp_path / "m.safetensors")


def test_a_file_that_names_no_backbone(tmp_path: Path) -> None:
    save_model(tmp_path / "m.safetensors", {}, {})
    with pytest.raises(InputError, match="names no backbone"):
        open_backbone(tmp_path / "m.safetensors", CPU)


@pytest.mark.parametrize("dtype", [None, torch.float32, torch.float16])
def test_a_standalone_file_holds_its_backbone(tmp_path: Path, dtype: torch.dtype | None) -> None:
    path = make(tmp_path / "b.safetensors", licence=FREE, dtype=dtype or torch.float32)
    backbone = open_backbone(path, CPU) if dtype else default_backbone(CPU)
    trained = {"head.weight": torch.ones(2)}
    out = tmp_path / "m.safetensors"
    save_standalone(out, {"backbone": backbone.embedded_header()}, trained, backbone.model.state_dict())
    path.unlink()
    backbones._loaded.clear()
    own = found(out)
    # The file holds the tensors as they are computed with: in float32, whatever the backbone file had.
    assert own.sha256 == state_sha256(backbone.model) == state_sha256(load_weights(out))
    assert (own.sha256 == backbone.sha256) == (dtype is not torch.float16)
    assert (own.warning, own.licence) == (backbone.warning, backbone.licence)
    assert own.prior_for(("s2",)) == backbone.prior_for(("s2",)) == (1.0 if dtype else 0.3)
    file = load_model(out)
    assert file.tensors.keys() == trained.keys() and not any(
        name.startswith(BACKBONE) for name in file.tensors
    )
    # A model trained on it is found again, too: in the standalone file.
    assert found(fine_tuned(tmp_path / "n.safetensors", own)).sha256 == own.sha256


def test_the_released_weights_are_not_passed_on(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="non-commercial research only"):
        open_backbone(make(tmp_path / "b.safetensors"), CPU).embedded_header()


@pytest.mark.parametrize(
    ("part", "modalities", "named"),
    [
        ("backbone_s1", ("s2", "s1"), "Sentinel-1"),
        ("backbone_s1", ("s2",), ""),
        ("head_s2", ("hr", "s2"), "Sentinel-2"),
        ("backbone_gep", ("hr",), "High resolution"),
        ("backbone_gep", ("s2", "s1"), ""),
        ("fusion", ("hr",), ""),
        ("fusion", ("s1",), "fused"),
    ],
)
def test_the_user_is_told_what_is_not_trained_and_it_is_trusted_less(
    tmp_path: Path, part: str, modalities: tuple[Any, ...], named: str
) -> None:
    group = {"part": part, "title": "t", "tensors": [], "random": True, "meaning": "m"}
    backbone = open_backbone(make(tmp_path / "b.safetensors", left_initial=(group,)), CPU)
    warning = backbone.warning_for(modalities)
    assert (f"not trained for {named} features" in warning) if named else warning == ""
    assert backbone.prior_for(modalities) == (0.3 if named else 1.0)


def test_norms_and_dates_at_their_initial_value_are_no_warning(tmp_path: Path) -> None:
    group = {"part": "backbone_gep", "title": "norms", "tensors": [], "random": False, "meaning": "m"}
    backbone = open_backbone(make(tmp_path / "b.safetensors", left_initial=(group,)), CPU)
    assert backbone.warning_for(("hr", "s2", "s1")) == "" and backbone.prior_for(("hr", "s2", "s1")) == 1.0


def test_the_users_model_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SKYSENSE_MODELS", str(tmp_path))
    assert models_folder() == tmp_path
    monkeypatch.delenv("SKYSENSE_MODELS")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr("sys.platform", "linux")
    assert models_folder() == tmp_path / "data" / "skysense" / "models"
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert models_folder() == tmp_path / "local" / "skysense" / "models"
