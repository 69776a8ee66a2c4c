"""Loading a backbone file: exactly what it holds, mapped and not copied, and nothing that was changed."""

import json
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from released_files import QUIET
from safetensors import safe_open
from skysense.errors import InputError
from skysense.model.checkpoint.backbonefile import load_weights
from skysense.model.checkpoint.convert import convert
from skysense.model.info import describe_model
from skysense.model.modelfile import load_model, read_header, save_model


@pytest.fixture
def backbone_file(combined_file: Path, tmp_path: Path) -> Path:
    convert([(combined_file, None)], tmp_path / "b.safetensors", QUIET)
    return tmp_path / "b.safetensors"


def with_header(path: Path, change: Callable[[str], str]) -> None:
    """Rewrite the JSON header of a safetensors file."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    text = change(data[8 : 8 + length].decode()).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


def test_tensors_are_mapped_and_not_copied(backbone_file: Path) -> None:
    model = load_weights(backbone_file)
    maps = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    spans = [tuple(int(x, 16) for x in m[0].split("-")) for m in maps if m[-1] == str(backbone_file)]
    assert spans
    for parameter in model.parameters():
        assert any(start <= parameter.data_ptr() < end for start, end in spans)


def test_tensors_lie_at_multiples_of_64_bytes(backbone_file: Path) -> None:
    with safe_open(backbone_file, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    aligned = [name for name, x in tensors.items() if x.data_ptr() % 64 == 0]
    whole = [name for name, x in tensors.items() if x.numel() * x.element_size() % 64 == 0]
    assert set(whole) <= set(aligned) and len(whole) > 0.8 * len(tensors)


def test_weights_can_be_trained_without_changing_the_file(backbone_file: Path) -> None:
    before = backbone_file.read_bytes()
    model = load_weights(backbone_file)
    assert all(parameter.requires_grad for parameter in model.parameters())
    with torch.no_grad():
        model.ctpe.zero_()
    assert backbone_file.read_bytes() == before and load_weights(backbone_file).ctpe.ne(0).any()


def test_one_changed_bit_is_noticed(backbone_file: Path) -> None:
    data = bytearray(backbone_file.read_bytes())
    data[-1000] ^= 1
    backbone_file.write_bytes(data)
    with pytest.raises(InputError, match="damaged or changed"):
        load_weights(backbone_file)


def test_a_truncated_file(backbone_file: Path) -> None:
    backbone_file.write_bytes(backbone_file.read_bytes()[:-1])
    with pytest.raises(InputError, match="is not a model file"):
        load_weights(backbone_file)


@pytest.mark.parametrize(
    ("pattern", "by", "message"),
    [
        (r"fusion\.cls_token", "fusion.cls_taken", "lacks the tensor fusion.cls_token"),
        (r'(\\"s1\\": .*?\\"layers\\"): 1', r"\1: 2", "lacks the tensor backbone_s1.layers.1"),
        (r'(\\"fusion\\": {\\"dim\\"): 96', r"\1: 48", "has fusion.cls_token of shape"),
        (r'\\"window\\": 8', r'\\"windows\\": 8', "a header that cannot be used"),
        (r'\\"heads\\": \[2, 4, 8, 16\]', r'\\"heads\\": [3, 4, 8, 16]', "a header that cannot be used"),
        (r'\\"format\\": 1', r'\\"format\\": 2', "newer than this version reads"),
        (r'\\"kind\\": \\"backbone\\"', r'\\"kind\\": \\"head\\"', "holds no backbone"),
        (r'"skysense"', '"skynonsense"', "is not a SkySense model"),
    ],
)
def test_a_header_that_does_not_fit(backbone_file: Path, pattern: str, by: str, message: str) -> None:
    def change(text: str) -> str:
        new, count = re.subn(pattern, by, text, count=1)
        assert count == 1
        return new

    with_header(backbone_file, change)
    with pytest.raises(InputError, match=message):
        load_weights(backbone_file)


def test_a_header_that_is_no_json(tmp_path: Path) -> None:
    save_model(tmp_path / "m.safetensors", {}, {"a": torch.zeros(1)})
    with_header(tmp_path / "m.safetensors", lambda text: text.replace(r"{\"format\": 1}", "{format}"))
    with pytest.raises(InputError, match="is not a SkySense model"):
        load_weights(tmp_path / "m.safetensors")


_LICENCE = {"name": "CC0-1.0", "terms": "Anything goes.", "may_embed": True}
_ENTRY = {"preset": "custom", "weights": "w", "sha256": "0" * 64, "config": {}, "left_initial": []}
_BACKBONE = {"kind": "backbone", "licence": _LICENCE, "source": {}, "backbone": _ENTRY}
_EMBEDDED = {**_ENTRY, "embedded": True, "licence": "CC0-1.0", "terms": "Anything goes."}


@pytest.mark.parametrize(
    ("header", "named"),
    [
        ({"format": "x"}, "format"),
        ({"format": None}, "format"),
        ({"backbone": None}, "backbone"),
        ({"backbone": ["tiny"]}, "backbone"),
        ({"backbone": {"path": 5}}, "backbone.path"),
        ({"backbone": {"sha256": 5}}, "backbone.sha256"),
        ({"backbone": {"note": None}}, "backbone.note"),
        ({"kind": "backbone"}, "backbone"),
        ({**_BACKBONE, "backbone": {}}, "backbone.preset"),
        *(({**_BACKBONE, "backbone": {**_ENTRY, name: 1}}, f"backbone.{name}") for name in _ENTRY),
        ({**_BACKBONE, "backbone": {**_ENTRY, "left_initial": ["ctpe"]}}, "backbone.left_initial"),
        ({**_BACKBONE, "backbone": {**_ENTRY, "left_initial": [{"part": 1}]}}, "backbone.left_initial"),
        ({**_BACKBONE, "licence": None}, "licence"),
        *(({**_BACKBONE, "licence": {**_LICENCE, name: None}}, f"licence.{name}") for name in _LICENCE),
        ({**_BACKBONE, "source": None}, "source"),
        ({"backbone": {"embedded": True}}, "backbone.preset"),
        *(
            ({"backbone": {**_EMBEDDED, name: None}}, f"backbone.{name}")
            for name in _EMBEDDED
            if name != "embedded"
        ),
    ],
)
def test_a_header_without_what_it_needs(tmp_path: Path, header: dict[str, Any], named: str) -> None:
    save_model(tmp_path / "m.safetensors", header, {"a": torch.zeros(1)})
    for read in (read_header, load_model, load_weights, lambda path: describe_model(str(path))):
        with pytest.raises(InputError) as error:
            read(tmp_path / "m.safetensors")
        assert f"m.safetensors: has a header that cannot be used (its {named} " in error.value.sentence


def test_a_header_with_what_it_needs(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    for header in ({}, {"backbone": {}}, _BACKBONE, {"backbone": _EMBEDDED}):
        save_model(path, header, {"a": torch.zeros(1)})
        assert read_header(path) == {"format": 1, **header}


def test_a_backbone_is_no_trained_model(backbone_file: Path) -> None:
    with pytest.raises(InputError, match="is a backbone, not a trained model"):
        load_model(backbone_file)


def test_info(backbone_file: Path, trained) -> None:
    told = json.loads(json.dumps(describe_model(str(backbone_file))))
    count = sum(parameter.numel() for parameter in trained.parameters())
    assert told["kind"] == "backbone" and told["preset"] == "custom" and told["parameters"] == count
    assert told["types"] == {"F32": count} and told["untrained"] == [] and "non-commercial" in told["licence"]
    assert told["config"]["s2"]["layers"] == 2 and told["bytes"] == backbone_file.stat().st_size
