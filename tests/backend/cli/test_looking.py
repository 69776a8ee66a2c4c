"""`skysense describe` of what is not there."""

import json

import pytest
from skysense.cli import EXIT_DONE, EXIT_INPUT, main


@pytest.fixture
def image(tmp_path):
    (tmp_path / "there.tif").write_bytes(b"no image")
    return str(tmp_path / "there.tif")


@pytest.mark.parametrize("names", [("gone.tif",), ("gone.tif", "other folder")])
def test_where_nothing_exists_it_is_refused(names, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["describe", *names]) == EXIT_INPUT
    told = capsys.readouterr()
    assert told.out == "" and told.err.count("\n") == 1
    assert all(name in told.err for name in names) and "there is no such file" in told.err


def test_json_is_printed_all_the_same(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["describe", "gone.tif", "--json"]) == EXIT_INPUT
    told = capsys.readouterr()
    (row,) = json.loads(told.out)["descriptions"]
    assert (row["path"], row["status"], row["ok"]) == ("gone.tif", "red", False)
    assert told.err.count("\n") == 1


def test_a_row_that_is_there_is_shown_beside_one_that_is_not(image, capsys):
    assert main(["describe", image, "gone.tif"]) == EXIT_DONE
    told = capsys.readouterr()
    assert told.err == "" and told.out.count("red ") == 2


def test_what_cannot_be_used_but_is_there_is_a_red_row(image, capsys):
    assert main(["describe", image]) == EXIT_DONE
    assert capsys.readouterr().out.startswith("red ")
