"""A head that looks at some stages of a backbone's HR encoder, or at none: its file and its map."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from scene_files import job, part
from skysense.cli import main
from skysense.finetune import fitted
from skysense.model.modelfile import read_header
from skysense.model.presets import seeded_model
from skysense.synthetic.landscape import make_landscape


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    whole = make_landscape(tmp_path_factory.mktemp("scene"), size_m=320, n_s2=0, n_s1=0)
    return part(whole, tmp_path_factory.mktemp("s") / "picture", lambda row: row["modality"] == "hr")


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of which nobody knows that its features of pictures are of no use."""
    folder = tmp_path_factory.mktemp("backbone")
    torch.save(seeded_model("tiny", 3).state_dict(), folder / "a.pth")
    assert main(["convert", str(folder / "a.pth"), str(folder / "a.safetensors")]) == 0
    return folder / "a.safetensors"


def mapped(scene: Path, model: Path, out: Path) -> np.ndarray:
    job("predict", scene, out, model=str(model))
    with rasterio.open(out) as file:
        return file.read(1)


def look_at(monkeypatch: pytest.MonkeyPatch, deepest: int) -> None:
    """What is chosen, and when, is tested in test_stages.py."""

    def chosen(x, ids, polygons, repeats, blocks):  # type: ignore[no-untyped-def]
        return tuple(block for block in blocks if block.stage <= deepest)

    monkeypatch.setattr(fitted, "helpful_blocks", chosen)


def test_features_that_do_not_help_are_neither_looked_at_nor_computed(
    scene: Path, backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_at(monkeypatch, deepest=0)
    told = job("finetune", scene, tmp_path / "a.safetensors", model=str(backbone))["events"]
    assert any("do not clearly help" in event.get("text", "") for event in told)
    header = read_header(tmp_path / "a.safetensors")
    assert [block["name"] for block in header["head"]["blocks"]] == ["hr.bands"]
    assert header["inputs"]["encoded"] == []
    # The built-in model, which is known not to look at pictures, gives the same map.
    job("finetune", scene, tmp_path / "b.safetensors")
    with_ours = mapped(scene, tmp_path / "a.safetensors", tmp_path / "a.tif")
    assert (with_ours == mapped(scene, tmp_path / "b.safetensors", tmp_path / "b.tif")).all()
    assert (with_ours > 0).all()


def test_some_stages_are_enough(
    scene: Path, backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_at(monkeypatch, deepest=2)
    told = job("finetune", scene, tmp_path / "a.safetensors", model=str(backbone))["events"]
    assert any("4 levels" in event.get("text", "") and "finest 2" in event["text"] for event in told)
    header = read_header(tmp_path / "a.safetensors")
    assert [block["name"] for block in header["head"]["blocks"]] == ["hr.1", "hr.2", "hr.bands"]
    assert header["inputs"]["encoded"] == ["hr"] and header["report"]["bands_only"] is not None
    assert (mapped(scene, tmp_path / "a.safetensors", tmp_path / "a.tif") > 0).all()
