"""A backbone whose encoders take four bands, from its conversion to a map of a scene that has them."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from scene_files import job, part
from skysense.cli import main
from skysense.finetune.deep.plan import PLANS
from skysense.finetune.features import FeatureExtractor
from skysense.jobs.control import JobControl
from skysense.jobs.recipe import parse_recipe
from skysense.jobs.runner import run
from skysense.model.backbone import open_backbone
from skysense.model.bands import model_bands
from skysense.model.checkpoint.adapt import FOUR_BANDS
from skysense.model.config import USUAL_BANDS
from skysense.model.presets import seeded_model
from skysense.raster.layout import plan_layout
from skysense.raster.reader import SceneReader
from skysense.raster.tiles import plan_tiles
from skysense.synthetic.landscape import make_landscape

FOUR = {"hr": ("R", "G", "B", "NIR"), "s2": ("B2", "B3", "B4", "B8")}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture with NIR and two Sentinel-2 dates."""
    whole = make_landscape(tmp_path_factory.mktemp("scene"), size_m=320, n_s2=2, n_s1=1)
    return part(whole, tmp_path_factory.mktemp("s") / "optical", lambda row: row["modality"] != "s1")


@pytest.fixture(scope="module")
def backbones(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One checkpoint, converted for "four" and for the "usual" bands."""
    folder = tmp_path_factory.mktemp("backbones")
    torch.save(seeded_model("tiny", 3).state_dict(), folder / "a.pth")
    bands = [word for m, names in FOUR.items() for word in ("--bands", f"{m}={','.join(names)}")]
    for name, options in (("four", bands), ("usual", [])):
        assert main(["convert", str(folder / "a.pth"), str(folder / f"{name}.safetensors"), *options]) == 0
    return {name: folder / f"{name}.safetensors" for name in ("four", "usual")}


def without_nir(scene: Path, folder: Path) -> Path:
    """The same scene with nothing in the picture's NIR."""
    data = json.loads(scene.read_text())
    (picture,) = (row for row in data["acquisitions"] if row["modality"] == "hr")
    folder.mkdir()
    picture["path"] = shutil.copy(picture["path"], folder)
    with rasterio.open(picture["path"], "r+") as file:
        file.write(np.zeros((file.height, file.width), np.uint8), 4)
    (folder / "scene.json").write_text(json.dumps(data))
    return folder / "scene.json"


def first_tile(scene: Path, backbone: Path) -> tuple:
    """Inputs and features of a scene's first tile, and the stacks that they are of."""
    recipe = {"skysense": 1, "task": "embed", "scene": str(scene), "output": "e.tif"}
    opened = parse_recipe(recipe, Path.cwd()).open_scene(JobControl(print).note)
    layout, model = plan_layout(opened), open_backbone(backbone, CPU).model
    tiling = plan_tiles(layout)
    with SceneReader(opened, layout) as reader:
        extractor = FeatureExtractor(model, reader, layout, tiling, {}, (), spectral=False)
        data = extractor.read(next(iter(tiling.over(layout.area))))
        return data.inputs, extractor.features(data).maps, data.stacks


def test_the_encoders_are_given_their_bands_of_the_scene(scene: Path, backbones: dict[str, Path]) -> None:
    inputs, maps, stacks = first_tile(scene, backbones["four"])
    assert inputs.hr.shape[1] == 4 and inputs.s2.shape[2] == 4
    for modality, given in (("hr", inputs.hr), ("s2", inputs.s2[0])):
        stack = stacks[modality]
        values, bands = torch.from_numpy(stack.values), FOUR[modality]
        assert torch.equal(given, model_bands(values, stack.band_present, modality, bands))
    usual, other, _ = first_tile(scene, backbones["usual"])
    assert torch.equal(usual.hr, inputs.hr[:, :3]) and torch.equal(usual.s2[:, :, [0, 1, 2, 6]], inputs.s2)
    assert maps.keys() == other.keys() >= {"fused", "hr.1", "hr.4"}
    assert all(maps[name].stored.shape == other[name].stored.shape for name in maps)


def test_near_infrared_reaches_the_features(scene: Path, backbones: dict[str, Path], tmp_path: Path) -> None:
    dark = without_nir(scene, tmp_path / "dark")
    for name, seen in (("four", True), ("usual", False)):
        (_, one, _), (_, two, _) = first_tile(scene, backbones[name]), first_tile(dark, backbones[name])
        for block in ("hr.1", "fused"):
            assert torch.equal(one[block].stored, two[block].stored) != seen


def test_it_is_trained_on_and_maps(scene: Path, backbones: dict[str, Path], tmp_path: Path) -> None:
    trained, out = tmp_path / "m.safetensors", tmp_path / "map.tif"
    job("finetune", scene, trained, model=str(backbones["four"]))
    job("predict", scene, out, model=str(trained))
    with rasterio.open(out) as file:
        assert (file.read(1) > 0).all()
    job("embed", scene, tmp_path / "e.tif", model=str(backbones["four"]))
    with rasterio.open(tmp_path / "e.tif") as file:
        assert np.isfinite(file.read(1)).all()


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_it_is_adapted(
    scene: Path, backbones: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """Shortened: what is learned is tested elsewhere, here what the encoders are shown."""
    monkeypatch.setitem(PLANS, mode, replace(PLANS[mode], rates=replace(PLANS[mode].rates, steps=2), every=2))
    trained, out = tmp_path / "m.safetensors", tmp_path / "map.tif"
    job("finetune", scene, trained, model=str(backbones["four"]), options={"mode": mode})
    job("predict", scene, out, model=str(trained))
    with rasterio.open(out) as file:
        assert (file.read(1) > 0).all()


def test_its_pretraining_goes_on(scene: Path, backbones: dict[str, Path], tmp_path: Path) -> None:
    old = open_backbone(backbones["four"], CPU).model
    recipe = {
        "skysense": 1,
        "task": "pretrain",
        "data": [str(scene)],
        "model": str(backbones["four"]),
        "output": str(tmp_path / "run"),
        "options": {
            "device": "cpu",
            "settings": {"steps": 2, "batch": 2, "warmup": 0.0, "drop_modality": 0.0},
        },
    }
    run(parse_recipe(recipe, tmp_path), JobControl(lambda event: None))
    new = open_backbone(tmp_path / "run" / "model.safetensors", CPU).model
    assert new.config.encoder_bands == old.config.encoder_bands == {**USUAL_BANDS, **FOUR}
    for name in FOUR_BANDS:
        before, after = old.get_parameter(name), new.get_parameter(name)
        assert before.shape == after.shape and before.shape[1] == 4
        assert (before != after).flatten(2).any(2).any(0).all()  # every band has been learned from
