"""Class ids that stay from one training to the next: those of the models that it replaces and goes on from, and those that the recipe
names."""

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from skysense.cli import main
from skysense.finetune.session import Session
from skysense.jobs.recipe import parse_recipe
from skysense.model.folder import built_in_model
from skysense.model.modelfile import read_header, save_model
from skysense.synthetic.landscape import make_landscape


def ids_before(folder, ids, **more):
    data = {
        "skysense": 1,
        "task": "finetune",
        "scene": "s",
        "output": "m.safetensors",
        "options": {"ids": ids},
        **more,
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


@pytest.mark.parametrize(
    ("replaced", "ids", "kept"),
    [
        ({}, {}, {"forest": 1, "water": 2}),
        ({"water": 3}, {}, {"forest": 1, "water": 3}),
        ({"crops": 1}, {}, {"crops": 1, "water": 2}),  # no id twice: the replaced model's counts
        ({"water": 3}, {"forest": 3}, {"forest": 3}),  # and before it the recipe's
    ],
)
def test_ids_of_the_model_that_a_training_goes_on_from(replaced, ids, kept, tmp_path):
    classes = [{"id": 1, "name": "forest"}, {"id": 2, "name": "water"}]
    save_model(tmp_path / "base.safetensors", {"classes": classes}, {})
    if replaced:
        classes = [{"id": i, "name": name} for name, i in replaced.items()]
        save_model(tmp_path / "m.safetensors", {"classes": classes}, {})
    assert ids_before(tmp_path, ids, model="base.safetensors") == kept


def test_a_backbone_has_no_ids_to_keep(tmp_path):
    assert ids_before(tmp_path, {}, model=str(built_in_model())) == {}


def test_a_class_that_is_added_to_another_file_changes_no_id(tmp_path):
    """C6, by the command line's own way: M1 of two classes, and M2 of three that goes on from M1."""
    scene = make_landscape(tmp_path / "scene", size_m=320, hr_gsd_m=10, n_s2=2, n_s1=0)
    (scene.parent / "classes.json").unlink()
    with rasterio.open(next((scene.parent / "s2").glob("*.tif"))) as image:
        crs, west, north = image.crs.to_string(), image.bounds.left, image.bounds.top

    def train(names, out, *more):
        cells = [(row, col) for row in range(4) for col in range(len(names))]
        shapes = [
            shapely.box(west + 80 * c + 10, north - 80 * r - 60, west + 80 * c + 60, north - 80 * r - 10)
            for r, c in cells
        ]
        pyogrio.raw.write(
            tmp_path / f"{out}.gpkg", shapely.to_wkb(np.array(shapes, object)),
            [np.array([names[c] for _, c in cells], object)], ["kind"], crs=crs, geometry_type="Polygon",
        )  # fmt: skip
        labels = ["--labels", tmp_path / f"{out}.gpkg", "--field", "kind"]
        words = ["finetune", scene, *labels, "--out", tmp_path / out, *more, "--device", "cpu"]
        assert main(list(map(str, words))) == 0
        return {item["name"]: item["id"] for item in read_header(tmp_path / out)["classes"]}

    first = train(["forest", "water"], "m1.safetensors")
    assert first == {"forest": 1, "water": 2}
    second = train(["crops", "forest", "water"], "m2.safetensors", "--model", tmp_path / "m1.safetensors")
    assert second == {"crops": 3, "forest": 1, "water": 2}
