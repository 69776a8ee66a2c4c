import json
from pathlib import Path

import pytest
from skysense.errors import InputError
from skysense.jobs.recipe import load_recipe, parse_recipe
from skysense.jobs.sidecar import write_recipe
from skysense.scene.remote import is_remote


def _data(**changes):
    return {
        "skysense": 1,
        "task": "predict",
        "scene": "s",
        "model": "m.safetensors",
        "output": "o.tif",
        **changes,
    }


def test_paths_count_from_the_recipes_folder(tmp_path):
    (tmp_path / "job.json").write_text(json.dumps(_data()))
    recipe = load_recipe(tmp_path / "job.json")
    assert recipe.output == tmp_path / "o.tif" and recipe.model == tmp_path / "m.safetensors"
    assert recipe.scene == str(tmp_path / "s")


def test_what_is_written_beside_the_result_is_found_from_there(tmp_path, monkeypatch):
    (tmp_path / "jobs").mkdir()
    scene = {
        "acquisitions": [
            {"modality": "s2", "path": "s/a.tif", "mask": "m.tif"},
            {"modality": "s2", "path": "https://host/b.tif"},
        ],
        "labels": {"path": "l.gpkg", "field": "c"},
    }
    for given in ("s/scene.json", scene):
        (tmp_path / "jobs" / "r.json").write_text(json.dumps(_data(scene=given, output="out/map.tif")))
        monkeypatch.chdir(tmp_path)
        recipe = load_recipe(Path("jobs/r.json"))
        recipe.output.parent.mkdir(exist_ok=True)
        beside = write_recipe(recipe)
        assert beside == tmp_path / "jobs" / "out" / "map.tif.recipe.json"
        again = load_recipe(beside)
        assert (again.scene, again.output, again.model) == (recipe.scene, recipe.output, recipe.model)
    jobs = tmp_path / "jobs"
    rows = again.scene["acquisitions"]
    assert [row["path"] for row in rows] == [str(jobs / "s" / "a.tif"), rows[1]["path"]]
    assert is_remote(Path(rows[1]["path"])) and rows[0]["mask"] == str(jobs / "m.tif")
    assert again.scene["labels"] == {"path": str(jobs / "l.gpkg"), "field": "c"}


def test_the_reports_folder_counts_from_the_recipes_too(tmp_path):
    recipe = parse_recipe(_data(task="finetune", options={"report": "r"}), tmp_path)
    assert recipe.options.report == str(tmp_path / "r")
    assert recipe.to_json()["options"] == {"report": str(tmp_path / "r")}


def test_what_is_written_reads_back_equal(tmp_path):
    recipe = parse_recipe(
        _data(
            options={"seed": 3, "area": [0, 1, 2, 3], "start": [1, 2], "products": ["entropy"], "within": "w.gpkg", "workers": 2},
            author="me",
        ),
        tmp_path,
    )  # fmt: skip
    assert recipe.options.start == (1.0, 2.0) and recipe.options.within == str(tmp_path / "w.gpkg")
    again = parse_recipe(json.loads(json.dumps(recipe.to_json())), tmp_path)
    assert again == recipe and again.extra == {"author": "me"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"skysense": 2}, "has format 2"),
        ({"task": "paint"}, "task 'paint'"),
        ({"scene": None}, 'no "scene"'),
        ({"scene": 5}, "neither a path nor an object"),
        ({"options": {"seeds": 1}}, "unknown option 'seeds'"),
        ({"options": {"area": [1, 2]}}, "four numbers"),
        ({"options": {"area": [2, 0, 1, 1]}}, "empty"),
        ({"options": {"fusion_stride": 3}}, "fusion_stride is 3"),
        ({"options": {"seed": "x"}}, "seed is 'x'"),
        ({"options": {"standalone": "yes"}}, "standalone is 'yes'"),
        ({"options": {"report": True}}, "report is True"),
        ({"options": {"start": [1]}}, "two numbers"),
        ({"options": {"products": ["beauty"]}}, "products is"),
        ({"options": {"within": 3}}, "within is 3"),
        ({"options": {"blend": "yes"}}, "blend is 'yes'"),
        ({"options": {"workers": 0}}, "workers is 0"),
        ({"options": {"scheduler": 8786}}, "scheduler is 8786"),
        ({"options": {"memory_gb": 0}}, "memory_gb is 0"),
        ({"options": {"components": 65}}, "components is 65"),
        ({"options": {"components": -1}}, "components is -1"),
        ({"options": {"components": 3.0}}, r"components is 3\.0"),
        ({"options": {"components": True}}, "components is True"),
        ({"options": {"device": 0}}, "device is 0"),
        ({"options": {"target": []}}, r"target is \[\]"),
        ({"options": {"area_crs": 5}}, "area_crs is 5"),
        ({"options": {"resume": "no"}}, "resume is 'no'"),
        ({"options": {"workers": True}}, "workers is True"),
        ({"options": {"fusion_stride": True}}, "fusion_stride is True"),
        ({"options": {"colors": {"a": "blue"}}}, "colors is"),
        ({"options": {"colors": [1]}}, "colors is"),
        ({"options": {"ids": [1]}}, "ids is"),
        ({"options": {"ids": {"a": True}}}, "ids is"),
        ({"options": {"ids": {"a": 256}}}, "ids is"),
        ({"options": {"ids": {"a": 1, "b": 1}}}, "ids is"),
        ({"options": {"area": [0, float("nan"), 1, 1]}}, "empty"),
        ({"output": 5}, 'has 5 as "output"'),
        ({"model": 5}, 'has 5 as "model"'),
        ({"labels": {"path": 5}}, 'has 5 as the "path"'),
        ({"labels": {"field": "c"}}, "labels"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        parse_recipe(_data(**changes), tmp_path)


def test_a_file_that_is_no_recipe(tmp_path):
    (tmp_path / "a.json").write_text("[1]")
    (tmp_path / "b.json").write_text("{")
    (tmp_path / "d.json").write_bytes(b"II*\x00\xff\xfe")
    (tmp_path / "bom.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(_data()).encode())
    assert load_recipe(tmp_path / "bom.json").output == tmp_path / "o.tif"
    for name, message in (
        ("d.json", "not JSON"),
        ("a.json", "not a SkySense recipe"),
        ("b.json", "not JSON"),
        ("c.json", "cannot be read"),
    ):
        with pytest.raises(InputError, match=message):
            load_recipe(tmp_path / name)


def _pretraining(**changes):
    return {"skysense": 1, "task": "pretrain", "data": ["d", {"name": "x"}], "output": "run", **changes}


def test_a_pretraining_reads_back_equal(tmp_path):
    recipe = parse_recipe(
        _pretraining(
            options={
                "preset": "small",
                "steps": 10,
                "seed": 3,
                "settings": {"lr": 1, "bfloat16": True},
                "sources": "s.json",
                "leave_out": ["a"],
                "synthetic": 2,
                "probe": ["p"],
                "workers": 0,
                "half": True,
            }
        ),
        tmp_path,
    )
    assert recipe.scene is None and recipe.data == (str(tmp_path / "d"), {"name": "x"})
    assert recipe.pretrain.settings == {"lr": 1.0, "bfloat16": True, "steps": 10, "workers": 0}
    assert recipe.pretrain.sources == tmp_path / "s.json" and recipe.pretrain.probe == (str(tmp_path / "p"),)
    assert parse_recipe(json.loads(json.dumps(recipe.to_json())), tmp_path) == recipe


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": []}, 'no "data"'),
        ({"data": "d"}, '"data" is not a list'),
        ({"data": [3]}, '"data" that is neither'),
        ({"options": {"area": [0, 0, 1, 1]}}, "unknown option 'area'"),
        ({"options": {"settings": {"lrate": 1}}}, "unknown setting 'lrate'"),
        ({"options": {"steps": 2.5}}, "steps is 2.5. Use a whole number"),
        ({"options": {"steps": 0}}, "steps is 0"),
        ({"options": {"settings": {"bfloat16": 1}}}, "bfloat16 is 1"),
        ({"options": {"settings": {"lr": float("nan")}}}, "lr is nan"),
        ({"options": {"settings": {"drop_modality": 2}}}, "drop_modality is 2. Use a number from 0 up to 1"),
        ({"options": {"settings": {"drop_place": 1.5}}}, "drop_place is 1.5. Use a number from 0 up to 1"),
        ({"options": {"settings": {"teacher_momentum": 1.5}}}, "teacher_momentum is 1.5"),
        ({"options": {"settings": {"hr_scale": 0}}}, "hr_scale is 0. Use a number above 0 up to 1"),
        ({"options": {"settings": {"head_outputs": 1}}}, "head_outputs is 1. Use a whole number from 2"),
        ({"options": {"half": 1}}, "half is 1"),
        ({"options": {"synthetic": -1}}, "synthetic is -1"),
        ({"options": {"probe": "p"}}, "probe is 'p'"),
    ],
)
def test_what_is_wrong_in_a_pretraining_is_named(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        parse_recipe(_pretraining(**changes), tmp_path)


def test_the_options_of_a_pretraining_are_not_those_of_a_map(tmp_path):
    with pytest.raises(InputError, match="unknown option 'steps'"):
        parse_recipe(_data(options={"steps": 1}), tmp_path)
