import pytest
from skysense.cli import EXIT_INPUT, _parser, main
from skysense.cli.doing import showing
from skysense.errors import InputError


def _told_then_refused(control):
    control.note("something was left out")
    raise InputError("holds nothing of use", "labels", "Draw polygons")


def test_notes_stand_at_the_end_of_what_was_done(capsys):
    assert showing(lambda control: control.note("one polygon was left out") or {"a": 1}) == {"a": 1}
    assert capsys.readouterr().err == "Note: one polygon was left out\n"


def test_wrong_input_is_one_sentence_alone(capsys):
    with pytest.raises(InputError):
        showing(_told_then_refused)
    assert capsys.readouterr().err == ""
    assert main(["describe-nothing"]) == EXIT_INPUT
    assert capsys.readouterr().err.count("\n") == 1


def test_notes_of_a_job_that_breaks_are_not_lost(capsys):
    def breaks(control):
        control.note("the newest file is damaged")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        showing(breaks)
    assert "the newest file is damaged" in capsys.readouterr().err


COMMANDS = next(action for action in _parser()._actions if action.dest == "command").choices


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_every_command_tells_what_it_wants(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*command.split(), "--help"])
    out, err = capsys.readouterr()
    assert ended.value.code == 0 and out.startswith("usage: skysense") and not err
