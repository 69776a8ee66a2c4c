from skysense_qgis.worker.exits import exit_failure
from skysense_qgis.worker.messages import LineBuffer, check_hello, encode, failure_of


def test_a_request_is_one_line_of_utf8():
    line = encode(7, "describe", {"paths": ["/données/é.tif"]})
    assert line == '{"id":7,"method":"describe","params":{"paths":["/données/é.tif"]}}\n'.encode()


def test_messages_are_cut_at_line_ends_wherever_the_pipe_cuts():
    buffer = LineBuffer()
    data = '{"id":1,"result":{"text":"é"}}\n\n{"id":2}\nhello\n[1]\n{"id":3'.encode()
    messages = [message for i in range(len(data)) for message in buffer.feed(data[i : i + 1])]
    assert messages == [{"id": 1, "result": {"text": "é"}}, {"id": 2}]
    assert buffer.strange == 2
    assert buffer.feed(b"}\n") == [{"id": 3}]


def test_an_error_becomes_its_sentence():
    failure = failure_of({"kind": "input", "what": "w", "where": "x", "fix": "f", "sentence": "X: w. F."})
    assert (failure.kind, failure.sentence) == ("input", "X: w. F.")
    assert failure_of(None).kind == "internal"


def test_another_protocol_is_told_who_must_be_updated():
    assert check_hello({"protocol": 1}) is None
    assert "Update the SkySense plugin" in check_hello({"protocol": 2}).sentence
    assert "Update the SkySense environment" in check_hello({"protocol": 0}).sentence


def test_ends_are_told_in_words():
    assert "memory ran out" in exit_failure("py", True, 9, "").sentence
    assert "memory ran out" in exit_failure("py", False, 137, "").sentence
    missing = exit_failure("py", False, 1, "/usr/bin/python3: No module named skysense")
    assert missing.kind == "environment" and "no package skysense" in missing.sentence
    assert "signal 11" in exit_failure("py", True, 11, "").sentence
