"""The probe of frozen features, on a small synthetic scene with truth."""

import json

import numpy as np
import pytest
import rasterio
from skysense.errors import InputError
from skysense.finetune.probe import probe_scene
from skysense.jobs.control import JobControl
from skysense.model.presets import seeded_model
from skysense.scene.scenefile import load_scene
from skysense.synthetic.landscape import make_landscape


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = make_landscape(tmp_path_factory.mktemp("scene"), size_m=640, n_s2=4, n_s1=2)
    scene = json.loads(path.read_text())
    scene["acquisitions"] = [row for row in scene["acquisitions"] if row["modality"] != "hr"]
    path.write_text(json.dumps(scene))
    return path.parent


def probe(folder, **options):
    scene = load_scene(folder / "scene.json")
    return probe_scene(scene, scene.labels, seeded_model("tiny"), JobControl(lambda event: None), **options)


@pytest.fixture(scope="module")
def found(folder):
    return probe(folder)


def test_the_features_are_the_models_alone(found):
    assert found["features"] == {"fused": 96}


def test_every_pixel_of_truth_and_mask_is_scored(folder, found):
    with rasterio.open(folder / "truth.tif") as truth, rasterio.open(folder / "eval_mask.tif") as mask:
        expected = int(((truth.read(1) > 0) & (mask.read(1) > 0)).sum())
    assert found["n_eval"] == expected and found["scored_on"] == "truth.tif"


def test_it_beats_chance_and_repeats(folder, found):
    chance = 1 / len(found["linear"]["per_class"])
    assert found["linear"]["macro_f1"] > chance and found["knn"]["macro_f1"] > chance
    assert probe(folder) == found


def test_each_pixel_is_judged_by_its_own_truth(folder, found, tmp_path):
    """The truth turned upside down must cost much: features and truth meet at the same place."""
    turned = tmp_path / "turned"
    turned.mkdir()
    for path in folder.iterdir():
        if path.name not in ("truth.tif", "eval_mask.tif"):
            (turned / path.name).symlink_to(path)
    for name in ("truth.tif", "eval_mask.tif"):
        with rasterio.open(folder / name) as source:
            values, profile = source.read(), source.profile
        with rasterio.open(turned / name, "w", **profile) as out:
            out.write(np.flip(values, 1))
    assert probe(turned)["linear"]["miou"] < 0.75 * found["linear"]["miou"]


def test_without_truth_it_is_scored_on_held_out_polygons(folder, tmp_path):
    for path in folder.iterdir():
        if path.name != "truth.tif":
            (tmp_path / path.name).symlink_to(path)
    result = probe(tmp_path)
    assert result["scored_on"] == "polygons held out in turn" and result["n_eval"] == result["n_train"]


def test_a_mask_that_is_not_there_is_named(folder, tmp_path):
    with pytest.raises(InputError, match=r"none\.tif"):
        probe(folder, eval_mask=tmp_path / "none.tif")
