import json

import pytest
from skysense.errors import InputError
from skysense.finetune.classes import assign_ids, map_classes


def test_an_integer_field_is_taken_as_it_is():
    assert assign_ids([7, None, 3], "code", {}, None) == ([7, None, 3], {3: "class 3", 7: "class 7"})


def test_an_integer_field_takes_its_names_from_the_text_field_beside_it():
    columns = {"kind": ["b", "a", "b"], "kind_id": [7, 3, 7]}
    assert assign_ids(columns["kind_id"], "kind_id", columns, None)[1] == {3: "a", 7: "b"}


def test_a_text_field_takes_its_companion_ids():
    columns = {"class": ["water", "other"], "class_id": [9, 4]}
    assert assign_ids(columns["class"], "class", columns, None) == ([9, 4], {4: "other", 9: "water"})


@pytest.mark.parametrize("ids", [[1, 1], [1, 300], [1, None], ["1", "2"]])
def test_a_companion_that_does_not_map_one_to_one_is_not_used(ids):
    columns = {"class": ["b", "a"], "class_id": ids}
    assert assign_ids(columns["class"], "class", columns, None) == ([2, 1], {1: "a", 2: "b"})


def test_classes_json_beside_the_scene_gives_the_ids(tmp_path):
    (tmp_path / "classes.json").write_text(json.dumps({"5": "water", "2": "town", "9": "unused"}))
    assert assign_ids(["town", "water"], "class", {}, tmp_path) == ([2, 5], {2: "town", 5: "water"})


def test_a_class_that_classes_json_lacks_is_named(tmp_path):
    (tmp_path / "classes.json").write_text('{"1": "water"}')
    with pytest.raises(InputError, match=r"'lake' is not in classes\.json"):
        assign_ids(["lake"], "class", {}, tmp_path)


def test_an_id_outside_1_to_255_is_refused():
    with pytest.raises(InputError, match="300 is outside"):
        assign_ids([1, 300], "code", {}, None)


def test_more_than_255_classes_are_refused():
    with pytest.raises(InputError, match="256 classes"):
        assign_ids([f"c{i}" for i in range(256)], "class", {}, None)


def test_ids_do_not_change_when_a_class_is_added_to_an_integer_companion():
    before = assign_ids(["b", "d"], "class", {"class_id": [2, 4]}, None)[1]
    after = assign_ids(["b", "d", "a"], "class", {"class_id": [2, 4, 9]}, None)[1]
    assert before.items() <= after.items()


def test_colours_are_the_users_or_what_the_name_suggests_or_the_palettes():
    names = {1: "alpha", 2: "beta", 3: "Water", 4: "river"}
    classes = map_classes(names, {"beta": "#010203"})
    assert [c.color for c in classes][:3] == ["#4e79a7", "#010203", "#3b78b5"]
    assert len({c.color for c in classes}) == 4


def test_a_dozen_classes_have_a_dozen_colours():
    assert len({c.color for c in map_classes({i: f"c{i}" for i in range(5, 17)}, {})}) == 12
