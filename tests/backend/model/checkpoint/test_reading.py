"""Files as training programs write them: numbers of NumPy, no checksums, wrappers, shards and suffixes of every kind."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from released_files import QUIET, part_of, save
from safetensors.torch import save_file
from skysense.errors import InputError
from skysense.model.checkpoint import reading
from skysense.model.checkpoint.backbonefile import load_weights
from skysense.model.checkpoint.convert import convert
from skysense.model.checkpoint.reading import open_checkpoint
from skysense.model.skysense import SkySense
from torch import Tensor

State = dict[str, Tensor]


def same_model(path: Path, trained: SkySense) -> bool:
    """Whether a file's conversion gives the trained model, to the bit."""
    out = path.with_name("converted.safetensors")
    convert([(path, None)], out, QUIET)
    theirs = load_weights(out).state_dict()
    return all(torch.equal(theirs[key], x) for key, x in trained.state_dict().items())


@pytest.mark.parametrize("zipped", [True, False])
def test_numbers_of_numpy_beside_the_weights(tmp_path: Path, zipped: bool) -> None:
    path, weights = tmp_path / "a.pth", {"ctpe": torch.arange(3.0)}
    beside = {"best_metric_value": np.float64(0.5), "step": np.int64(7), "good": np.bool_(True)}
    torch.save({"model": weights, **beside}, path, _use_new_zipfile_serialization=zipped)
    opened = open_checkpoint(path)
    assert opened.other == tuple(beside) and opened.tensors["ctpe"].tolist() == [0, 1, 2]


def test_numbers_under_the_name_of_numpy_1(tmp_path: Path) -> None:
    path, older = tmp_path / "a.pth", tmp_path / "b.pth"
    torch.save({"model": {"ctpe": torch.ones(2)}, "best": np.float32(2)}, path)
    with zipfile.ZipFile(path) as file, zipfile.ZipFile(older, "w") as out:
        for entry in file.infolist():
            content = file.read(entry).replace(b"numpy._core.multiarray\n", b"numpy.core.multiarray\n")
            out.writestr(entry.filename.replace("a/", "b/", 1), content)
    assert open_checkpoint(older).tensors["ctpe"].tolist() == [1, 1]


def test_arrays_of_numpy_are_still_refused(tmp_path: Path) -> None:
    path = save({"model": {"ctpe": torch.ones(2)}, "curve": np.zeros(3)}, tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"needs code to be opened \(numpy\S*\._reconstruct\)"):
        open_checkpoint(path)


@pytest.fixture
def without_checksums(tmp_path: Path) -> Callable[[Any], Path]:
    def make(content: Any) -> Path:
        torch.serialization.set_crc32_options(False)
        try:
            return save(content, tmp_path / "a.pth")
        finally:
            torch.serialization.set_crc32_options(True)

    return make


def test_a_file_without_checksums_is_read_with_a_note(
    without_checksums: Callable[[Any], Path], trained: SkySense, tmp_path: Path
) -> None:
    path = without_checksums(trained.state_dict())
    result = convert([(path, None)], tmp_path / "b.safetensors", QUIET)
    assert "a.pth lacks checksums: whether it is whole cannot be told" in result["notes"]
    assert same_model(path, trained)


def test_a_pickle_without_a_checksum_among_tensors_that_have_one(tmp_path: Path) -> None:
    path = save({"ctpe": torch.arange(50.0)}, tmp_path / "a.pth")
    with zipfile.ZipFile(path) as file:
        crc = next(e.CRC for e in file.infolist() if e.filename == "a/data.pkl").to_bytes(4, "little")
        tensor = next(e.CRC for e in file.infolist() if e.filename == "a/data/0").to_bytes(4, "little")
    whole = path.read_bytes()
    path.write_bytes(whole.replace(crc, bytes(4)))
    assert open_checkpoint(path).notes and open_checkpoint(path).tensors["ctpe"][49] == 49
    path.write_bytes(whole.replace(tensor, bytes(4)))
    with pytest.raises(InputError, match="is damaged at its entry 'a/data/0'"):
        open_checkpoint(path)


def test_checksums_are_compared_once_in_a_conversion(
    combined_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Path] = []
    check = reading._check_entries
    monkeypatch.setattr(reading, "_check_entries", lambda path: seen.append(path) or check(path))
    convert([(combined_file, None)], tmp_path / "b.safetensors", QUIET)
    assert seen == [combined_file]


@pytest.mark.parametrize(
    "prefix", ["module.", "model.", "_orig_mod.", "module._orig_mod.student.", "teacher."]
)
def test_a_prefix_that_all_names_share(prefix: str, tmp_path: Path) -> None:
    state = {f"{prefix}ctpe": torch.ones(2), f"{prefix}fusion.cls_token": torch.zeros(1)}
    opened = open_checkpoint(save({"state_dict": state}, tmp_path / "a.pth"))
    assert list(opened.tensors) == ["ctpe", "fusion.cls_token"]


def test_a_prefix_of_some_names_stays(tmp_path: Path) -> None:
    state = {"module.ctpe": torch.ones(2), "fusion.cls_token": torch.zeros(1)}
    assert list(open_checkpoint(save(state, tmp_path / "a.pth")).tensors) == list(state)


def test_a_wrapped_model_with_the_names_of_flash_attention(trained: SkySense, tmp_path: Path) -> None:
    state = {f"module.{k.replace('.in_proj_', '.Wqkv.')}": x for k, x in trained.state_dict().items()}
    assert any(".attn.attn.Wqkv.bias" in key for key in state)
    nested = {"state_dict": {"model": state, "epoch": 3}, "meta": 1}
    assert same_model(save(nested, tmp_path / "a.pth"), trained)
    save_file(state, tmp_path / "a.safetensors")
    assert same_model(tmp_path / "a.safetensors", trained)


def test_a_name_that_comes_in_both_spellings(tmp_path: Path) -> None:
    state = {f"layers.0.attn.attn.{name}": torch.ones(2) for name in ("Wqkv.bias", "in_proj_bias")}
    with pytest.raises(InputError, match=r"holds layers\.0\.attn\.attn\.in_proj_bias twice"):
        open_checkpoint(save(state, tmp_path / "a.pth"))


def test_what_lies_beside_nested_weights_is_told(tmp_path: Path) -> None:
    nested = {"state_dict": {"model": {"ctpe": torch.ones(2)}, "epoch": 3}, "meta": 1}
    assert open_checkpoint(save(nested, tmp_path / "a.pth")).other == ("meta", "epoch")
    endless: dict[str, Any] = {"ctpe": torch.ones(2)}
    endless["model"] = endless
    assert list(open_checkpoint(save(endless, tmp_path / "b.pth")).tensors) == ["ctpe"]


def test_student_and_teacher_are_two_models(tmp_path: Path) -> None:
    one, two = {"ctpe": torch.ones(2)}, {"ctpe": torch.zeros(2)}
    flat = {"module.student.ctpe": one["ctpe"], "module.teacher.ctpe": two["ctpe"]}
    for content in ({"student": one, "teacher": two, "epoch": 3}, flat, {"model": flat}):
        with pytest.raises(InputError, match="holds two models, student and teacher"):
            open_checkpoint(save(content, tmp_path / "a.pth"))
    with pytest.raises(InputError, match="holds two models, model and teacher"):
        open_checkpoint(save({"model": one, "teacher": two}, tmp_path / "a.pth"))
    assert open_checkpoint(save({"teacher": two, "epoch": 3}, tmp_path / "a.pth")).tensors["ctpe"][0] == 0


def test_suffixes_in_capitals(trained: SkySense, tmp_path: Path) -> None:
    save_file(trained.state_dict(), tmp_path / "a.SAFETENSORS")
    assert same_model(tmp_path / "a.SAFETENSORS", trained)


def test_shards_that_are_pickles(trained: SkySense, tmp_path: Path) -> None:
    state: State = {f"module.{key}": x for key, x in trained.state_dict().items()}
    halves = {"m-1.bin": sorted(state)[::2], "m-2.bin": sorted(state)[1::2]}
    for shard, keys in halves.items():
        save({key: state[key] for key in keys}, tmp_path / shard)
    index = tmp_path / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": {k: shard for shard, keys in halves.items() for k in keys}}))
    assert same_model(index, trained)
    assert [file.name for file in open_checkpoint(index).files] == [index.name, *halves]


def test_a_copy_in_the_layout_of_transformers_is_refused_in_one_sentence(
    trained: SkySense, tmp_path: Path
) -> None:
    renamed = {
        "attn.attn.in_proj": "attn.in_proj",
        "ffn.layers.0.0": "ffn.layers.0",
        "ffn.layers.1": "ffn.layers.3",
    }
    state = part_of(trained.state_dict(), "backbone_s2")
    for old, new in renamed.items():
        state = {key.replace(old, new): x for key, x in state.items()}
    for prefix in ("", "backbone_s2."):
        path = save({prefix + key: x for key, x in state.items()}, tmp_path / "s2.pth")
        with pytest.raises(
            InputError, match=r"is a copy in the layout of a \*-transformers repository"
        ) as error:
            convert([(path, None)], tmp_path / "b.safetensors", QUIET)
        assert "Choose a released SkySense or SkySense++ file" in error.value.sentence
