import json

import pytest
from skysense.errors import InputError
from skysense.finetune.classes import Classes, assign_ids, map_classes


def test_an_integer_field_is_taken_as_it_is():
    assert assign_ids([7, None, 3], "code", {}, None) == Classes([7, None, 3], {3: "class 3", 7: "class 7"})


def test_an_integer_field_takes_its_names_from_the_text_field_beside_it():
    columns = {"kind": ["b", "a", "b"], "kind_id": [7, 3, 7]}
    assert assign_ids(columns["kind_id"], "kind_id", columns, None).names == {3: "a", 7: "b"}


def test_a_text_field_takes_its_companion_ids():
    columns = {"class": ["water", "other"], "class_id": [9, 4]}
    assert assign_ids(columns["class"], "class", columns, None) == Classes([9, 4], {4: "other", 9: "water"})


@pytest.mark.parametrize(
    ("ids", "reason"),
    [
        ([1, 1, 1], "the id 1 stands for 'b' and 'a'"),
        ([1, 300, 1], "300 is no whole number from 1 to 255"),
        ([1, None, None], "'a' has no id"),
        ([1, 2, 3], "'b' has the ids 1 and 3"),
        (["1", "2", "1"], "'1' is no whole number from 1 to 255"),
    ],
)
def test_a_companion_that_does_not_map_one_to_one_is_not_used(ids, reason):
    columns = {"class": ["b", "a", "b"], "class_id": ids}
    found = assign_ids(columns["class"], "class", columns, None)
    assert (found.ids, found.names) == ([2, 1, 2], {1: "a", 2: "b"})
    assert found.notes == (
        f"The ids of the field 'class_id' were not used, because {reason}: classes are numbered by name.",
    )


def test_a_feature_without_an_id_takes_the_one_of_its_class():
    columns = {
        "class": ["b", "a", "b", None],
        "class_id": [7.0, 3.0, None, None],
    }  # floats: the field has empty rows
    assert assign_ids(columns["class"], "class", columns, None) == Classes([7, 3, 7, None], {3: "a", 7: "b"})


def test_fields_in_capitals_are_companions_too():
    columns = {"CLASS": ["water", "other"], "CLASS_ID": [9, 4]}
    assert assign_ids(columns["CLASS"], "CLASS", columns, None) == Classes([9, 4], {4: "other", 9: "water"})
    assert assign_ids(columns["CLASS_ID"], "CLASS_ID", columns, None).names == {4: "other", 9: "water"}


def test_names_that_do_not_fit_the_ids_are_not_used():
    columns = {"kind": ["a", "b", "c"], "kind_id": [1, 2, 2]}
    found = assign_ids(columns["kind_id"], "kind_id", columns, None)
    assert found.names == {1: "class 1", 2: "class 2"}
    assert found.notes == (
        "The names of the field 'kind' were not used, because the id 2 stands for 'b' and 'c'.",
    )


def test_layers_that_number_classes_differently_are_told(tmp_path):
    (tmp_path / "classes.json").write_text('{"1": "water", "2": "town", "3": "wood"}')
    columns = {"class": ["water", "wood"], "class_id": [2, 3]}
    found = assign_ids(columns["class"], "class", columns, tmp_path)
    assert found.names == {2: "water", 3: "wood"}
    assert found.notes == (
        "The labels and classes.json give classes different ids ('water' is 2 here and 1 there): the labels' count.",
    )


def test_numbers_written_as_text_are_names():
    found = assign_ids(["10", "2", "10"], "code", {}, None)
    assert (found.ids, found.names) == ([1, 2, 1], {1: "10", 2: "2"})
    assert found.notes == (
        "The field 'code' holds numbers written as text, such as '10': each was taken as the name of a class, "
        "and the classes are numbered 1 to 2 by name.",
    )
    mixed = assign_ids(["7", "water"], "code", {}, None).notes
    assert mixed[0].startswith(
        "The field 'code' holds text, such as 'water', and numbers written as text, such as '7'"
    )


def test_blanks_are_no_class_and_capitals_make_two():
    found = assign_ids([" water", "  ", "Water", "water"], "class", {}, None)
    assert (found.ids, found.names) == ([2, None, 1, 2], {1: "Water", 2: "water"})
    assert found.notes == (
        "The field 'class' spells classes in two ways, which are two classes: 'Water' and 'water'.",
    )


def test_truth_values_are_names():
    assert assign_ids([True, False], "built", {}, None).names == {1: "False", 2: "True"}


def test_numbers_that_are_not_whole_are_refused():
    with pytest.raises(InputError, match=r"field 'area': holds numbers that are not whole, such as 1\.5"):
        assign_ids([1.0, 1.5], "area", {}, None)


def test_classes_json_beside_the_scene_gives_the_ids(tmp_path):
    (tmp_path / "classes.json").write_text(json.dumps({"5": "water", "2": "town", "9": "unused"}))
    assert assign_ids(["town", "water"], "class", {}, tmp_path) == Classes([2, 5], {2: "town", 5: "water"})


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


def test_a_legend_of_more_than_255_classes_serves_where_few_are_used(tmp_path):
    (tmp_path / "classes.json").write_text(json.dumps({str(i): f"c{i}" for i in range(1, 301)}))
    assert assign_ids(["c7", "c255"], "class", {}, tmp_path).ids == [7, 255]


def test_ids_do_not_change_when_a_class_is_added_to_an_integer_companion():
    before = assign_ids(["b", "d"], "class", {"class_id": [2, 4]}, None).names
    after = assign_ids(["b", "d", "a"], "class", {"class_id": [2, 4, 9]}, None).names
    assert before.items() <= after.items()


def test_colours_are_the_users_or_what_the_name_suggests_or_the_palettes():
    names = {1: "alpha", 2: "beta", 3: "Water", 4: "river"}
    classes = map_classes(names, {"beta": "#010203"})
    assert [c.color for c in classes][:3] == ["#4e79a7", "#010203", "#3b78b5"]
    assert len({c.color for c in classes}) == 4


def test_a_dozen_classes_have_a_dozen_colours():
    assert len({c.color for c in map_classes({i: f"c{i}" for i in range(5, 17)}, {})}) == 12


def test_names_keep_the_ids_of_the_model_that_is_trained_anew():
    before = {"forest": 1, "water": 2}
    found = assign_ids(["water", "grass", "forest", "bog"], "class", {}, None, before)
    assert found.names == {1: "forest", 2: "water", 3: "bog", 4: "grass"}
    assert assign_ids(["water", "forest"], "class", {}, None, before).names == {1: "forest", 2: "water"}
    assert assign_ids(["town", "road"], "class", {}, None, before).names == {1: "road", 2: "town"}
    # Above the largest there may be no room.
    assert assign_ids(["a", "b"], "class", {}, None, {"a": 255, "x": 1}).names == {2: "b", 255: "a"}
    # Without any room ids of classes that are drawn no more are given again.
    full = {f"c{i}": i for i in range(1, 256)}
    assert assign_ids(["c7", "new"], "class", {}, None, full).names == {1: "new", 7: "c7"}
    with pytest.raises(InputError, match="256 classes"):
        assign_ids([*full, "new"], "class", {}, None, full)


@pytest.mark.parametrize("content", ['{"0": "water", "1": "town"}', '{"300": "water", "1": "town"}'])
def test_an_id_of_classes_json_that_no_map_can_hold_is_refused(content, tmp_path):
    (tmp_path / "classes.json").write_text(content)
    with pytest.raises(InputError, match=r"outside 1\.\.255"):
        assign_ids(["water", "town"], "class", {}, tmp_path)
    assert assign_ids(["town"], "class", {}, tmp_path).names == {1: "town"}  # the other one is not used


def test_a_name_with_two_ids_in_classes_json_is_refused(tmp_path):
    (tmp_path / "classes.json").write_text('{"1": "water", "2": "water"}')
    with pytest.raises(InputError, match="'water' two ids"):
        assign_ids(["water"], "class", {}, tmp_path)
