"""Class ids that stay from one training to the next: those of the model that is replaced, and those that the recipe names."""

import pytest
from skysense.finetune.session import Session
from skysense.jobs.recipe import parse_recipe
from skysense.model.modelfile import save_model


def ids_before(folder, ids):
    data = {
        "skysense": 1,
        "task": "finetune",
        "scene": "s",
        "output": "m.safetensors",
        "options": {"ids": ids},
    }
    return Session(parse_recipe(data, folder), *[None] * 7).ids_before


@pytest.mark.parametrize(
    ("ids", "kept"),
    [
        ({}, {"maize": 1, "wheat": 2}),
        ({"wheat": 3, "road": 4}, {"maize": 1, "wheat": 3, "road": 4}),
        ({"road": 1}, {"road": 1, "wheat": 2}),  # no id twice: the recipe's counts
    ],
)
def test_the_recipes_ids_come_before_those_of_the_model_that_is_replaced(ids, kept, tmp_path):
    assert ids_before(tmp_path, ids) == ids
    classes = [{"id": 1, "name": "maize"}, {"id": 2, "name": "wheat"}]
    save_model(tmp_path / "m.safetensors", {"classes": classes}, {})
    assert ids_before(tmp_path, ids) == kept
