"""What trainings tell their judging of where polygons lie: the pixels that gaps are counted in, and what is one place."""

import json
from pathlib import Path

import numpy as np
import pytest
from label_files import square, write
from skysense.jobs.control import JobControl
from skysense.jobs.recipe import parse_recipe
from skysense.jobs.runner import run
from skysense.synthetic.landscape import make_landscape


class Asked(Exception):
    """What something was called with."""


@pytest.fixture(scope="module")
def fused(tmp_path_factory):
    """HR of 2.5 m and two dates of Sentinel-2, and six pairs of polygons 10 m apart with a kind and numbers."""
    path = make_landscape(tmp_path_factory.mktemp("fused"), size_m=320, hr_gsd_m=2.5, n_s2=2, n_s1=0)
    corners = [(11 * (n // 2 % 3) + n % 2 * 3, 2 + 12 * (n // 6)) for n in range(12)]
    shapes = [square(*corner, 2, 2) for corner in corners]
    (path.parent / "classes.json").unlink()
    write(
        path.parent / "own.gpkg",
        shapes,
        height=np.arange(12) * 1.5,
        kind=np.array(["a", "a", "b", "b"] * 3, object),
    )
    return path


@pytest.fixture(scope="module")
def alone(fused):
    """The HR of it by itself."""
    data = json.loads(fused.read_text())
    rows = [row for row in data["acquisitions"] if row["modality"] == "hr"]
    path = fused.with_name("alone.json")
    path.write_text(json.dumps({**data, "acquisitions": rows}))
    return path


def train(path, field, folder, **options):
    data = {
        "skysense": 1,
        "task": "finetune",
        "scene": str(path),
        "output": str(folder / "m.safetensors"),
        "labels": {"path": str(path.parent / "own.gpkg"), "field": field},
        "options": {"device": "cpu", **options},
    }
    notes = []

    def emit(event):
        if event["event"] == "note":
            notes.append(event["text"])

    with pytest.raises(Asked) as raised:
        run(parse_recipe(data, Path.cwd()), JobControl(emit))
    return raised.value.args, notes


@pytest.mark.parametrize(
    ("asked", "field", "options"),
    [
        ("fitted.repeated_folds", "kind", {}),
        ("train_polygons.repeated_folds", "kind", {"target": "polygons"}),
        ("train_values.value_folds", "height", {"target": "values"}),
        ("deep.fit.held_out_polygons", "kind", {"mode": "lora"}),
        ("deep.decoder_fit.held_out_polygons", "kind", {"mode": "decoder"}),
    ],
)
@pytest.mark.parametrize(("scene", "gsd"), [("fused", 10), ("alone", 2.5)])
def test_gaps_are_counted_in_pixels_of_the_base(
    asked, field, options, scene, gsd, request, monkeypatch, tmp_path
):
    def ask(*arguments):
        raise Asked(next(item for item in arguments if isinstance(item, float)))

    monkeypatch.setattr(f"skysense.finetune.{asked}", ask)
    path = request.getfixturevalue(scene)
    assert train(path, field, tmp_path, **options)[0] == (gsd,)


@pytest.mark.parametrize(
    ("asked", "field", "options"),
    [
        ("train.judge", "kind", {}),
        ("train_polygons.judge", "kind", {"target": "polygons"}),
        ("train_values.judge_values", "height", {"target": "values"}),
    ],
)
def test_what_is_held_out_together_is_judged_as_one_place(
    asked, field, options, fused, monkeypatch, tmp_path
):
    def ask(*arguments, blocks=None):
        raise Asked(arguments[-1] if blocks is None else blocks)

    monkeypatch.setattr(f"skysense.finetune.{asked}", ask)
    ((blocks,), _) = train(fused, field, tmp_path, **options)
    assert blocks.tolist() == (np.arange(12) // 2 * 2).tolist()


@pytest.mark.parametrize(
    ("asked", "options"),
    [("fitted.helpful_blocks", {}), ("train_polygons.helpful_blocks", {"target": "polygons"})],
)
def test_whether_stages_help_is_told_by_places(asked, options, fused, monkeypatch, tmp_path):
    def ask(x, ids, places, *_):
        raise Asked(places)

    monkeypatch.setattr(f"skysense.finetune.{asked}", ask)
    ((places,), _) = train(fused, "kind", tmp_path, **options)
    assert np.unique(places).tolist() == [0, 2, 4, 6, 8, 10]


def test_no_more_pixels_are_learned_from_than_a_training_on_numbers_may_have(fused, monkeypatch, tmp_path):
    def ask(values, polygons, *_):
        raise Asked(polygons)

    monkeypatch.setattr("skysense.finetune.train_values._PIXELS", 5)
    monkeypatch.setattr("skysense.finetune.train_values.value_folds", ask)
    ((polygons,), notes) = train(fused, "height", tmp_path, target="values")
    assert len(polygons) == len(np.unique(polygons)) == 5
    assert "Of 12 polygons 5 are learned from, drawn at random." in notes
