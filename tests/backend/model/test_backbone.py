"""Which backbone a job gets, and how a trained model finds its own again."""

import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from skysense.errors import InputError
from skysense.model import backbone as backbones
from skysense.model import folder as folders
from skysense.model.backbone import backbone_of, default_backbone, open_backbone
from skysense.model.checkpoint.backbonefile import (
    RELEASED,
    BackboneHeader,
    Licence,
    load_weights,
    save_backbone,
)
from skysense.model.folder import built_in_model, models_folder
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
    heads: int | None = None,
) -> Path:
    """A small backbone file."""
    tiny = PRESETS["tiny"]
    config = replace(tiny, hr=replace(tiny.hr, depths=(1, 1, 1, 1)), s2=replace(tiny.s2, layers=1))
    if heads is not None:
        config = replace(config, s2=replace(config.s2, heads=heads))
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


@pytest.fixture
def lent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A place for another built-in model: as the backend has it that is not installed beside one."""
    monkeypatch.setattr(folders, "_ROOT", tmp_path / "site-packages")
    monkeypatch.setenv("SKYSENSE_BUILT_IN", str(tmp_path / "plugin" / "skysense-tiny.safetensors"))
    (tmp_path / "plugin").mkdir()
    default_backbone.cache_clear()
    yield tmp_path / "plugin" / "skysense-tiny.safetensors"
    default_backbone.cache_clear()


def test_no_file_is_the_built_in_model() -> None:
    backbone = open_backbone(None, CPU)
    file = read_header(built_in_model())
    assert backbone is default_backbone(CPU) and not backbone.model.training
    assert backbone.header() == {
        "preset": "tiny",
        "weights": file["backbone"]["weights"],
        "sha256": file["backbone"]["sha256"],
        "note": "",
    }
    assert backbone.licence == Licence(**file["licence"]) and backbone.licence.may_embed
    assert state_sha256(backbone.model) == state_sha256(load_weights(built_in_model()))


def test_the_built_in_model_is_pretrained_for_every_modality() -> None:
    backbone = default_backbone(CPU)
    assert backbone.weights.startswith("pretrained for ")
    for modalities in (("hr",), ("s2",), ("s1",), ("s2", "s1"), ("hr", "s2", "s1")):
        assert backbone.warning_for(modalities) == ""
        # Maps are measured to be better without its HR features.
        assert backbone.useful(modalities) == tuple(m for m in modalities if m != "hr")


def test_the_built_in_model_by_its_path_is_the_built_in_model(tmp_path: Path) -> None:
    (tmp_path / "resources").symlink_to(built_in_model().parent)
    assert open_backbone(tmp_path / "resources" / built_in_model().name, CPU) is default_backbone(CPU)


def test_a_backend_that_lies_elsewhere_takes_the_plugins_file(lent: Path) -> None:
    group = {"part": "backbone_s1", "title": "t", "tensors": [], "random": True, "meaning": "m"}
    make(lent, seed=3, licence=FREE, left_initial=(group,))
    backbone = open_backbone(None, CPU)
    assert (backbone.weights, backbone.path, backbone.licence) == ("test, seed 3", None, FREE)
    assert "not trained for Sentinel-1" in backbone.warning_for(("s1",)) and backbone.useful(("s1",)) == ()
    assert backbone.warning_for(("s2",)) == "" and backbone.useful(("s2",)) == ("s2",)


def test_its_own_file_comes_before_the_plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKYSENSE_BUILT_IN", str(make(tmp_path / "b.safetensors")))
    assert built_in_model().parts[-3:] == ("resources", "models", "skysense-tiny.safetensors")


def test_nothing_stands_in_for_a_built_in_model_that_is_missing_or_damaged(
    lent: Path, tmp_path: Path
) -> None:
    def sentence() -> str:
        with pytest.raises(InputError) as error:
            open_backbone(None, CPU)
        return error.value.sentence

    again = "Install SkySense again: this file is a part of it."
    assert sentence() == f"{lent}: the built-in model does not exist. {again}"
    lent.write_bytes(b"version https://git-lfs.github.com/spec/v1")
    assert sentence().startswith(f"{lent}: the built-in model is not a model file (")
    data = bytearray(make(lent).read_bytes())
    data[-999] ^= 1
    lent.write_bytes(data)
    assert sentence().startswith(f"{lent}: the built-in model has been damaged or changed")
    # Nor for one that a trained model names, or that is asked for by its path.
    save_model(
        tmp_path / "m.safetensors", {"backbone": {"preset": "tiny", "weights": "w", "sha256": "0"}}, {}
    )
    for path in (lent, tmp_path / "m.safetensors"):
        with pytest.raises(InputError, match="the built-in model has been damaged or changed"):
            open_backbone(path, CPU)
    make(lent)
    assert open_backbone(None, CPU).weights == "test, seed 1"


def test_a_model_trained_on_a_copy_of_the_built_in_model_finds_the_built_in_one(tmp_path: Path) -> None:
    copy = tmp_path / "copy.safetensors"
    shutil.copyfile(built_in_model(), copy)
    trained = fine_tuned(tmp_path / "m.safetensors", open_backbone(copy, CPU))
    assert found(trained).path == copy
    copy.unlink()
    assert found(trained) is default_backbone(CPU)


def test_a_backbone_file(tmp_path: Path) -> None:
    path = make(tmp_path / "b.safetensors")
    backbone = open_backbone(path, CPU)
    assert (
        backbone.useful(("hr", "s2", "s1")) == ("hr", "s2", "s1")
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
        "config": backbone.model.config.to_json(),
    }


def test_two_configurations_of_the_same_weights_are_two_backbones(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    one, other = make(tmp_path / "one.safetensors"), make(tmp_path / "work" / "a.safetensors", heads=2)
    twin = make(tmp_path / "twin.safetensors", licence=FREE)
    first, second, third = (open_backbone(path, CPU) for path in (one, other, twin))
    assert first.sha256 == second.sha256 == third.sha256
    assert first.identity == third.identity != second.identity  # the licence changes no feature
    assert second.model.config.s2.heads == 2 != first.model.config.s2.heads
    # A trained model finds its own, and not the other one that lies nearer.
    trained = fine_tuned(tmp_path / "work" / "m.safetensors", first)
    shutil.move(one, tmp_path / "work" / "b.safetensors")
    assert found(trained).path == tmp_path / "work" / "b.safetensors"
    old = tmp_path / "work" / "old.safetensors"  # of a version that recorded the digest alone
    save_model(old, {"backbone": {k: v for k, v in first.header().items() if k != "config"}}, {})
    assert found(old).sha256 == first.sha256


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
    # As it was when the built-in model had random weights.
    entry = {"preset": "tiny", "weights": "random, seed 0", "sha256": "0" * 64, "note": "Random."}
    save_model(tmp_path / "m.safetensors", {"backbone": entry}, {})
    with pytest.raises(InputError, match=r"another backbone \(tiny, random, seed 0\)\. Train it again"):
        found(tmp_path / "m.safetensors")


def test_a_file_that_names_no_backbone(tmp_path: Path) -> None:
    save_model(tmp_path / "m.safetensors", {}, {})
    with pytest.raises(InputError, match="names no backbone"):
        open_backbone(tmp_path / "m.safetensors", CPU)


@pytest.mark.parametrize(
    "kind", ["a.pth", "old.PT", "page.ckpt", "renamed.safetensors", "hub.safetensors", "a.index.json"]
)
def test_a_checkpoint_is_converted_first(tmp_path: Path, kind: str) -> None:
    path = tmp_path / kind
    state = {"ctpe": torch.zeros(1, 365, 8)}
    if kind.startswith("hub"):
        save_file(state, path)
    elif kind.startswith(("page", "a.index")):
        path.write_text('{"weight_map": {}}')
    else:
        torch.save(state, path, _use_new_zipfile_serialization=not kind.startswith("old"))
    out = tmp_path / f"{kind.split('.')[0]}-skysense.safetensors"
    for read in (lambda: open_backbone(path, CPU), lambda: load_model(path)):
        with pytest.raises(InputError) as error:
            read()
        assert f'skysense convert "{path}" "{out}"' in error.value.sentence
        assert "is a checkpoint" in error.value.sentence or kind.startswith("hub")


def test_another_zip_file_is_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "table.xlsx"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("sheet.xml", "<x/>")
    with pytest.raises(InputError, match="is not a model file") as error:
        load_model(path)
    assert "convert" not in error.value.sentence


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
    assert (own.sha256 == backbone.sha256) == (dtype is torch.float32)  # the built-in model's file has halves
    assert (own.warning, own.licence) == (backbone.warning, backbone.licence)
    assert own.useful(("s2",)) == backbone.useful(("s2",)) == ("s2",)
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
def test_the_user_is_told_what_is_not_trained_and_it_is_left_out(
    tmp_path: Path, part: str, modalities: tuple[Any, ...], named: str
) -> None:
    group = {"part": part, "title": "t", "tensors": [], "random": True, "meaning": "m"}
    backbone = open_backbone(make(tmp_path / "b.safetensors", left_initial=(group,)), CPU)
    warning = backbone.warning_for(modalities)
    assert (f"not trained for {named} features" in warning) if named else warning == ""
    spared = {"backbone_gep": {"s2", "s1"}, "fusion": {"hr"}}.get(
        part, set(modalities) - {part.split("_")[-1]}
    )
    assert backbone.useful(modalities) == tuple(m for m in modalities if m in spared)


def test_norms_and_dates_at_their_initial_value_are_no_warning(tmp_path: Path) -> None:
    group = {"part": "backbone_gep", "title": "norms", "tensors": [], "random": False, "meaning": "m"}
    backbone = open_backbone(make(tmp_path / "b.safetensors", left_initial=(group,)), CPU)
    assert backbone.warning_for(("hr", "s2", "s1")) == "" and backbone.useful(("hr", "s2")) == ("hr", "s2")


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
