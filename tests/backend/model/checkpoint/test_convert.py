"""Every released layout, converted, gives the model that was saved, to the bit; and the report tells the truth."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from released_files import OUTPUT_NORMS, QUIET, combined, part_of, plus_plus, save, singles, trained_model
from safetensors import safe_open
from safetensors.torch import save_file
from skysense.cli import main
from skysense.errors import InputError
from skysense.model.checkpoint.backbonefile import load_weights
from skysense.model.checkpoint.convert import convert
from skysense.model.checkpoint.initial import initial_values
from skysense.model.checkpoint.layout import recognise
from skysense.model.checkpoint.reading import Opened
from skysense.model.checkpoint.sizes import infer_config
from skysense.model.config import ModelConfig
from skysense.model.inputs import Inputs
from skysense.model.modelfile import read_header
from skysense.model.presets import PRESETS, state_sha256
from skysense.model.skysense import SkySense


def same_weights(model: SkySense, other: SkySense, but: tuple[str, ...] = ()) -> bool:
    one, two = model.state_dict(), other.state_dict()
    return one.keys() == two.keys() and all(
        torch.equal(one[key], two[key]) for key in one if not (but and key.startswith(but))
    )


def some_inputs() -> Inputs:
    rng = torch.Generator().manual_seed(0)
    return Inputs(
        hr=torch.randn(1, 3, 64, 64, generator=rng),
        s2=torch.randn(1, 2, 10, 16, 16, generator=rng),
        s2_day=torch.tensor([[10, 200]]),
        s1=torch.randn(1, 1, 2, 16, 16, generator=rng),
        hr_per_base=4,
    )


def meanings(result: dict) -> dict[str, str]:
    return {item["title"]: item["meaning"] for item in result["left_initial"]}


def test_the_combined_file(trained: SkySense, combined_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "models" / "skysense.safetensors"
    result = convert([(combined_file, None)], out, QUIET)
    model = load_weights(out)
    assert model.config == trained.config and same_weights(model, trained) and not model.training
    with torch.inference_mode():
        one, two = trained(some_inputs()), model(some_inputs())
    assert torch.equal(one.fused, two.fused) and all(map(torch.equal, one.hr, two.hr))
    assert result["preset"] == "custom" and result["left_initial"] == []
    assert [note.split(":")[0] for note in result["notes"]] == ["Fewer layers than tiny has"]
    assert sum(item["tensors"] for item in result["loaded"]) == len(trained.state_dict())
    assert {item["what"]: len(item["keys"]) for item in result["left_out"]} == {
        "epoch": 1,
        "backbone_gep.mask_token": 1,
        "head_gep.*": 2,
        "backbone_gep.stages.*.blocks.*.attn.w_msa.relative_coords_table": 1,
        "backbone_gep.stages.*.blocks.*.attn.w_msa.relative_position_index": 1,
    }
    assert result["sha256"] == state_sha256(trained) == state_sha256(model)
    assert result["bytes"] == out.stat().st_size and [p.name for p in out.parent.iterdir()] == [out.name]


def test_the_header_says_what_it_is(trained: SkySense, combined_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "b.safetensors"
    convert([(combined_file, None)], out, QUIET)
    header = read_header(out)
    assert header["format"] == 1 and header["kind"] == "backbone"
    assert ModelConfig.from_json(header["backbone"]["config"]) == trained.config
    assert "non-commercial research" in header["licence"]["terms"] and not header["licence"]["may_embed"]
    digest = subprocess.run(["sha256sum", combined_file], capture_output=True, text=True, check=True).stdout
    assert header["source"]["files"] == {"skysense_model.pth": digest.split()[0]}
    with safe_open(out, framework="pt") as file:
        assert set(file.keys()) == set(trained.state_dict())


def test_a_bare_state_dict_is_a_combined_file_too(trained: SkySense, tmp_path: Path) -> None:
    path = save(trained.state_dict(), tmp_path / "bare.pt")
    convert([(path, None)], tmp_path / "b.safetensors", QUIET)
    assert same_weights(load_weights(tmp_path / "b.safetensors"), trained)


def test_the_single_files_make_one_model(trained: SkySense, tmp_path: Path) -> None:
    files = [(save(x, tmp_path / name), None) for name, x in singles(trained.state_dict()).items()]
    result = convert(files, tmp_path / "b.safetensors", QUIET)
    model = load_weights(tmp_path / "b.safetensors")
    assert model.config == trained.config and same_weights(model, trained, but=OUTPUT_NORMS)
    assert meanings(result) == {
        "HR encoder's output norms norm0, norm1, norm2": "weight 1, bias 0: the maps of these stages are normalised only"
    }
    state = model.state_dict()
    for norm in OUTPUT_NORMS:
        assert state[f"{norm}weight"].eq(1).all() and state[f"{norm}bias"].eq(0).all()
    with torch.inference_mode():
        one, two = trained(some_inputs()), model(some_inputs())
    assert torch.equal(one.fused, two.fused) and torch.equal(one.hr[3], two.hr[3])


def test_the_date_encoding_in_every_single_file(trained: SkySense, tmp_path: Path) -> None:
    """The official extractors leave it in each."""
    state, ctpe = singles(trained.state_dict()), trained.ctpe.detach().clone()
    files = []
    for name in ("backbone_hr", "backbone_s2", "backbone_s1"):
        files.append(
            (save(state[f"skysense_model_{name}.pth"] | {"ctpe": ctpe}, tmp_path / f"{name}.pth"), None)
        )
    result = convert(files, tmp_path / "b.safetensors", QUIET)
    assert torch.equal(load_weights(tmp_path / "b.safetensors").ctpe, trained.ctpe)
    assert [item["file"] for item in result["loaded"] if item["part"] == "ctpe"] == ["backbone_hr.pth"]
    again = [(item["file"], item["reason"]) for item in result["left_out"] if item["what"] == "ctpe"]
    same = "the same as in backbone_hr.pth"
    assert again == [("backbone_s2.pth", same), ("backbone_s1.pth", same)]
    for other in (ctpe + 1, ctpe[:, :12], ctpe[..., :8]):
        save(state["skysense_model_backbone_s1.pth"] | {"ctpe": other}, files[2][0])
        with pytest.raises(InputError, match=r"holds another date encoding than \S+backbone_hr\.pth"):
            convert(files, tmp_path / "b.safetensors", QUIET)


def test_leftovers_of_pretraining_in_a_single_file(trained: SkySense, tmp_path: Path) -> None:
    state = singles(trained.state_dict())
    for part in ("backbone_s1", "head_s2", "fusion"):
        left = {"prototypes": torch.zeros(2, 2), "loss_mgcl.center": torch.zeros(2)}
        path = save(state[f"skysense_model_{part}.pth"] | left, tmp_path / f"{part}.pth")
        result = convert([(path, None)], tmp_path / "b.safetensors", QUIET)
        assert [item["part"] for item in result["loaded"]] == [part]
        assert {item["what"]: item["reason"] for item in result["left_out"]} == dict.fromkeys(
            ("prototypes", "loss_mgcl.*"), "belongs to pre-training or to another task"
        )


def test_a_norm_of_a_single_file_is_no_leftover(trained: SkySense, tmp_path: Path) -> None:
    for part, key in (
        ("backbone_s1", "ln1.weight"),
        ("fusion", "norm.bias"),
        ("backbone_s2", "norm1.weight"),
        ("backbone_s2", "pre_norm.weight"),
        ("fusion", "ln_pre.bias"),
        ("backbone_gep", "absolute_pos_embed"),
    ):
        path = save(part_of(trained.state_dict(), part) | {key: torch.zeros(2)}, tmp_path / f"{part}.pth")
        with pytest.raises(InputError, match=f"holds {part}.{key}, for which this model has no place"):
            convert([(path, None)], tmp_path / "b.safetensors", QUIET)


def test_an_encoder_that_does_not_say_whose_it_is_beside_parts_that_do(
    trained: SkySense, tmp_path: Path
) -> None:
    state = trained.state_dict()
    both = {f"backbone.{key}": x for key, x in part_of(state, "backbone_s2").items()}
    both |= {key: x for key, x in state.items() if key.startswith("head_s2.")}
    with pytest.raises(InputError, match=r"does not say which it is \(backbone\."):
        convert([(save(both, tmp_path / "a.pth"), None)], tmp_path / "b.safetensors", QUIET)


def test_output_norms_are_missed_in_pairs(trained: SkySense, tmp_path: Path) -> None:
    state = {k: x for k, x in trained.state_dict().items() if not k.startswith("backbone_gep.norm0.")}
    result = convert([(save(state, tmp_path / "a.pth"), None)], tmp_path / "b.safetensors", QUIET)
    assert meanings(result) == {
        "HR encoder's output norms norm0": "weight 1, bias 0: the maps of these stages are normalised only"
    }
    assert same_weights(load_weights(tmp_path / "b.safetensors"), trained, but=("backbone_gep.norm0.",))


@pytest.mark.parametrize(
    ("name", "initial"),
    [
        (
            "backbone_hr",
            {"backbone_s2", "backbone_s1", "head_s2", "head_s1", "fusion", "ctpe", "backbone_gep"},
        ),
        ("backbone_s2", {"backbone_gep", "backbone_s1", "head_s2", "head_s1", "fusion"}),
        ("backbone_s1", {"backbone_gep", "backbone_s2", "head_s2", "head_s1", "fusion", "ctpe"}),
        ("head_s1", {"backbone_gep", "backbone_s2", "backbone_s1", "head_s2", "fusion", "ctpe"}),
        ("fusion", {"backbone_gep", "backbone_s2", "backbone_s1", "head_s2", "head_s1", "ctpe"}),
    ],
)
def test_one_single_file_alone(trained: SkySense, tmp_path: Path, name: str, initial: set[str]) -> None:
    path = save(singles(trained.state_dict())[f"skysense_model_{name}.pth"], tmp_path / f"{name}.pth")
    result = convert([(path, None)], tmp_path / "b.safetensors", QUIET)
    assert {item["part"] for item in result["left_initial"]} == initial
    model = load_weights(tmp_path / "b.safetensors")
    held = "backbone_gep" if name == "backbone_hr" else name
    mine, theirs = part_of(model.state_dict(), held), part_of(trained.state_dict(), held)
    assert all(
        torch.equal(mine[key], theirs[key]) for key in mine if not key.startswith(("norm0", "norm1", "norm2"))
    )
    for item in result["left_initial"]:
        assert item["random"] == (item["part"] != "ctpe" and "output norms" not in item["title"])
    if name != "backbone_s2":
        assert model.ctpe.eq(0).all()


def test_initial_values_depend_on_the_configuration_alone() -> None:
    config = PRESETS["tiny"]
    with torch.device("meta"):
        names = SkySense(config).state_dict().keys()
    everything = dict(initial_values(config, names))
    assert everything.keys() == names and all(torch.isfinite(x).all() for x in everything.values())
    alone = dict(initial_values(config, [name for name in names if name.startswith("backbone_s1.")]))
    assert alone and all(torch.equal(everything[name], x) for name, x in alone.items())
    assert everything["backbone_s1.layers.3.ffn.layers.1.weight"].std() == pytest.approx(0.02, rel=0.05)


def test_skysense_plus_plus(trained: SkySense, tmp_path: Path) -> None:
    path = save(plus_plus(trained.state_dict()), tmp_path / "release.ckpt")
    result = convert([(path, None)], tmp_path / "b.safetensors", QUIET)
    model = load_weights(tmp_path / "b.safetensors")
    assert model.config.s2.eps == model.config.s1.eps == 1e-6
    assert model.backbone_s2.layers[0].ln1.eps == 1e-6 and model.fusion.layers[0].ln1.eps == 1e-5
    assert same_weights(model, trained, but=("backbone_s2.pos_embed", "backbone_s1.pos_embed"))
    for encoder in ("backbone_s2", "backbone_s1"):
        mine, theirs = (m.get_submodule(encoder).pos_embed for m in (model, trained))
        assert torch.equal(mine[:, 1:], theirs[:, 1:]) and mine[:, 0].eq(0).all()
    left_out = {item["what"]: item["reason"] for item in result["left_out"]}
    for key in (
        "backbone_s2.vocabulary_token",
        "backbone_hr.attn1.proj_in.weight",
        "backbone_hr.norm_attn.weight",
    ):
        assert "annotation tokens" in left_out[key]
    assert "modality completion" in left_out["modality_vae.*"] and "head_rec_hr.*" in left_out
    assert any("eps 1e-6" in note for note in result["notes"])


def test_a_single_plus_plus_file_is_known_by_its_tensors_or_its_name(
    trained: SkySense, tmp_path: Path
) -> None:
    plain = part_of(trained.state_dict(), "backbone_s1")
    marked = save(plain | {"vocabulary_token": torch.zeros(65, 96)}, tmp_path / "s1.pth")
    named = save(plain, tmp_path / "skysensepp_release_s1.pth")
    other = save(plain, tmp_path / "skysense_model_backbone_s1.pth")
    for path, eps in ((marked, 1e-6), (named, 1e-6), (other, 1e-5)):
        convert([(path, None)], tmp_path / "b.safetensors", QUIET)
        assert load_weights(tmp_path / "b.safetensors").config.s1.eps == eps


def test_position_embeddings_of_another_grid_stay_as_they_are(trained: SkySense, tmp_path: Path) -> None:
    """They are resized once, to the grid of the image that is encoded."""
    state = dict(trained.state_dict())
    state["backbone_s2.pos_embed"] = torch.randn(1, 37, 160)
    state["backbone_s1.pos_embed"] = torch.randn(1, 16, 96)
    result = convert([(save(state, tmp_path / "a.pth"), None)], tmp_path / "b.safetensors", QUIET)
    model = load_weights(tmp_path / "b.safetensors")
    assert (model.config.s2.img_size, model.config.s1.img_size) == (24, 16)
    assert torch.equal(model.backbone_s2.pos_embed, state["backbone_s2.pos_embed"])
    s1 = model.backbone_s1.pos_embed
    assert s1.shape == (1, 17, 96) and s1[:, 0].eq(0).all()
    assert torch.equal(s1[:, 1:], state["backbone_s1.pos_embed"])
    assert result["notes"][-3:] == [
        "backbone_s2.pos_embed: made for images of 24 pixels a side, resized to that of each image",
        "backbone_s1.pos_embed: made for images of 16 pixels a side, resized to that of each image",
        "backbone_s1.pos_embed: a zero stands for the class token's position, which no encoder here looks at",
    ]


def test_safetensors_plain_and_sharded(trained: SkySense, tmp_path: Path) -> None:
    state = trained.state_dict()
    save_file(state, tmp_path / "all.safetensors")
    names = sorted(state)
    shards = {"a-1.safetensors": names[::2], "a-2.safetensors": names[1::2]}
    for shard, keys in shards.items():
        save_file({key: state[key] for key in keys}, tmp_path / shard)
    index = {"weight_map": {key: shard for shard, keys in shards.items() for key in keys}}
    (tmp_path / "a.safetensors.index.json").write_text(json.dumps(index))
    for name in ("all.safetensors", "a.safetensors.index.json"):
        result = convert([(tmp_path / name, None)], tmp_path / "b.safetensors", QUIET)
        assert same_weights(load_weights(tmp_path / "b.safetensors"), trained)
        assert result["sha256"] == state_sha256(trained)
    assert set(read_header(tmp_path / "b.safetensors")["source"]["files"]) == {
        "a.safetensors.index.json",
        *shards,
    }


def test_the_old_pickle_format(trained: SkySense, tmp_path: Path) -> None:
    torch.save(trained.state_dict(), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    convert([(tmp_path / "old.pth", None)], tmp_path / "b.safetensors", QUIET)
    assert same_weights(load_weights(tmp_path / "b.safetensors"), trained)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_in_the_file_and_is_float32_in_memory(
    trained: SkySense, tmp_path: Path, dtype: torch.dtype
) -> None:
    state = {key: x.to(dtype) for key, x in trained.state_dict().items()}
    convert([(save(state, tmp_path / "a.pth"), None)], tmp_path / "b.safetensors", QUIET)
    with safe_open(tmp_path / "b.safetensors", framework="pt") as file:
        assert {file.get_tensor(key).dtype for key in file.keys()} == {dtype}
    model = load_weights(tmp_path / "b.safetensors")
    assert all(
        x.dtype == torch.float32 and torch.equal(x, state[k].float()) for k, x in model.state_dict().items()
    )


def test_a_preset_is_known_by_its_name(tmp_path: Path) -> None:
    model = trained_model(PRESETS["tiny"])
    result = convert(
        [(save(model.state_dict(), tmp_path / "a.pth"), None)], tmp_path / "b.safetensors", QUIET
    )
    assert result["preset"] == "tiny" and load_weights(tmp_path / "b.safetensors").config == PRESETS["tiny"]


def test_another_window_is_read_off_the_buffers(tmp_path: Path) -> None:
    config = PRESETS["tiny"]
    model = trained_model(replace(config, hr=replace(config.hr, window=4)))
    data = combined(model.state_dict())
    key = "backbone_gep.stages.0.blocks.0.attn.w_msa.relative_coords_table"
    data["model"][key] = torch.zeros(1, 7, 7, 2)
    convert([(save(data, tmp_path / "a.pth"), None)], tmp_path / "b.safetensors", QUIET)
    assert load_weights(tmp_path / "b.safetensors").config == model.config


def test_a_fine_tuned_encoder_without_its_own_heads(trained: SkySense, tmp_path: Path) -> None:
    encoder = {f"backbone.{k}": x for k, x in part_of(trained.state_dict(), "backbone_s2").items()}
    heads = {"decode_head.conv_seg.weight": torch.zeros(2, 2), "auxiliary_head.norm.bias": torch.zeros(2)}
    heads["decode_head.layers.0.attn.in_proj_weight"] = torch.zeros(2)
    path = save({"state_dict": encoder | heads, "meta": {"epoch": 3}}, tmp_path / "iter_80000.pth")
    result = convert([(path, None)], tmp_path / "b.safetensors", QUIET)
    assert [item["part"] for item in result["loaded"]] == ["backbone_s2"]
    assert {item["what"] for item in result["left_out"]} == {"meta", "decode_head.*", "auxiliary_head.*"}
    assert torch.equal(
        load_weights(tmp_path / "b.safetensors").backbone_s2.pos_embed, trained.backbone_s2.pos_embed
    )


def test_the_heads_are_told_apart_by_name_or_by_part(trained: SkySense, tmp_path: Path) -> None:
    state = trained.state_dict()
    named = save(part_of(state, "head_s2"), tmp_path / "my_head_s2.pth")
    unnamed = save(part_of(state, "head_s1"), tmp_path / "head.pth")
    with pytest.raises(InputError, match="--part head_s2="):
        convert([(unnamed, None)], tmp_path / "b.safetensors", QUIET)
    convert([(named, None), (unnamed, "head_s1")], tmp_path / "b.safetensors", QUIET)
    model = load_weights(tmp_path / "b.safetensors")
    assert torch.equal(model.head_s1.conv.weight, trained.head_s1.conv.weight)
    assert torch.equal(model.head_s2.conv.weight, trained.head_s2.conv.weight)
    for part, message in (("head_s3", "unknown part"), ("backbone_hr", "is the Sentinel-2 upsampling head")):
        with pytest.raises(InputError, match=message):
            convert([(named, part)], tmp_path / "b.safetensors", QUIET)


def test_the_command(trained: SkySense, combined_file: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "b.safetensors"
    assert main(["convert", str(combined_file), str(out)]) == 0
    text = capsys.readouterr().out
    assert "HR encoder, 176 tensors" in text and "non-commercial" in text and "head_gep.* (2)" in text
    head = save(part_of(trained.state_dict(), "head_s1"), tmp_path / "x.pth")
    assert main(["convert", "--part", f"head_s1={head}", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["loaded"][0]["part"] == "head_s1"
    for arguments in ([str(out)], ["--part", "head_s1", str(out)], [str(tmp_path / "none.pth"), str(out)]):
        before = out.read_bytes()
        assert main(["convert", *arguments]) == 2
        assert capsys.readouterr().err.count("\n") == 1 and out.read_bytes() == before


def test_released_files_key_for_key() -> None:
    """The mapping, on the released key lists; nothing of their 6.6 GB is made."""
    path = Path(__file__).resolve().parents[5] / "shared" / "reference" / "released_keys.json"
    if not path.is_file():
        pytest.skip(f"no reference key list at {path}")
    released = json.loads(path.read_text())
    shapes, where = {}, {}
    for part in ("backbone_hr", "backbone_s2", "backbone_s1", "head_s2", "head_s1", "fusion"):
        prefix = "backbone." if part == "backbone_hr" else ""
        tensors = {prefix + key: torch.empty(shape, device="meta") for key, shape in released[part].items()}
        if part == "backbone_s2":
            tensors["ctpe"] = torch.empty(released["ctpe"]["ctpe"], device="meta")
        name = Path(f"skysense_model_{part}.pth")
        held = recognise(Opened(name, tensors, (), (name,)))
        assert len(held.left_out) == len(released.get(f"{part}#buffers", []))
        shapes |= {ours: tuple(tensors[key].shape) for ours, key in held.keys.items()}
        where |= dict.fromkeys(held.parts, str(name))
    assert infer_config(shapes, where, frozenset(), None) == ("huge", PRESETS["huge"])
    with torch.device("meta"):
        state = SkySense(PRESETS["huge"]).state_dict()
    assert shapes == {key: tuple(x.shape) for key, x in state.items()}
