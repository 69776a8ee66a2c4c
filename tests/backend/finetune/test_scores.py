"""Scores of a map: by hand, against the rules for odd maps, and against the outside judge."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio import Affine
from skysense.errors import InputError
from skysense.finetune.scores import score_map, scores

SHARED = Path(__file__).resolve().parents[3].parent / "shared"
JUDGE = SHARED / "data" / "evaluate_map.py"
MAPS = sorted((SHARED / "data" / "baseline_maps").glob("*.tif"))
GRID = Affine(10, 0, 600_000, 0, -10, 5_400_000)


def write(
    path: Path, values: np.ndarray, transform: Affine = GRID, crs: str | None = "EPSG:32632", nodata=None
) -> Path:
    values = np.atleast_3d(values.T).T
    count, height, width = values.shape
    form = {"count": count, "height": height, "width": width, "dtype": values.dtype.name, "nodata": nodata}
    with rasterio.open(path, "w", driver="GTiff", crs=crs, transform=transform, **form) as dst:
        dst.write(values)
    return path


TRUTH = np.array([[1, 1, 1, 2], [1, 2, 2, 2], [0, 3, 3, 3]], np.uint8)
PRED = np.array([[1, 1, 2, 2], [1, 2, 0, 2], [1, 3, 1, 9]], np.uint8)


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """A scene folder of 3 x 4 pixels with four named classes, one of which the truth lacks."""
    folder = tmp_path / "scene"
    folder.mkdir()
    write(folder / "truth.tif", TRUTH, nodata=0)
    write(folder / "eval_mask.tif", np.ones_like(TRUTH))
    (folder / "classes.json").write_text(json.dumps({"1": "water", "2": "wood", "3": "field", "4": "moor"}))
    return folder


def test_scores_by_hand() -> None:
    result = scores(TRUTH, PRED, [3, 1, 2, 4])
    assert result.class_ids == (1, 2, 3, 4)
    assert result.confusion.tolist() == [[0, 3, 1, 0, 0], [1, 0, 3, 0, 0], [1, 1, 0, 1, 0], [0, 0, 0, 0, 0]]
    assert result.oa == 7 / 11
    assert result.iou[:3].tolist() == [3 / 5, 3 / 5, 1 / 3] and math.isnan(result.iou[3])
    assert result.f1[:3].tolist() == [6 / 8, 6 / 8, 2 / 4] and math.isnan(result.f1[3])
    assert result.precision[:3].tolist() == [3 / 4, 3 / 4, 1] and math.isnan(result.precision[3])
    assert result.recall[:3].tolist() == [3 / 4, 3 / 4, 1 / 3] and math.isnan(result.recall[3])
    assert result.miou == pytest.approx((3 / 5 + 3 / 5 + 1 / 3) / 3)
    assert result.macro_f1 == pytest.approx(2 / 3)
    assert result.n_truth.tolist() == [4, 4, 3, 0] and result.n_pred.tolist() == [4, 4, 1, 0]


def test_perfect_and_hopeless() -> None:
    truth = np.array([5, 5, 9])
    assert (scores(truth, truth, [5, 9]).oa, scores(truth, truth, [5, 9]).miou) == (1.0, 1.0)
    wrong = scores(truth, np.array([9, 9, 5]), [5, 9])
    assert (wrong.oa, wrong.macro_f1, wrong.miou) == (0.0, 0.0, 0.0)


def test_scores_refuse_nonsense() -> None:
    with pytest.raises(ValueError, match="truth is"):
        scores(np.zeros(3), np.zeros(4), [1])
    with pytest.raises(ValueError, match="no pixel"):
        scores(np.zeros(3, int), np.zeros(3, int), [1])


def test_score_map_by_hand(scene: Path, tmp_path: Path) -> None:
    result = score_map(scene, write(tmp_path / "map.tif", PRED, nodata=0))
    assert (result["oa"], result["macro_f1"], result["miou"]) == (0.6364, 0.6667, 0.5111)
    assert (result["n_eval"], result["n_missing"], result["resampled"]) == (11, 1, False)
    assert result["per_class"] == {
        "water": {"id": 1, "iou": 0.6, "f1": 0.75, "n_truth": 4, "n_pred": 4},
        "wood": {"id": 2, "iou": 0.6, "f1": 0.75, "n_truth": 4, "n_pred": 4},
        "field": {"id": 3, "iou": 0.3333, "f1": 0.5, "n_truth": 3, "n_pred": 1},
    }
    assert json.loads(json.dumps(result)) == result


def test_nodata_of_the_map_is_wrong_whatever_its_value(scene: Path, tmp_path: Path) -> None:
    result = score_map(scene, write(tmp_path / "map.tif", TRUTH, nodata=3))
    assert (result["oa"], result["n_missing"]) == (0.7273, 3)
    real = np.where(TRUTH == 1, np.nan, TRUTH).astype(np.float32)
    assert score_map(scene, write(tmp_path / "real.tif", real))["n_missing"] == 4


def test_another_mask_replaces_the_scenes_own(scene: Path, tmp_path: Path) -> None:
    only = write(tmp_path / "mask.tif", (TRUTH == 2).astype(np.uint8))
    result = score_map(scene, write(tmp_path / "map.tif", PRED), eval_mask=only)
    assert result == score_map(scene / "scene.json", tmp_path / "map.tif", eval_mask=only)
    assert (result["n_eval"], result["oa"], list(result["per_class"])) == (4, 0.75, ["wood"])


def test_a_finer_map_is_sampled_and_beyond_its_edge_is_missing(scene: Path, tmp_path: Path) -> None:
    fine = write(
        tmp_path / "fine.tif",
        np.kron(TRUTH, np.ones((4, 4), np.uint8)),
        Affine(2.5, 0, 600_000, 0, -2.5, 5_400_000),
    )
    result = score_map(scene, fine)
    assert (result["oa"], result["n_missing"], result["resampled"]) == (1.0, 0, True)
    half = score_map(scene, write(tmp_path / "half.tif", TRUTH[:, :2]))
    assert (half["n_missing"], half["n_eval"], half["oa"]) == (6, 11, 0.4545)


def test_maps_that_cannot_be_scored_are_told(scene: Path, tmp_path: Path) -> None:
    def told(path: Path) -> str:
        with pytest.raises(InputError) as caught:
            score_map(scene, path)
        return caught.value.what

    assert told(tmp_path / "none.tif") == "does not exist"
    assert "2 bands" in told(write(tmp_path / "two.tif", np.stack([PRED, PRED])))
    assert "does not hold class ids" in told(write(tmp_path / "f.tif", (PRED / 2).astype(np.float32)))
    assert "no scored pixel" in told(write(tmp_path / "ids.tif", np.full_like(PRED, 77)))
    assert "does not overlap" in told(
        write(tmp_path / "far.tif", PRED, Affine(10, 0, 700_000, 0, -10, 5_400_000))
    )
    assert "no coordinate system" in told(write(tmp_path / "nocrs.tif", PRED, crs=None))
    (tmp_path / "text.tif").write_text("not a raster")
    assert "cannot be read" in told(tmp_path / "text.tif")
    write(scene / "truth.tif", TRUTH, crs=None)
    assert "no coordinate system" in told(tmp_path / "ids.tif")
    (scene / "truth.tif").unlink()
    assert "is missing" in told(tmp_path / "two.tif")


def test_truth_alone_is_enough(scene: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "map.tif", PRED)
    whole = score_map(scene, path)
    (scene / "eval_mask.tif").unlink()
    assert score_map(scene, path) == whole
    (scene / "classes.json").unlink()
    bare = score_map(scene, path)
    assert list(bare["per_class"]) == ["class 1", "class 2", "class 3"]
    assert (bare["oa"], bare["miou"]) == (whole["oa"], whole["miou"])
    with rasterio.open(path, "r+") as dst:
        dst.update_tags(SKYSENSE_CLASSES=json.dumps({"1": "water", "2": "wood", "3": "field"}))
    assert score_map(scene, path)["per_class"] == whole["per_class"]
    with pytest.raises(InputError, match="is missing"):
        score_map(scene, path, eval_mask=tmp_path / "none.tif")


def judge(scene: Path, map_path: Path, *more: str) -> dict:
    run = [sys.executable, str(JUDGE), str(scene), str(map_path), *more]
    return json.loads(subprocess.run(run, capture_output=True, text=True, check=True).stdout)


def same(ours: dict, theirs: dict) -> None:
    for key in ("oa", "macro_f1", "miou", "per_class", "n_eval", "n_missing", "resampled"):
        assert ours[key] == theirs[key], key


@pytest.mark.skipif(not JUDGE.is_file() or not MAPS, reason="the baseline maps are not beside the project")
@pytest.mark.parametrize("map_path", MAPS, ids=lambda path: path.stem)
def test_equals_the_outside_judge(map_path: Path) -> None:
    scene = SHARED / "data" / "scenes" / map_path.stem.removesuffix("_rf_all")
    same(score_map(scene, map_path), judge(scene, map_path))


@pytest.mark.skipif(not JUDGE.is_file() or not MAPS, reason="the baseline maps are not beside the project")
def test_equals_the_outside_judge_on_odd_maps(tmp_path: Path) -> None:
    scene = SHARED / "data" / "scenes" / "flanders-crops-2018"
    with rasterio.open(SHARED / "data" / "baseline_maps" / "flanders-crops-2018_rf_all.tif") as src:
        values, grid, crs = src.read(1), src.transform, src.crs.to_string()
    cut = write(tmp_path / "cut.tif", values[5:50, 7:], grid @ Affine.translation(7, 5), crs, 0)
    shifted = write(tmp_path / "shifted.tif", values, grid @ Affine.translation(0.4, -1.3), crs)
    hole = write(tmp_path / "hole.tif", values, grid, crs, 2)
    real = write(tmp_path / "real.tif", np.where(values == 1, np.nan, values).astype(np.float32), grid, crs)
    unknown = write(tmp_path / "unknown.tif", np.where(values == 3, 200, values).astype(np.uint8), grid, crs)
    for path in (cut, shifted, hole, real, unknown):
        same(score_map(scene, path), judge(scene, path))
    for mask in sorted((scene / "redraws").glob("eval_mask_*.tif"))[:1]:
        same(score_map(scene, cut, eval_mask=mask), judge(scene, cut, "--eval-mask", str(mask)))
