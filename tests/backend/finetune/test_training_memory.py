"""A training keeps to the share of a GPU's memory that the recipe names."""

import pytest
from skysense.errors import InputError
from skysense.finetune.session import open_session
from skysense.jobs.control import JobControl
from skysense.jobs.recipe import parse_recipe
from skysense.synthetic.landscape import make_landscape


def test_the_device_is_picked_with_the_recipes_memory(tmp_path, monkeypatch):
    asked = []

    def pick(*given):
        asked.append(given)
        raise InputError("far enough")

    monkeypatch.setattr("skysense.finetune.session.pick_device", pick)
    scene = make_landscape(tmp_path, size_m=320, n_s2=1, n_s1=0)
    data = {"skysense": 1, "task": "finetune", "scene": str(scene), "output": "m.safetensors"}
    recipe = parse_recipe({**data, "options": {"device": "cuda:0", "memory_gb": 4}}, tmp_path)
    with pytest.raises(InputError, match="Far enough"):
        open_session(recipe, JobControl(lambda event: None))
    assert asked == [("cuda:0", 4)]
