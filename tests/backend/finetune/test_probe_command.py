"""`skysense probe` on a small synthetic scene: which model, which pixels, what it prints."""

import json

import numpy as np
import pytest
import rasterio
from skysense.cli import main
from skysense.finetune.probe import probe_scene
from skysense.jobs.control import JobControl
from skysense.model.folder import built_in_model
from skysense.model.modelfile import read_header
from skysense.model.presets import seeded_model, state_sha256
from skysense.scene.scenefile import load_scene
from skysense.synthetic.landscape import make_landscape


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = make_landscape(tmp_path_factory.mktemp("scene"), size_m=640, n_s2=2, n_s1=1)
    scene = json.loads(path.read_text())
    scene["acquisitions"] = [row for row in scene["acquisitions"] if row["modality"] != "hr"]
    path.write_text(json.dumps(scene))
    return path.parent


@pytest.fixture
def probe(folder, capsys):
    """probe(*arguments): exit code, stdout, stderr of `skysense probe` on the scene and its polygons."""

    def probe(*arguments, scene=folder):
        labels = [] if "--labels" in arguments else ["--labels", folder / "train.gpkg", "--field", "class"]
        code = main(["probe", *map(str, [scene, *labels, *arguments, "--device", "cpu"])])
        told = capsys.readouterr()
        return code, told.out, told.err

    return probe


def part_of(folder, out, leave_out):
    for path in folder.iterdir():
        if path.name not in leave_out:
            (out / path.name).symlink_to(path)
    return out


def test_random_weights_are_the_presets_own_from_the_seed(probe, folder):
    code, out, err = probe("--random-weights", "tiny", "--seed", 3, "--json")
    told = json.loads(out)
    scene, model = load_scene(folder / "scene.json"), seeded_model("tiny", 3)
    assert code == 0 and err == "" and told["backbone"] == {
        "preset": "tiny", "weights": "random, seed 3", "sha256": state_sha256(model),
    }  # fmt: skip
    found = probe_scene(scene, scene.labels, model, JobControl(lambda event: None), seed=3)
    assert {key: told[key] for key in found} == found


def test_people_read_both_scores_and_every_class(probe):
    code, out, _ = probe("--random-weights", "tiny")
    lines = out.splitlines()
    assert code == 0 and "tiny, random, seed 0; features fused 96" in lines[0]
    assert lines[2].startswith("linear  OA ") and lines[3].startswith("kNN     OA ")
    assert [line.split()[0] for line in lines[4:]][:1] == ["water"]


def test_without_a_choice_it_is_the_built_in_model(probe):
    code, out, err = probe("--json")
    told = json.loads(out)
    file = read_header(built_in_model())["backbone"]
    assert code == 0 and err == "" and told["backbone"] == {
        "preset": "tiny", "weights": file["weights"], "sha256": file["sha256"], "note": "",
    }  # fmt: skip


def test_a_mask_chooses_the_scored_pixels(probe, folder, tmp_path):
    with rasterio.open(folder / "eval_mask.tif") as mask, rasterio.open(folder / "truth.tif") as truth:
        values, profile = mask.read(1), mask.profile
        known = truth.read(1) > 0
    values[:, : values.shape[1] // 2] = 0
    with rasterio.open(tmp_path / "half.tif", "w", **profile) as out:
        out.write(values, 1)
    told = json.loads(probe("--random-weights", "tiny", "--eval-mask", tmp_path / "half.tif", "--json")[1])
    assert told["n_eval"] == int((known & (values > 0)).sum())
    assert told["knn"]["n_eval"] == min(told["n_eval"], 20_000)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--labels", "LABELS", "--field", "kind"], "has no field 'kind'"),
        (["--labels", "none.gpkg", "--field", "class"], "none.gpkg"),
        (["--model", "none.safetensors"], "none.safetensors"),
        (["--random-weights", "vast"], "vast"),
        (["--random-weights", "tiny", "--model", "m.safetensors"], "not allowed with"),
        (["--eval-mask", "none.tif"], "none.tif"),
    ],
)
def test_wrong_input_is_one_sentence(probe, folder, arguments, message):
    code, out, err = probe(*[folder / "train.gpkg" if item == "LABELS" else item for item in arguments])
    assert (code, out, err.count("\n")) == (2, "", 1) and message in err


def test_polygons_beside_the_imagery(probe, folder, tmp_path):
    import pyogrio
    import shapely

    moved = tmp_path / "moved.gpkg"
    meta, _, geometry, fields = pyogrio.raw.read(folder / "train.gpkg")
    away = shapely.transform(shapely.from_wkb(geometry), lambda xy: xy + 50_000)
    pyogrio.raw.write(
        moved, shapely.to_wkb(away), fields, meta["fields"], crs=meta["crs"],
        geometry_type=meta["geometry_type"], driver="GPKG",
    )  # fmt: skip
    code, _, err = probe("--random-weights", "tiny", "--labels", moved, "--field", "class")
    assert code == 2 and "no polygon lies inside the imagery" in err and err.count("\n") == 1


def test_truth_without_the_labels_classes_is_told(probe, folder, tmp_path):
    scene = part_of(folder, tmp_path, ("truth.tif",))
    with rasterio.open(folder / "truth.tif") as source:
        values, profile = source.read(), source.profile
    with rasterio.open(scene / "truth.tif", "w", **profile) as out:
        out.write(np.where(values > 0, 200, 0).astype(values.dtype))
    code, _, err = probe("--random-weights", "tiny", scene=scene)
    assert code == 2 and "no scored pixel holds a class id of the labels" in err


def test_a_mask_without_truth_is_told(probe, folder, tmp_path):
    scene = part_of(folder, tmp_path, ("truth.tif",))
    code, _, err = probe("--random-weights", "tiny", "--eval-mask", folder / "eval_mask.tif", scene=scene)
    assert code == 2 and "has no truth.tif" in err
