"""Files that cannot be used: one sentence each, nothing half-written, and the old output kept."""

import argparse
import hashlib
import json
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from released_files import QUIET, State, buffers, combined, part_of, save, singles
from safetensors.torch import save_file
from skysense.errors import Cancelled, InputError
from skysense.model.checkpoint.convert import convert, show
from skysense.model.skysense import SkySense
from stopping import StopsAt


@pytest.fixture
def refused(tmp_path: Path) -> Callable[..., str]:
    """Converts files and returns the error's sentence, after checking that the old output is untouched."""

    def run(*files: Path, part: str | None = None) -> str:
        out = tmp_path / "out" / "b.safetensors"
        out.parent.mkdir(exist_ok=True)
        out.write_bytes(b"the old file")
        with pytest.raises(InputError) as error:
            convert([(file, part) for file in files], out, QUIET)
        assert out.read_bytes() == b"the old file" and [p.name for p in out.parent.iterdir()] == [out.name]
        assert "\n" not in error.value.sentence
        return error.value.sentence

    return run


class Command:
    """What an attacker would put into a pickle: unpickled, it makes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.target),)


def test_code_in_a_pickle_is_not_run(refused, trained: SkySense, tmp_path: Path) -> None:
    for zipped in (True, False):
        data = {"model": trained.state_dict(), "config": Command(tmp_path / "made")}
        torch.save(data, tmp_path / "evil.pth", _use_new_zipfile_serialization=zipped)
        sentence = refused(tmp_path / "evil.pth")
        assert re.search(
            r"evil\.pth: is a Python pickle that needs code to be opened \(\w+\.mkdir\)", sentence
        )
        assert "nothing of it was executed" in sentence and "torch.save(model.state_dict()" in sentence
        assert not (tmp_path / "made").exists()


def test_pickles_of_more_than_weights_are_told_from_damaged_files(
    refused, trained: SkySense, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    torch.save({"model": trained.state_dict(), "args": argparse.Namespace(lr=1)}, tmp_path / "args.pth")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pth")
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "script.pt")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps({"a": np.zeros(3)}))
    recwarn.clear()
    for name, kind in {
        "args.pth": "a Python pickle that needs code to be opened (argparse.Namespace)",
        "module.pth": "a Python pickle that needs code to be opened (torch.nn.modules.linear.Linear)",
        "script.pt": "a TorchScript program",
        "plain.pth": "a Python pickle that torch.save has not written",
    }.items():
        sentence = refused(tmp_path / name)
        assert f"{name}: is {kind}; nothing of it was executed" in sentence, sentence
    assert not recwarn.list  # they would stand beside the one line that people are shown


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
@pytest.mark.parametrize("kind", ["pth", "old.pth", "safetensors"])
def test_truncated_files(refused, trained: SkySense, tmp_path: Path, kind: str, share: float) -> None:
    path = tmp_path / f"a.{kind}"
    if kind == "safetensors":
        save_file(trained.state_dict(), path)
    else:
        torch.save(trained.state_dict(), path, _use_new_zipfile_serialization=kind == "pth")
    os.truncate(path, int(path.stat().st_size * share))
    assert "incomplete" in refused(path)


def test_one_changed_bit_of_a_pickle_is_noticed(refused, trained: SkySense, tmp_path: Path) -> None:
    path = save(trained.state_dict(), tmp_path / "a.pth")
    data = bytearray(path.read_bytes())
    tensor = trained.ctpe.detach().numpy().tobytes()
    data[data.index(tensor) + len(tensor) // 2] ^= 1
    path.write_bytes(data)
    sentence = refused(path)
    assert re.search(r"a\.pth: is damaged at its entry 'a/data/\d+'", sentence), sentence


@pytest.mark.parametrize("kind", ["pth", "safetensors", "safetensors.index.json"])
def test_a_file_that_is_not_what_was_downloaded(
    refused, trained: SkySense, tmp_path: Path, kind: str
) -> None:
    path, shard = tmp_path / f"a.{kind}", tmp_path / "a.safetensors"
    if kind == "pth":
        save(trained.state_dict(), path)
    else:
        save_file(trained.state_dict(), shard)
    if kind.endswith(".json"):
        path.write_text(json.dumps({"weight_map": dict.fromkeys(trained.state_dict(), shard.name)}))
    held = shard if shard.exists() else path
    right = hashlib.sha256(held.read_bytes()).hexdigest()
    record = held.with_name(held.name + ".source.json")
    record.write_text(json.dumps({"sha256": right}))
    out = tmp_path / "good.safetensors"
    told = {item["file"]: item for item in convert([(path, None)], out, QUIET)["files"]}
    assert told[held.name] == {"file": held.name, "sha256": right, "as_downloaded": True}
    if kind == "pth":  # a change that leaves the checksums of its entries as they are
        save(trained.state_dict() | {"ctpe": trained.ctpe.detach() + 1}, path)
    else:
        data = bytearray(held.read_bytes())
        data[-1000] ^= 1
        held.write_bytes(data)
    sentence = refused(path)
    assert held.name in sentence and "is not what was downloaded" in sentence and right in sentence


@pytest.mark.parametrize("record", [None, "", "[]", '{"sha256": 5}'])
def test_without_a_record_the_report_says_what_was_read(
    combined_file: Path, tmp_path: Path, record: str | None
) -> None:
    if record is not None:
        combined_file.with_name(combined_file.name + ".source.json").write_text(record)
    result = convert([(combined_file, None)], tmp_path / "b.safetensors", QUIET)
    digest = hashlib.sha256(combined_file.read_bytes()).hexdigest()
    assert result["files"] == [{"file": combined_file.name, "sha256": digest, "as_downloaded": False}]
    assert f"{combined_file.name}: SHA-256 {digest} (not checked" in show(result)


def test_what_is_no_checkpoint(refused, tmp_path: Path) -> None:
    contents = {
        "page.pth": b"<!doctype html><title>Sign in</title>",
        "a.safetensors": b"{}",
        "a.index.json": b"[]",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        assert name in refused(tmp_path / name)
    assert "holds no weights" in refused(save([1, 2], tmp_path / "list.pth"))
    assert "holds no weights" in refused(save({"model": {}, "epoch": 3}, tmp_path / "empty.pth"))
    assert "does not exist" in refused(tmp_path / "gone.pth")


def test_other_architectures(refused, trained: SkySense, tmp_path: Path) -> None:
    resnet = {"conv1.weight": torch.zeros(4, 3, 7, 7), "layer1.0.bn1.weight": torch.zeros(4)}
    assert "not of the SkySense architecture" in refused(save(resnet, tmp_path / "resnet.pth"))
    vit = {f"blocks.{k}": x for k, x in part_of(trained.state_dict(), "backbone_s2").items()}
    assert "not of the SkySense architecture" in refused(save(vit, tmp_path / "vit.pth"))
    swin = {
        "patch_embed.projection.bias": torch.zeros(96),
        "stages.0.blocks.0.attn.w_msa.qkv.weight": torch.zeros(3, 3),
    }
    assert "lacks the tensor" in refused(save(swin, tmp_path / "swin.pth"))


@pytest.mark.parametrize(
    "key",
    [
        "backbone_gep.norm2.bias",
        "backbone_gep.norm3.weight",
        "backbone_gep.patch_embed.norm.weight",
        "backbone_gep.stages.2.blocks.5.norm3.weight",
        "backbone_gep.stages.1.downsample.norm.bias",
        "backbone_s2.layers.0.ln1.weight",
        "backbone_s1.layers.0.ln2.bias",
        "backbone_s1.pos_embed",
        "backbone_s2.patch_embed.projection.bias",
        "fusion.cls_token",
        "fusion.porj_linear.bias",
        "head_s2.decoder.0.bias",
    ],
)
def test_a_missing_tensor_is_named(refused, trained: SkySense, tmp_path: Path, key: str) -> None:
    data = combined(trained.state_dict())
    del data["model"][key]
    assert f"lacks the tensor {key}" in refused(save(data, tmp_path / "a.pth"))


def test_missing_extra_norms_are_not_taken_for_none(refused, trained: SkySense, tmp_path: Path) -> None:
    state = {k: x for k, x in trained.state_dict().items() if ".blocks.5.norm3." not in k}
    assert "lacks the tensor backbone_gep.stages.2.blocks.5.norm3.weight" in refused(
        save(state, tmp_path / "a.pth")
    )


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        ("backbone_s2.patch_embed.projection.weight", (160, 4, 4, 4)),
        ("backbone_gep.patch_embed.projection.weight", (32, 4, 4, 4)),
        ("fusion.porj_linear.weight", (96, 96)),
        ("fusion.porj_linear.bias", (97,)),
        ("backbone_s1.patch_embed.projection.bias", (192,)),
        ("backbone_s1.pos_embed", (1, 40, 96)),
        ("backbone_s1.pos_embed", (1, 257, 95)),
        ("head_s1.decoder.0.weight", (4096, 97, 1, 1)),
        ("ctpe", (1, 366, 256)),
        ("ctpe", (365, 256)),
    ],
)
def test_a_misshapen_tensor_is_named(
    refused, trained: SkySense, tmp_path: Path, key: str, shape: tuple[int, ...]
) -> None:
    data = combined(trained.state_dict())
    data["model"][key] = torch.zeros(shape)
    sentence = refused(save(data, tmp_path / "a.pth"))
    assert f"has {key} of shape {shape}, expected" in sentence


def test_a_layer_norm_without_a_place_stops_the_conversion(
    refused, trained: SkySense, tmp_path: Path
) -> None:
    for key in ("backbone_s2.ln1.weight", "fusion.ln1.bias", "backbone_gep.stages.0.blocks.0.norm4.weight"):
        state = trained.state_dict() | {key: torch.ones(4)}
        assert f"holds {key}, for which this model has no place" in refused(save(state, tmp_path / "a.pth"))


def test_integers_are_no_weights(refused, trained: SkySense, tmp_path: Path) -> None:
    state = trained.state_dict() | {"fusion.porj_linear.weight": torch.zeros(96, 256, dtype=torch.int8)}
    assert "fusion.porj_linear.weight of type int8" in refused(save(state, tmp_path / "a.pth"))


def test_a_part_that_comes_twice(refused, trained: SkySense, combined_file: Path, tmp_path: Path) -> None:
    name = "skysense_model_backbone_s1.pth"
    single = save(singles(trained.state_dict())[name], tmp_path / name)
    sentence = refused(combined_file, single)
    assert "Sentinel-1 encoder" in sentence and "skysense_model.pth" in sentence and name in sentence


def test_a_tensor_that_comes_twice(refused, trained: SkySense, tmp_path: Path) -> None:
    state = trained.state_dict() | {"backbone_s2.ctpe": trained.ctpe.detach().clone()}
    assert "holds ctpe twice, as ctpe and as backbone_s2.ctpe" in refused(save(state, tmp_path / "a.pth"))


def test_files_of_different_sizes(refused, trained: SkySense, tmp_path: Path) -> None:
    state = singles(trained.state_dict())
    head: State = {
        "decoder.0.weight": torch.zeros(16 * 512, 160, 1, 1),
        "decoder.0.bias": torch.zeros(16 * 512),
    }
    files = [
        save(state["skysense_model_backbone_hr.pth"], tmp_path / "hr.pth"),
        save(head, tmp_path / "head_s2.pth"),
    ]
    assert "head_s2.decoder.0.weight of shape (8192, 160, 1, 1), expected (4096," in refused(*files)


def test_a_converted_file_is_not_converted_again(refused, combined_file: Path, tmp_path: Path) -> None:
    convert([(combined_file, None)], tmp_path / "done.safetensors", QUIET)
    assert "is a SkySense model already" in refused(tmp_path / "done.safetensors")


def test_a_sharded_file_without_one_of_its_parts(refused, trained: SkySense, tmp_path: Path) -> None:
    save_file({"ctpe": trained.ctpe.detach()}, tmp_path / "a-1.safetensors")
    index = tmp_path / "a.safetensors.index.json"
    for shard, message in (
        ("a-2.safetensors", "'a-2.safetensors', which is not beside it"),
        ("../a-1.safetensors", "which is not beside it"),
        ("a-1.safetensors", "lacks the tensor fusion.cls_token, which a.safetensors.index.json lists"),
    ):
        index.write_text(json.dumps({"weight_map": {"fusion.cls_token": shard}}))
        assert message in refused(index)


def test_four_bands_are_not_taken_for_ten(refused, trained: SkySense, tmp_path: Path) -> None:
    state = part_of(trained.state_dict(), "backbone_s2") | {
        "patch_embed.projection.weight": torch.zeros(160, 4, 4, 4)
    }
    assert "(160, 4, 4, 4), expected (160, 10, 4, 4)" in refused(save(state, tmp_path / "s2.pth"))


def test_buffers_alone_are_no_encoder(refused, tmp_path: Path) -> None:
    assert "holds no weights of this model" in refused(save(buffers(), tmp_path / "a.pth"))


@pytest.mark.parametrize("step", ["Reading the checkpoints", "Reading {}", "Converting"])
def test_a_cancelled_conversion_leaves_the_old_file(combined_file: Path, tmp_path: Path, step: str) -> None:
    out = tmp_path / "out" / "b.safetensors"
    out.parent.mkdir()
    out.write_bytes(b"the old file")
    with pytest.raises(Cancelled):
        convert([(combined_file, None)], out, StopsAt(step.format(combined_file.name)))
    assert out.read_bytes() == b"the old file" and [p.name for p in out.parent.iterdir()] == [out.name]


@pytest.mark.parametrize("place", ["{}", "other.pth", "own.safetensors"])
def test_a_checkpoint_is_never_written_over(combined_file: Path, tmp_path: Path, place: str) -> None:
    out = tmp_path / place.format(combined_file.name)
    out.write_bytes(b"somebody's weights")
    given = out if out.suffix == ".safetensors" else combined_file
    with pytest.raises(InputError, match=r"Give a new file that ends in \.safetensors"):
        convert([(given, None)], out, QUIET)
    assert out.read_bytes() == b"somebody's weights"


_FULL = """
import resource, sys
from pathlib import Path
from skysense.errors import StorageError
from skysense.jobs.control import JobControl
from skysense.model.checkpoint.convert import convert, show
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
try:
    convert([(Path(sys.argv[1]), None)], Path(sys.argv[2]), JobControl(lambda event: None))
except StorageError as error:
    print(error.sentence)
"""


def test_a_full_disk_is_told_and_the_old_file_kept(combined_file: Path, tmp_path: Path) -> None:
    pytest.importorskip("resource")
    out = tmp_path / "out" / "b.safetensors"
    out.parent.mkdir()
    out.write_bytes(b"the old file")
    done = subprocess.run(
        [sys.executable, "-c", _FULL, combined_file, out], capture_output=True, text=True, check=True
    )
    assert "b.safetensors: cannot be written" in done.stdout and "Free some space" in done.stdout
    assert out.read_bytes() == b"the old file" and [p.name for p in out.parent.iterdir()] == [out.name]
