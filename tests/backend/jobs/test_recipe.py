import json

import pytest
from skysense.errors import InputError
from skysense.jobs.recipe import load_recipe, parse_recipe


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


def test_what_is_written_reads_back_equal(tmp_path):
    recipe = parse_recipe(
        _data(options={"seed": 3, "area": [0, 1, 2, 3], "fusion_stride": 2}, author="me"), tmp_path
    )
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
        ({"labels": {"field": "c"}}, "labels"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        parse_recipe(_data(**changes), tmp_path)


def test_a_file_that_is_no_recipe(tmp_path):
    (tmp_path / "a.json").write_text("[1]")
    (tmp_path / "b.json").write_text("{")
    for name, message in (
        ("a.json", "not a SkySense recipe"),
        ("b.json", "not JSON"),
        ("c.json", "cannot be read"),
    ):
        with pytest.raises(InputError, match=message):
            load_recipe(tmp_path / name)
