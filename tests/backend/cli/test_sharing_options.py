"""Options that let several processes make a raster: of which commands they are, and what of them is refused."""

import pytest
from skysense.cli import EXIT_INPUT, main

COMMANDS = {"predict": ["--model", "m"], "embed": [], "change": ["--split", "2020-01-01"]}
REFUSED = {
    ("--workers", "0"): "--workers is less than 1",
    ("--workers", "2", "--scheduler", "tcp://h:1"): "Leave one of them out",
    ("--scheduler", ""): "--scheduler is empty",
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("options", REFUSED)
def test_what_cannot_be_is_one_sentence(command, options, capsys):
    assert main([command, "scene", "--out", "o.tif", *COMMANDS[command], *options]) == EXIT_INPUT
    told = capsys.readouterr()
    assert told.out == "" and told.err.count("\n") == 1
    assert told.err.startswith(f"skysense {command}: ") and REFUSED[options] in told.err


@pytest.mark.parametrize("command", COMMANDS)
def test_they_are_in_the_recipe(command, monkeypatch):
    ran = []
    monkeypatch.setattr(f"skysense.cli.{command}.run", lambda recipe: ran.append(recipe.options) or {})
    monkeypatch.setattr("skysense.cli.predict._check_trained", lambda args: None)
    monkeypatch.setattr("skysense.cli.is_silent", lambda: True)
    for options in ([], ["--workers", "3"], ["--scheduler", "tcp://h:1"]):
        assert main([command, "scene", "--out", "o.tif", *COMMANDS[command], *options]) == 0
    found = [(options.workers, options.scheduler) for options in ran]
    assert found == [(1, None), (3, None), (1, "tcp://h:1")]


@pytest.mark.parametrize("command", ["finetune", "probe"])
def test_other_commands_have_none(command, capsys):
    assert main([command, "scene", "--out", "o", "--workers", "2"]) == EXIT_INPUT
    assert capsys.readouterr().err.count("\n") == 1
