"""From released files to a map: convert, fine-tune, predict, by the commands that a researcher types."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import rasterio
import torch
from scene_files import job, part
from skysense.cli import main
from skysense.errors import InputError
from skysense.model import backbone as backbones
from skysense.model.backbone import default_backbone
from skysense.model.checkpoint.backbonefile import BackboneHeader, Licence, save_backbone
from skysense.model.modelfile import load_model, save_model
from skysense.model.presets import PRESETS
from skysense.model.skysense import SkySense
from skysense.synthetic.landscape import make_landscape


@pytest.fixture(scope="module")
def sentinel(tmp_path_factory) -> Path:
    scene = make_landscape(tmp_path_factory.mktemp("scene"), size_m=640, n_s2=3, n_s1=2)
    return part(scene, tmp_path_factory.mktemp("s") / "sentinel", lambda row: row["modality"] != "hr")


@pytest.fixture(scope="module")
def model() -> SkySense:
    """A small model; its weights stand for trained ones."""
    tiny = PRESETS["tiny"]
    config = replace(tiny, hr=replace(tiny.hr, depths=(1, 1, 1, 1)), s2=replace(tiny.s2, layers=2))
    with torch.random.fork_rng():
        torch.manual_seed(4)
        return SkySense(config).eval()


@pytest.fixture(scope="module")
def checkpoint(model, tmp_path_factory) -> Path:
    """The model as the combined released file, without the Sentinel-1 encoder."""
    path = tmp_path_factory.mktemp("released") / "skysense_model.pth"
    state = {key: x for key, x in model.state_dict().items() if not key.startswith("backbone_s1.")}
    torch.save({"model": state}, path)
    return path


@pytest.fixture(autouse=True)
def nothing_loaded(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("SKYSENSE_MODELS", str(tmp_path / "models"))
    backbones._loaded.clear()


def notes(result: dict[str, Any]) -> list[str]:
    return [event["text"] for event in result["events"] if event["event"] == "note"]


def test_convert_finetune_and_predict(sentinel: Path, checkpoint: Path, tmp_path: Path, capsys) -> None:
    backbone, trained, out = (tmp_path / name for name in ("b.safetensors", "m.safetensors", "map.tif"))
    assert main(["convert", str(checkpoint), str(backbone)]) == 0
    told = capsys.readouterr()
    assert "initial   Sentinel-1 encoder" in told.out
    scene, device = str(sentinel), ["--device", "cpu"]
    assert main(["finetune", scene, "--model", str(backbone), "--out", str(trained), *device]) == 0
    told = capsys.readouterr()
    assert "not trained for Sentinel-1 features" in told.err
    named = load_model(trained).header["backbone"]
    assert named["path"] == str(backbone) and named["weights"] == "SkySense: skysense_model.pth"
    assert main(["predict", scene, "--model", str(trained), "--out", str(out), *device]) == 0
    with rasterio.open(out) as source:
        assert source.tags()["SKYSENSE_BACKBONE"] == "custom, SkySense: skysense_model.pth"
        classes = source.read(1)
    assert (classes > 0).all()
    backbones._loaded.clear()
    backbone.rename(tmp_path / "moved.safetensors")
    for name, stray in (("a", {"kind": "backbone"}), ("c", {"backbone": None}), ("d", {"format": "x"})):
        save_model(tmp_path / f"{name}.safetensors", stray, {})
    job("predict", sentinel, tmp_path / "again.tif", model=str(trained))
    assert (tmp_path / "again.tif").read_bytes() == out.read_bytes()
    backbones._loaded.clear()
    (tmp_path / "moved.safetensors").unlink()
    out.write_bytes(b"the old map")
    assert main(["predict", scene, "--model", str(trained), "--out", str(out), *device]) == 2
    assert "needs its backbone" in capsys.readouterr().err and out.read_bytes() == b"the old map"


def test_the_backbone_makes_the_features(sentinel: Path, checkpoint: Path, tmp_path: Path) -> None:
    assert main(["convert", str(checkpoint), str(tmp_path / "b.safetensors"), "--json"]) == 0
    own = job("finetune", sentinel, tmp_path / "a.safetensors")
    other = job("finetune", sentinel, tmp_path / "c.safetensors", model=str(tmp_path / "b.safetensors"))
    assert any("not trained" in note for note in notes(other)) and not any(
        "not trained" in note for note in notes(own)
    )
    one, two = load_model(tmp_path / "a.safetensors"), load_model(tmp_path / "c.safetensors")
    assert one.tensors.keys() == two.tensors.keys()
    assert any(not torch.equal(one.tensors[name], two.tensors[name]) for name in one.tensors)
    # The same weights, by way of a trained model: the same file, byte for byte.
    job("finetune", sentinel, tmp_path / "d.safetensors", model=str(tmp_path / "c.safetensors"))
    assert (tmp_path / "d.safetensors").read_bytes() == (tmp_path / "c.safetensors").read_bytes()


def save_built_in(path: Path, left_initial: tuple[dict[str, Any], ...] = ()) -> None:
    """The built-in model's weights as a backbone file, which says that all but `left_initial` is trained."""
    model = default_backbone(torch.device("cpu")).model
    free = Licence("CC0-1.0", "Anything goes.", may_embed=True)
    state = model.state_dict()
    specs = {name: (x.dtype, tuple(x.shape)) for name, x in state.items()}
    save_backbone(
        path, BackboneHeader("tiny", model.config, "a copy", free, left_initial), specs, state.items()
    )


def test_a_part_that_is_not_trained_is_trusted_less_than_the_same_weights_trained(
    sentinel: Path, tmp_path: Path
) -> None:
    group = {"part": "backbone_s1", "title": "t", "tensors": [], "random": True, "meaning": "m"}
    save_built_in(tmp_path / "whole.safetensors")
    save_built_in(tmp_path / "partly.safetensors", (group,))
    heads = []
    for model in (None, "partly", "whole"):
        out = tmp_path / f"{model}-trained.safetensors"
        job("finetune", sentinel, out, **({"model": str(tmp_path / f"{model}.safetensors")} if model else {}))
        heads.append(load_model(out).tensors["head.weight"])
    assert torch.equal(heads[0], heads[2]) and not torch.equal(heads[0], heads[1])


def test_a_file_of_the_built_in_weights_gives_the_same_features(sentinel: Path, tmp_path: Path) -> None:
    save_built_in(tmp_path / "b.safetensors")
    maps = []
    for number, options in enumerate(({}, {"standalone": True})):
        trained, out = tmp_path / f"{number}.safetensors", tmp_path / f"{number}.tif"
        job("finetune", sentinel, trained, model=str(tmp_path / "b.safetensors"), options=options)
        backbones._loaded.clear()
        job("predict", sentinel, out, model=str(trained))
        with rasterio.open(out) as source:
            maps.append(source.read())
    assert (maps[0] == maps[1]).all()
    one, two = load_model(tmp_path / "0.safetensors"), load_model(tmp_path / "1.safetensors")
    assert all(torch.equal(one.tensors[name], two.tensors[name]) for name in one.tensors)
    assert json.loads((tmp_path / "1.safetensors.recipe.json").read_text())["options"]["standalone"] is True


def test_standalone_with_the_built_in_model(sentinel: Path, tmp_path: Path) -> None:
    job("finetune", sentinel, tmp_path / "a.safetensors")
    job("finetune", sentinel, tmp_path / "b.safetensors", options={"standalone": True})
    for name in ("a", "b"):
        told = job("predict", sentinel, tmp_path / f"{name}.tif", model=str(tmp_path / f"{name}.safetensors"))
        assert not any("not trained" in note for note in notes(told))
    with rasterio.open(tmp_path / "a.tif") as one, rasterio.open(tmp_path / "b.tif") as two:
        assert (one.read() == two.read()).all()


def test_standalone_is_refused_before_any_work_where_the_licence_forbids_it(
    sentinel: Path, checkpoint: Path, tmp_path: Path
) -> None:
    assert main(["convert", str(checkpoint), str(tmp_path / "b.safetensors"), "--json"]) == 0
    with pytest.raises(InputError, match="may not be passed on inside another file"):
        job(
            "finetune",
            sentinel,
            tmp_path / "m.safetensors",
            model=str(tmp_path / "b.safetensors"),
            options={"standalone": True},
        )
    assert not (tmp_path / "m.safetensors").exists()


def test_a_backbone_cannot_map(sentinel: Path, checkpoint: Path, tmp_path: Path) -> None:
    assert main(["convert", str(checkpoint), str(tmp_path / "b.safetensors"), "--json"]) == 0
    with pytest.raises(InputError, match="Train a model on it first"):
        job("predict", sentinel, tmp_path / "m.tif", model=str(tmp_path / "b.safetensors"))


def test_a_model_on_features_of_another_version_is_refused(sentinel: Path, tmp_path: Path, capsys) -> None:
    job("finetune", sentinel, tmp_path / "m.safetensors")
    model = load_model(tmp_path / "m.safetensors")
    header = json.loads(json.dumps({key: value for key, value in model.header.items() if key != "format"}))
    header["head"]["blocks"][0]["dim"] -= 1
    tensors = {**model.tensors, "head.weight": model.tensors["head.weight"][:, 1:]}
    save_model(tmp_path / "old.safetensors", header, tensors)
    map_path = tmp_path / "map.tif"
    arguments = [
        "predict",
        str(sentinel),
        "--model",
        str(tmp_path / "old.safetensors"),
        "--out",
        str(map_path),
    ]
    assert main([*arguments, "--device", "cpu"]) == 2
    assert "was trained by another version of SkySense" in capsys.readouterr().err and not map_path.exists()


def test_a_model_that_had_missing_bands_at_their_mean_is_refused_where_one_is_missing(
    sentinel: Path, tmp_path: Path
) -> None:
    job("finetune", sentinel, tmp_path / "m.safetensors")
    model = load_model(tmp_path / "m.safetensors")
    header = json.loads(json.dumps({key: value for key, value in model.header.items() if key != "format"}))
    del header["inputs"]["missing_bands"]
    save_model(tmp_path / "old.safetensors", header, model.tensors)
    job("predict", sentinel, tmp_path / "whole.tif", model=str(tmp_path / "old.safetensors"))
    scene = json.loads(sentinel.read_text())
    for item in scene["acquisitions"]:
        item["bands"].pop("B8", None)
    lacking = sentinel.with_name("lacking.json")
    lacking.write_text(json.dumps(scene))
    with pytest.raises(InputError, match="another version of SkySense"):
        job("predict", lacking, tmp_path / "map.tif", model=str(tmp_path / "old.safetensors"))
